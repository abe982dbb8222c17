"""rate: pointwise scores by a judge. One call per candidate, aspect and sample; every call is a row (spec C3 J1)."""

from __future__ import annotations

from functools import cached_property
from typing import Any, ClassVar, Literal

from msgspec import Struct
from pydantic import Field, field_validator

from pipeline import ids
from pipeline.engine import Completion, Request, Sampling
from pipeline.errors import PlanError, Rejected
from pipeline.prompts import Template
from pipeline.records import Candidate, Judgment, Message, Status
from pipeline.stage import Context, Example, Stage
from stages.judges.aspects import ASPECTS, Aspect
from stages.judges.calls import answer_each
from stages.judges.families import model_family, own_family
from stages.judges.hygiene import as_data, prompt_text
from stages.judges.verdicts import Reading, ScoreRule, read_score


class _Call(Struct, frozen=True, gc=False):
    """One question: which candidate, aspect and sample; `request` is None where there is no need to ask."""

    candidate: Candidate
    aspect: Aspect
    sample_idx: int
    key: str
    request: Request | None
    status: Status  # when not asked


class Rate(Stage):
    """Scores every candidate on every aspect.

    aspects: names of the library (stages/judges/aspects.py) or {name, description, levels, na_allowed}.
    scale: lowest and highest integer.
    mode: `expected` takes the mean of the label distribution where the score was written (the written number, with
    logprob_source none, where the engine saw no label there); `parsed` takes the written number.
    reason: the judge thinks first and writes the score last; else it answers with the score alone.
    samples: calls per aspect. sampling: default greedy for one sample, else temperature 0.7.
    label_mass_min: with less probability on labels the judge wanted to say something else (`low_mass`).
    show_reference: the judge sees the reference where there is one.
    exclude_same_family: in a pool of several model families the judge does not score its own.
    max_chars: a longer prompt or candidate is `too_long`, never cut.
    structured: restricts a direct answer to the labels.
    """

    engine: str
    template: str = "default"
    aspects: tuple[Aspect, ...] = Field((ASPECTS["helpfulness"],), min_length=1)
    scale: tuple[int, int] = (1, 5)
    mode: Literal["expected", "parsed"] = "expected"
    reason: bool = False
    samples: int = Field(1, ge=1, le=256)
    sampling: Sampling | None = None
    label_mass_min: float = Field(0.5, ge=0, le=1)
    show_reference: bool = True
    exclude_same_family: bool = True
    max_chars: int = Field(40_000, ge=1)
    structured: bool = False

    template_variables: ClassVar[frozenset[str]] = frozenset(
        {
            "prompt",
            "response",
            "reference",
            "aspect",
            "description",
            "scale",
            "scale_min",
            "scale_max",
            "na_allowed",
            "reason",
        }
    )

    @field_validator("aspects", mode="before")
    @classmethod
    def _described(cls, value: Any) -> Any:
        """Names become the aspects of the library, so that their full texts are part of the recipe."""
        if not isinstance(value, (list, tuple)):
            return value
        if unknown := [a for a in value if isinstance(a, str) and a not in ASPECTS]:
            raise ValueError(
                f"unknown aspect {', '.join(unknown)}; aspects: {', '.join(ASPECTS)}; "
                "or give name, description and levels"
            )
        return tuple(ASPECTS[a] if isinstance(a, str) else a for a in value)

    def check(self) -> None:
        """Raises PlanError when scale, levels, labels and answer form do not fit together."""
        low, high = self.scale
        if low >= high:
            raise PlanError(f"rate: scale {low}–{high} has no width; give the lowest and the highest score")
        if self.mode == "expected" and (low < 0 or high > 9):
            raise PlanError(f"rate: mode expected needs scores of one digit, scale is {low}–{high}; use mode parsed")
        for aspect in self.aspects:
            if len(aspect.levels) != high - low + 1:
                raise PlanError(
                    f"rate: aspect {aspect.name} describes {len(aspect.levels)} levels, "
                    f"scale {low}–{high} has {high - low + 1}"
                )
        if len({a.name for a in self.aspects}) < len(self.aspects):
            raise PlanError("rate: two aspects have the same name; every aspect needs its own")
        if self.reason and self.structured:
            raise PlanError(
                "rate: structured restricts the answer to a score, which leaves no room to reason; choose one"
            )
        if self._sampling.n != 1:
            raise PlanError(f"rate: sampling.n is {self._sampling.n}; the number of calls per aspect is set by samples")

    def capabilities(self, alias: str) -> frozenset[str]:
        """`labels` in mode expected, `structured` where asked for."""
        wanted = {
            "generate",
            *(["labels"] if self.mode == "expected" else []),
            *(["structured"] if self.structured else []),
        }
        return frozenset(wanted)

    @cached_property
    def _template(self) -> Template:
        return self.templates()[0]

    @cached_property
    def _sampling(self) -> Sampling:
        greedy = 0.0 if self.samples == 1 else 0.7
        return self.sampling or Sampling(temperature=greedy, max_tokens=1024 if self.reason else 8)

    @cached_property
    def _rule(self) -> ScoreRule:
        low, high = self.scale
        labels = {str(score): float(score) for score in range(low, high + 1)} if self.mode == "expected" else {}
        return ScoreRule(low, high, labels, self.label_mass_min, self.reason)

    @cached_property
    def _choice(self) -> dict[str, Any] | None:
        low, high = self.scale
        return {"choice": [str(score) for score in range(low, high + 1)]} if self.structured else None

    @cached_property
    def _identity(self) -> str:
        fields = {"sampling": self._sampling.model_dump(mode="json"), "mode": self.mode, "structured": self.structured}
        return ids.content_hash("rate/1", self.version, self._template.sha256, fields)

    @cached_property
    def _asked(self) -> list[tuple[Aspect, dict[str, Any]]]:
        return [
            (a, {**a.variables(self.scale[0]), "scale_max": self.scale[1], "reason": self.reason}) for a in self.aspects
        ]

    async def process(self, example: Example[Candidate], ctx: Context) -> list[Judgment]:
        """One judgment per (candidate, aspect, sample), mode `aspect`. Raises EngineError."""
        judge = ctx.engine_models.get(self.engine) or self.engine
        calls = self._calls(example, ctx, judge)
        asked = [(i, call.request) for i, call in enumerate(calls) if call.request is not None]
        answers: list[Completion | Rejected | None] = [None] * len(calls)
        for (i, _), answer in zip(
            asked, await answer_each(ctx.engines[self.engine], [r for _, r in asked]), strict=True
        ):
            answers[i] = answer
        family = ctx.engine_families.get(self.engine) or model_family(judge)
        return [
            self._judgment(call, answer, ctx.job, (judge, family)) for call, answer in zip(calls, answers, strict=True)
        ]

    def _calls(self, example: Example[Candidate], ctx: Context, judge: str) -> list[_Call]:
        """The questions, in the order of candidates, aspects, samples."""
        prompt = example.prompt
        question = prompt_text(prompt.messages)
        reference = as_data(prompt.reference) if self.show_reference and prompt.reference else None
        own = own_family(example.candidates, ctx.engine_families.get(self.engine) or judge)
        frame = (judge, ctx.seed(prompt.prompt_id, "rate"))
        calls: list[_Call] = []
        for candidate in example.candidates:
            status: Status = "na" if self.exclude_same_family and candidate.candidate_id in own else "ok"
            if status == "ok" and max(len(question), len(candidate.text)) > self.max_chars:
                status = "too_long"
            response = as_data(candidate.text) if status == "ok" else ""
            for aspect, variables in self._asked:
                asked: tuple[Message, ...] | Status = status
                if status == "ok":
                    asked = self._template.render(prompt=question, response=response, reference=reference, **variables)
                calls += [self._call(candidate, aspect, k, asked, frame) for k in range(self.samples)]
        return calls

    def _call(
        self,
        candidate: Candidate,
        aspect: Aspect,
        sample_idx: int,
        asked: tuple[Message, ...] | Status,
        frame: tuple[str, int],
    ) -> _Call:
        """One question: its messages, or the status that says why it is not asked. frame: judge and seed."""
        judge, seed = frame
        who = (candidate.prompt_id, [candidate.candidate_id], None)  # None: no order, it stands alone
        key = ids.content_hash("judgment/1", self._identity, judge, *who, aspect.name, sample_idx)
        if isinstance(asked, str):
            return _Call(candidate, aspect, sample_idx, key, None, asked)
        request = Request(
            sampling=self._sampling,
            key=key,
            seed=(seed ^ int(key[:8], 16)) & 0x7FFFFFFF,  # 31 bits, told apart by the key
            messages=asked,
            labels=tuple(self._rule.labels),
            structured=self._choice,
        )
        return _Call(candidate, aspect, sample_idx, key, request, "ok")

    def _judgment(
        self, call: _Call, answer: Completion | Rejected | None, job: str, judge: tuple[str, str | None]
    ) -> Judgment:
        completion = answer if isinstance(answer, Completion) else None
        if completion is not None:
            reading = read_score(completion, self._rule, call.aspect.na_allowed)
        else:
            reading = Reading("too_long" if isinstance(answer, Rejected) else call.status)
        low, high = self.scale
        return Judgment(
            prompt_id=call.candidate.prompt_id,
            judgment_key=call.key,
            job=job,
            mode="aspect",
            judge_id=judge[0],
            cand_ids=(call.candidate.candidate_id,),
            status=reading.status,
            value=reading.value,
            value_mode=reading.mode,
            scale_min=float(low),
            scale_max=float(high),
            judge_family=judge[1],
            template_id=self._template.name,
            template_hash=self._template.sha256,
            aspect=call.aspect.name,
            sample_idx=call.sample_idx,
            label_probs=reading.probs,
            label_mass=reading.mass,
            logprob_source="none" if reading.mass is None else "raw",
            reasoning=reading.reasoning,
            raw_text=completion.text if completion is not None else None,
            n_in=completion.n_prompt_tokens if completion is not None else None,
            n_out=completion.n_tokens if completion is not None else None,
        )
