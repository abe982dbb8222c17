"""Whether an answer equals the known one: right, wrong, or unknown with a status. Slow checks run in worker processes."""

from __future__ import annotations

import re
from typing import Literal

from msgspec.msgpack import Decoder
from pydantic import BaseModel, ConfigDict, Field

from pipeline import ids
from pipeline.errors import PlanError
from pipeline.records import Status
from pipeline.stage import Context
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
Judged = tuple[Answer | None, Verdict]
_JUDGED = Decoder(Judged)


class AnswerCheck(BaseModel):
    """How an answer is compared with the reference.

    method: `auto` takes what fits the reference (one letter: choice; a number: numbers; a formula: latex; else exact).
    marker, reference_marker: after what the final answer stands (literal or regular expression); without, the last
    `\\boxed{}`, `#### x`, `Answer: x`, `A: x` counts.
    last_number: where a text has no marker, its last number is read.
    pattern: for `regex`, finds the answer (first group of the last match). tolerance: relative, for numbers.
    timeout_s: limit of one LaTeX or regex check, processor time. workers: processes for those.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    method: Literal["auto", "numbers", "latex", "choice", "exact", "regex"] = "auto"
    marker: str | None = None
    reference_marker: str | None = None
    last_number: bool = True
    pattern: str | None = None
    tolerance: float = Field(0.0, ge=0, lt=1)
    timeout_s: float = Field(5.0, gt=0, le=600)
    case_sensitive: bool = False
    workers: int = Field(2, ge=1, le=64)

    def check(self) -> None:
        """Raises PlanError for a pattern that is missing, superfluous or no regular expression."""
        if (self.method == "regex") != (self.pattern is not None):
            raise PlanError("verify: method regex and pattern go together; give both or neither")
        try:
            re.compile(self.pattern or "")
        except re.error as error:
            raise PlanError(f"verify: pattern {self.pattern!r} is no regular expression: {error}") from None

    def known(self, reference: str | None) -> Reference | None:
        """The reference ready to compare with; None when nothing in it can be checked."""
        method = "exact" if self.method == "regex" else self.method
        return read_reference(reference or "", method, self.reference_marker)

    def glance(
        self, text: str, finish_reason: str | None, reference: Reference | None
    ) -> tuple[Answer | None, Verdict | None]:
        """The answer in `text` and the verdict where it is cheap; without a verdict `ask` has to find it."""
        if reference is None:
            return None, (None, "na")
        if self.method == "regex":
            return None, None
        answer = read_answer(text, reference, self.marker, self.last_number)
        return answer, self._decide(answer, finish_reason, reference)

    async def verdict(self, text: str, finish_reason: str | None, reference: Reference | None, ctx: Context) -> Judged:
        """The answer in `text` and whether it is right, however long that takes; slow checks are asked once for good.

        Raises EngineError.
        """
        answer, found = self.glance(text, finish_reason, reference)
        if found is not None or reference is None:
            return answer, found or (None, "na")
        name = f"verify:{ids.content_hash(text, reference.text)}"
        return await ctx.once(name, _JUDGED, lambda: self.ask(text, answer, reference))

    def _decide(self, answer: Answer | None, finish_reason: str | None, reference: Reference) -> Verdict | None:
        if answer is None or (not answer.marked and finish_reason == "length"):
            return None, "truncated" if finish_reason == "length" else "na"
        if reference.method == "choice":
            equal = equal_choice(answer, reference)
        elif reference.method == "exact":
            equal = equal_words(answer.text, answer.marked, reference.text, self.case_sensitive)
        else:
            equal = equal_numbers(answer, reference, self.tolerance)
            if equal is None and self.method != "numbers" and needs_mathematics(answer, reference):
                return None
        return equal, "na" if equal is None else "ok"

    async def ask(self, text: str, answer: Answer | None, reference: Reference) -> Judged:
        """The verdict of a check that runs in a worker: LaTeX equality, or the answer that `pattern` finds."""
        workers = shared_workers(self.workers)
        if self.pattern is not None:
            reply = await workers.ask(self.timeout_s, "last_match", self.pattern, text)
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
