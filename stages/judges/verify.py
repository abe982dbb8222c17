"""verify: is the answer right? Compares each candidate's final answer with the reference, without a model.

Tri-state: value 1.0 right, 0.0 wrong, None unknown. Unknown has a status: `na` (no reference, or nothing readable),
`truncated` (cut before it answered), `timeout`, `parse_error`. What cannot be read is never wrong.
"""

from __future__ import annotations

import asyncio
import re
from functools import cached_property
from typing import ClassVar, Literal

import msgspec
from pydantic import Field

from pipeline import ids
from pipeline.errors import PlanError
from pipeline.records import Candidate, Judgment, Status, ToolCall
from pipeline.stage import Context, Example, Stage
from stages.judges.answers import (
    Answer,
    Reference,
    equal_choice,
    equal_numbers,
    is_plain_formula,
    needs_mathematics,
    read_answer,
    read_reference,
)
from stages.judges.texts import equal_text, equal_words
from stages.judges.workers import shared_workers

Verdict = tuple[bool | None, Status]

_encode = msgspec.json.Encoder().encode


class Verify(Stage):
    """Outcome of each candidate against the reference.

    method: `auto` takes what fits the reference (one letter: choice; a number: numbers; a formula: latex; else exact).
    marker, reference_marker: after what the final answer stands (literal or regular expression); without, the last
    `\\boxed{}`, `#### x`, `Answer: x`, `A: x` counts.
    last_number: where a candidate has no marker, its last number is read.
    pattern: for `regex`, finds the answer (first group of the last match). tolerance: relative, for numbers.
    timeout_s: limit of one LaTeX or regex check, processor time. workers: processes for those.
    """

    method: Literal["auto", "numbers", "latex", "choice", "exact", "regex"] = "auto"
    marker: str | None = None
    reference_marker: str | None = None
    last_number: bool = True
    pattern: str | None = None
    tolerance: float = Field(0.0, ge=0, lt=1)
    timeout_s: float = Field(5.0, gt=0, le=600)
    case_sensitive: bool = False
    workers: int = Field(2, ge=1, le=64)

    version: ClassVar[int] = 2
    not_identity: ClassVar[frozenset[str]] = frozenset({"workers"})

    def check(self) -> None:
        """Raises PlanError for a pattern that is missing, superfluous or no regular expression."""
        if (self.method == "regex") != (self.pattern is not None):
            raise PlanError("verify: method regex and pattern go together; give both or neither")
        try:
            re.compile(self.pattern or "")
        except re.error as error:
            raise PlanError(f"verify: pattern {self.pattern!r} is no regular expression: {error}") from None

    @cached_property
    def _identity(self) -> str:
        return ids.content_hash("verify/1", self.version, self.model_dump(mode="json", exclude=set(self.not_identity)))

    async def process(self, example: Example[Candidate], ctx: Context) -> list[Judgment]:
        """One judgment per candidate, mode `tool`."""
        prompt = example.prompt
        method = "exact" if self.method == "regex" else self.method
        reference = read_reference(prompt.reference or "", method, self.reference_marker)
        judged: list[Judgment] = []
        waiting: list[tuple[int, Candidate, Answer | None]] = []
        for candidate in example.candidates:
            answer: Answer | None = None
            verdict: Verdict | None = (None, "na")
            if reference is not None and self.method == "regex":
                verdict = None
            elif reference is not None:
                answer = read_answer(candidate.text, reference, self.marker, self.last_number)
                verdict = self._decide(candidate, answer, reference)
            if verdict is None:
                waiting.append((len(judged), candidate, answer))
            judged.append(self._judgment(ctx, candidate, reference, answer, verdict or (None, "na")))
        if waiting and reference is not None:
            slow = await asyncio.gather(*[self._ask(candidate, answer, reference) for _, candidate, answer in waiting])
            for (at, candidate, _), (answer, verdict) in zip(waiting, slow, strict=True):
                judged[at] = self._judgment(ctx, candidate, reference, answer, verdict)
        return judged

    def _decide(self, candidate: Candidate, answer: Answer | None, reference: Reference) -> Verdict | None:
        """The verdict where it is cheap; None where a worker has to find it."""
        if answer is None or (not answer.marked and candidate.finish_reason == "length"):
            return None, "truncated" if candidate.finish_reason == "length" else "na"
        if reference.method == "choice":
            equal = equal_choice(answer, reference)
        elif reference.method == "exact":
            equal = equal_words(answer.text, answer.marked, reference.text, self.case_sensitive)
        else:
            equal = equal_numbers(answer, reference, self.tolerance)
            if equal is None and self.method != "numbers" and needs_mathematics(answer, reference):
                return None
        return equal, "na" if equal is None else "ok"

    async def _ask(
        self, candidate: Candidate, answer: Answer | None, reference: Reference
    ) -> tuple[Answer | None, Verdict]:
        """The verdict of a check that runs in a worker: LaTeX equality, or the answer that `pattern` finds."""
        workers = shared_workers(self.workers)
        if self.pattern is not None:
            reply = await workers.ask(self.timeout_s, "last_match", self.pattern, candidate.text)
        else:
            assert answer is not None
            reply = await workers.ask(self.timeout_s, "same_math", reference.text, answer.text)
        if reply is None:
            return answer, (None, "timeout")
        if "error" in reply:
            return answer, (None, "parse_error")
        value = reply["value"]
        if value is False and answer is not None and reference.number is not None and not is_plain_formula(answer.text):
            value = None
        if self.pattern is not None and value is not None:
            answer, value = Answer(value, True), equal_text(value, reference.text, self.case_sensitive)
        unknown: Status = "na" if self.pattern is not None else "parse_error"
        return answer, (value, unknown if value is None else "ok")

    def _judgment(
        self,
        ctx: Context,
        candidate: Candidate,
        reference: Reference | None,
        answer: Answer | None,
        verdict: Verdict,
    ) -> Judgment:
        equal, status = verdict
        known = reference.text[:200] if reference is not None else None
        read = answer.text[:200] if answer is not None else None
        arguments = _encode({"answer": read, "reference": known}).decode()
        observation = {True: "equal", False: "different", None: status}[equal]
        tool = "regex" if self.method == "regex" else reference.method if reference is not None else self.method
        return Judgment(
            prompt_id=candidate.prompt_id,
            judgment_key=ids.content_hash(
                "judgment/1", self._identity, candidate.prompt_id, candidate.candidate_id, reference and reference.text
            ),
            job=ctx.job,
            mode="tool",
            judge_id=f"verify:{self.method}",
            cand_ids=(candidate.candidate_id,),
            status=status,
            value=None if equal is None else float(equal),
            value_mode=None if equal is None else float(equal),
            judge_family="tool",
            raw_text=read,
            tool_trace=(ToolCall(tool, arguments, observation, equal is not None),),
        )
