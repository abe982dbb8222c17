"""The kinds of rationales and what each is asked for (spec judges C2). Pure."""

from __future__ import annotations

import re
from typing import Literal

from pipeline.pair import Pair
from pipeline.records import Rationale
from stages.rationales.gate import Limits, Wanted

Kind = Literal["general", "detailed", "contrastive", "step", "critique", "argument_graph"]
Format = Literal["json", "free", "annotated_report", "procedural", "subquestions"]

# Those that compare two responses and end with a verdict, the most telling first.
COMPARING: tuple[Kind, ...] = ("step", "detailed", "contrastive", "general")
_BUDGETS: dict[Kind, int] = {
    "general": 60, "detailed": 300, "contrastive": 350, "step": 150, "critique": 250, "argument_graph": 400
}  # fmt: skip
_QUOTES: dict[Kind, Wanted] = {"detailed": "any", "contrastive": "both", "critique": "any"}
_NUMBERED = re.compile(r"^\s{0,4}(?:step\s)?\d{1,2}[.):]\s", re.MULTILINE | re.IGNORECASE)
_QUESTION = re.compile(r"\?\s*$", re.MULTILINE)


def limits(kind: Kind, min_tokens: int, budget: int | None, min_quote_precision: float) -> Limits:
    """The gate's thresholds for a kind; its own token budget where none is given."""
    return Limits(
        min_tokens, _BUDGETS[kind] if budget is None else budget, min_quote_precision, _QUOTES.get(kind, "none")
    )


def fits(kind: Kind, pair: Pair) -> str | None:
    """Why a pair cannot have a rationale of this kind; None where it can."""
    if pair.rejected_prompt_messages is not None:
        return "two_prompts"  # arms that answer different prompts cannot be shown under one
    if pair.level in ("judgment", "rationale"):
        return "no_responses"  # training data for judges and authors, which answers no one's question
    return "no_steps" if kind == "step" and pair.level != "step" else None


def has_format(rationale: Rationale) -> bool:
    """Whether the text has the form its row claims: two numbered lines, two questions, a quoted passage."""
    text = rationale.elaboration or ""
    if rationale.format == "procedural":
        return len(_NUMBERED.findall(text)) >= 2
    if rationale.format == "subquestions":
        return len(_QUESTION.findall(text)) >= 2
    return rationale.format != "annotated_report" or any(span.start is not None for span in rationale.spans or ())
