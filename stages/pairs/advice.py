"""From the critique of a pair to advice for the next round: one text for the writer, one for the judge (Anyprefer)."""

from __future__ import annotations

from typing import ClassVar, NamedTuple

from pydantic import Field

from pipeline.records import Judgment, Prompt, Status
from pipeline.stage import Context
from stages.judges.authors import Author
from stages.judges.hygiene import as_data
from stages.rationales.leaks import leak_words
from stages.rationales.references import swap_refs
from stages.rationales.replies import first_object


class Advice(NamedTuple):
    """What the next round is told; empty: nothing."""

    writer: str = ""
    judge: str = ""


class Adviser(Author):
    """How it is asked. most: characters of a piece of advice that are passed on."""

    stage: ClassVar[str] = "refine_pairs"
    writes: ClassVar[str] = "advice"

    template: str = "advise"
    least: int = 1
    most: int = Field(800, ge=1)

    def status(self, text: str) -> Status:
        """Whether a complete reply holds both pieces."""
        return "ok" if read_advice(text, self.most) is not None else "parse_error"

    async def advised(
        self, prompt: Prompt, shown: tuple[str, str, str], number: int, ctx: Context
    ) -> tuple[list[Judgment], Advice | None]:
        """Its rows, and the advice, None where it gave none. shown: two responses (the second may be empty), a critique.

        Raises EngineError.
        """
        a, b, critique = shown
        rows, reply = await self.written(prompt, ctx, number, response_a=a, response_b=b, critique=critique)
        found = read_advice(reply, self.most) if reply is not None else None
        return rows, found


def read_advice(text: str, most: int) -> Advice | None:
    """The two pieces of a reply, as data, each cut to `most` characters; None for a reply of another form."""
    value = first_object(text, "writer")
    pieces = [value.get("writer"), value.get("judge")] if value else []
    if not pieces or not all(isinstance(piece, str) for piece in pieces):
        return None
    writer, judge = (as_data(str(piece)).strip()[:most] for piece in pieces)
    return Advice(writer, judge)


def without_leaks(advice: Advice, shown: str) -> tuple[Advice, int]:
    """The advice without a piece that names one of the responses or how the data is made, and how many pieces went.

    shown: the text of the task, whose own words are no leak.
    """
    kept = [piece if swap_refs(piece) == piece and not leak_words(piece, shown) else "" for piece in advice]
    return Advice(*kept), sum(piece != old for piece, old in zip(kept, advice, strict=True))
