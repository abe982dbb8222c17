"""Critiques: what is good and bad about one response, and what would mend it. Pure.

A critique sees one response and no label. Its score makes it comparable with the critique of the other arm: a couple that
scores the rejected response higher contradicts the label (V2).
"""

from __future__ import annotations

from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from pipeline.records import Rationale
from stages.rationales.gate import Gated, Limits, Shown, examined
from stages.rationales.replies import SORTS, Evidence, first_object, listed, read_evidence

SCORES = (1, 10)

CRITIQUE_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "evidence": {
            "type": "array",
            "maxItems": 8,
            "items": {
                "type": "object",
                "properties": {
                    "sort": {"enum": [*SORTS]},
                    "side": {"enum": ["response", "prompt"]},
                    "quote": {"type": "string", "maxLength": 300},
                    "point": {"type": "string", "maxLength": 400},
                },
                "required": ["sort", "side", "quote", "point"],
                "additionalProperties": False,
            },
        },
        "elaboration": {"type": "string", "maxLength": 1500},
        "fix": {"type": "string", "maxLength": 600},
        "verdict": {
            "type": "object",
            "properties": {"score": {"enum": list(range(SCORES[0], SCORES[1] + 1))}},
            "required": ["score"],
            "additionalProperties": False,
        },
    },
    "required": ["evidence", "elaboration", "fix", "verdict"],
    "additionalProperties": False,
}


class Critique(Struct, frozen=True, gc=False):
    """A critique as its author gave it; `score` on 1–10, None where none is readable; `fix` empty where none is needed."""

    evidence: tuple[Evidence, ...]
    elaboration: str
    fix: str
    score: int | None
    statement: str = ""  # it compares nothing

    @property
    def prose(self) -> str:
        """The author's own words, without the quotes."""
        return "\n".join([self.elaboration, *[e.point for e in self.evidence if e.point], self.fix]).strip()

    @property
    def text(self) -> str:
        """The prose, strengths and defects, and the fix."""
        report = listed(self.evidence, {"A": "The response", "prompt": "The prompt"})
        fix = [f"Fix: {self.fix}"] if self.fix else []
        return "\n".join([*([self.elaboration] if self.elaboration else []), *report, *fix])


def parse_critique(text: str) -> Critique | None:
    """The first JSON object in `text` with a verdict; None when there is none of the right shape."""
    value = first_object(text, "verdict")
    evidence = None if value is None else read_evidence(value, alone=True)
    if value is None or evidence is None:
        return None
    verdict, elaboration, fix = value["verdict"], value.get("elaboration", ""), value.get("fix", "")
    score = verdict.get("score") if isinstance(verdict, dict) else verdict
    if not isinstance(elaboration, str) or not isinstance(fix, str):
        return None
    known = isinstance(score, int) and not isinstance(score, bool) and SCORES[0] <= score <= SCORES[1]
    return Critique(evidence, elaboration.strip(), fix.strip(), score if known else None)


def gate_critique(critique: Critique, shown: Shown, limits: Limits, truncated: bool) -> Gated:
    """V1 and V3–V6; a critique without a score is refused (`parse_error`). V2 takes both arms: `agreeing`."""
    found = examined(critique, shown, limits, None, truncated)
    return replace(found, reason="parse_error") if critique.score is None and found.reason is None else found


def scored(critique: Critique) -> str | None:
    """The fixed sentence of a critique's verdict."""
    return None if critique.score is None else f"The response scores {critique.score} of {SCORES[1]}."


def agreeing(row: Rationale, score: int | None, other: int | None) -> Rationale:
    """A critique of one arm, with what its score and that of the other arm's critique say of the label.

    The arm with the higher score is preferred; against the label both critiques are refused. Equal scores, or one that
    is missing, say nothing.
    """
    if score is None or other is None:
        return row
    gap = score - other if row.arm == "chosen" else other - score
    row = replace(
        row,
        implied_label=(gap > 0) - (gap < 0),
        implied_strength=max(-3, min(3, gap)),
        verify=replace(row.verify, label_consistent=gap > 0 if gap else None),
    )
    return replace(row, status="rejected", reject_reason="label_mismatch") if gap < 0 and row.status == "ok" else row
