"""What judging stages share: the fields of a judge's calls, and from questions to one row per call (spec judges C0)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any, Literal

from msgspec import Struct
from msgspec.structs import replace
from pydantic import BaseModel, ConfigDict, Field

from pipeline import ids
from pipeline.engine import Completion, Request, Sampling
from pipeline.errors import PlanError, Rejected
from pipeline.prompts import Template, load_template
from pipeline.records import Candidate, Judgment, Message, Prompt, Status
from pipeline.stage import Context
from stages.judges.calls import Answer, answer_each, refusal
from stages.judges.families import model_family, own_family
from stages.judges.hygiene import as_data, prompt_text
from stages.judges.verdicts import Reading

# Failures that another sample may mend. `low_mass` is none: the judge did say what it wanted to say.
_AGAIN: frozenset[Status] = frozenset({"parse_error", "truncated", "refused", "out_of_range"})
_RETRY_TEMPERATURE = 0.7  # at least: a greedy repeat is the same answer


class Question(Struct, frozen=True):
    """One call: its messages, and the rows it fills, complete but for the answer (listwise: a row per candidate).

    messages: None where there is no need to ask; the status of the rows says why.
    """

    rows: tuple[Judgment, ...]
    messages: tuple[Message, ...] | None


class JudgeCalls(BaseModel):
    """How a judge is asked.

    mode: `expected` takes the mean of the label distribution where the verdict was written (the written verdict, with
    logprob_source none, where the engine saw no label there, or another word was written, such as `tie` or a lower-case
    `yes`); `parsed` takes the written verdict.
    reason: the judge thinks first and writes the verdict last; else it answers with the verdict alone.
    samples: calls per question. sampling: default greedy for one sample, else temperature 0.7.
    label_mass_min: with less probability on labels the judge wanted to say something else (`low_mass`).
    show_reference: the judge sees the reference where there is one.
    exclude_same_family: in a pool of several model families the judge does not judge its own.
    max_chars: a longer prompt or candidate is `too_long`, never cut.
    structured: restricts a direct answer to the labels.
    max_attempts: a call that failed (parse_error, truncated, refused, out_of_range) is repeated with another seed, at a
    temperature of at least 0.7; every attempt is a row.
    keep_prompts: rows hold what was asked (`messages`), for `pair_judgments`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    engine: str
    template: str = "default"
    mode: Literal["expected", "parsed"] = "expected"
    reason: bool = False
    samples: int = Field(1, ge=1, le=256)
    sampling: Sampling | None = None
    label_mass_min: float = Field(0.5, ge=0, le=1)
    show_reference: bool = True
    exclude_same_family: bool = True
    max_chars: int = Field(40_000, ge=1)
    structured: bool = False
    max_attempts: int = Field(3, ge=1, le=10)
    keep_prompts: bool = False

    def labels(self) -> tuple[str, ...]:
        """The verdicts a judge may give, each a single token."""
        raise NotImplementedError

    def read(self, completion: Completion, row: Judgment) -> Reading:
        """What an answer says for one of the rows of its question."""
        raise NotImplementedError

    def check(self) -> None:
        """Raises PlanError when answer form and sampling do not fit together."""
        if self.reason and self.structured:
            raise PlanError(
                f"{self._stage}: structured restricts the answer to a verdict, which leaves no room to reason; choose one"
            )
        if self.sampling is not None and self.sampling.n != 1:
            raise PlanError(
                f"{self._stage}: sampling.n is {self.sampling.n}; the number of calls per question is set by samples"
            )

    def capabilities(self, alias: str) -> frozenset[str]:
        """`labels` in mode expected, `structured` where asked for."""
        labels, structured = ({"labels"} if self.mode == "expected" else set()), {"structured"}
        return frozenset({"generate"} | labels | (structured if self.structured else set()))

    async def answered(self, questions: Sequence[Question], ctx: Context) -> list[Judgment]:
        """A row for every call and candidate, in the order of the questions, attempts in their order.

        The questions are about one prompt. Raises EngineError.
        """
        made = [list(question.rows) if question.messages is None else [] for question in questions]
        waiting = [(rows, question) for rows, question in zip(made, questions, strict=True) if question.messages]
        seed = ctx.seed(questions[0].rows[0].prompt_id, self._stage) if waiting else 0
        for attempt in range(self.max_attempts):
            if not waiting:
                break
            requests = [self._request(question, seed, attempt) for _, question in waiting]
            answers = await answer_each(ctx.engines[self.engine], requests)
            again = []
            for (rows, question), answer in zip(waiting, answers, strict=True):
                if attempt == 0 or isinstance(answer, Completion):  # what cannot be asked again is left as it is
                    rows += (got := self._judgments(question, answer))
                    failed = [blank for blank, row in zip(question.rows, got, strict=True) if row.status in _AGAIN]
                    again += [(rows, _once_more(question, failed, attempt + 1))] if failed else []
            waiting = again
        return [row for rows in made for row in rows]

    def _request(self, question: Question, seed: int, attempt: int) -> Request:
        key = question.rows[0].judgment_key
        return Request(
            sampling=self._retry_sampling if attempt else self._sampling,
            key=key,
            seed=(seed ^ int(key[:8], 16)) & 0x7FFFFFFF,  # 31 bits, told apart by the key
            messages=question.messages,
            labels=self._labels if self.mode == "expected" else (),
            structured={"choice": list(self._labels)} if self.structured else None,
        )

    def _judgments(self, question: Question, answer: Answer) -> list[Judgment]:
        if isinstance(answer, Rejected):
            return [replace(row, status=refusal(answer)) for row in question.rows]
        rows = []
        for number, row in enumerate(question.rows):
            reading = self.read(answer, row)
            first = number == 0  # the call is counted once
            row = replace(
                row,
                status=reading.status,
                value=reading.value,
                value_mode=reading.mode,
                label_probs=reading.probs,
                label_mass=reading.mass,
                logprob_source="none" if reading.mass is None else "raw",
                reasoning=reading.reasoning,
                raw_text=answer.text,
                n_in=answer.n_prompt_tokens if first else 0,
                n_out=answer.n_tokens if first else 0,
                messages=question.messages if self.keep_prompts else None,
            )
            rows.append(row)
        return rows

    def frame(self, prompt_id: str, mode: str, ctx: Context, scale: tuple[float, float] = (0.0, 1.0)) -> Judgment:
        """The row of a judgment about `prompt_id`, still without a key, candidates and what tells it from others."""
        judge = ctx.engine_models.get(self.engine) or self.engine
        return Judgment(
            prompt_id=prompt_id,
            judgment_key="",
            job=ctx.job,
            mode=mode,
            judge_id=judge,
            cand_ids=(),
            status="ok",
            scale_min=scale[0],
            scale_max=scale[1],
            judge_family=ctx.engine_families.get(self.engine) or model_family(judge),
            template_id=self._template.name,
            template_hash=self._template.sha256,
        )

    def row(self, frame: Judgment, cand_ids: tuple[str, ...], **fields: Any) -> Judgment:
        """`frame` filled in, with its key: a hash of all that decides the answer (C0.8)."""
        which = (fields.get("order"), fields.get("aspect"), fields.get("sample_idx", 0))
        key = ids.content_hash("judgment/1", self._identity, frame.judge_id, frame.prompt_id, cand_ids, *which)
        return replace(frame, judgment_key=key, cand_ids=cand_ids, **fields)

    def unfit(self, candidates: Sequence[Candidate], prompt: Prompt, ctx: Context) -> dict[str, Status]:
        """Candidates that are not shown to this judge, and the status that says why: `na` (own family), `too_long`."""
        long = sum([len(message.content) for message in prompt.messages]) > self.max_chars
        found: dict[str, Status] = {
            c.candidate_id: "too_long" for c in candidates if long or len(c.text) > self.max_chars
        }
        if self.exclude_same_family:
            judge = ctx.engine_families.get(self.engine) or ctx.engine_models.get(self.engine) or self.engine
            found |= dict.fromkeys(own_family(candidates, judge), "na")
        return found

    def about(self, prompt: Prompt) -> dict[str, Any]:
        """What every template may say about the prompt."""
        reference = as_data(prompt.reference) if self.show_reference and prompt.reference else None
        return {"prompt": prompt_text(prompt.messages), "reference": reference, "reason": self.reason}

    @cached_property
    def _stage(self) -> str:
        return type(self).__name__.lower()

    @cached_property
    def _labels(self) -> tuple[str, ...]:
        return self.labels()

    @cached_property
    def _template(self) -> Template:
        return load_template(self._stage, self.template)

    @cached_property
    def _sampling(self) -> Sampling:
        greedy = 0.0 if self.samples == 1 else 0.7
        return self.sampling or Sampling(temperature=greedy, max_tokens=1024 if self.reason else 8)

    @cached_property
    def _retry_sampling(self) -> Sampling:
        temperature = max(self._sampling.temperature, _RETRY_TEMPERATURE)
        return self._sampling.model_copy(update={"temperature": temperature})

    @cached_property
    def _identity(self) -> str:
        fields = {"sampling": self._sampling.model_dump(mode="json"), "mode": self.mode, "structured": self.structured}
        version = getattr(type(self), "version", 1)
        return ids.content_hash(f"{self._stage}/1", version, self._template.sha256, fields)


def _once_more(question: Question, failed: Sequence[Judgment], attempt: int) -> Question:
    """The question again, for the rows that have no answer yet; their keys hold the attempt."""
    rows = [replace(row, judgment_key=ids.content_hash(row.judgment_key, attempt), attempt=attempt) for row in failed]
    return replace(question, rows=tuple(rows))
