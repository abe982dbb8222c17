"""Checklists: weighted yes/no criteria, read from data or from a model's list, and the score they come to. Pure.

Form and formula are MoReBench's (spec judges §12, C3 J2).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from pipeline.errors import Rejected

MOST = 20  # criteria a model may write for a prompt
MAX_MISSING = 0.25  # share of criteria without an answer beyond which there is no score
_TEXT_KEYS = ("criterion", "text", "criteria", "description", "question", "title")
_WEIGHT_KEYS = ("weight", "points", "importance")
_LIST = re.compile(r"\[.*\]", re.DOTALL)
_NUMBER = r"[-+−]?\d(?:\.\d{1,3})?"
_ITEM = re.compile(r"\s{0,8}(?:[-*•]|\d{1,2}[.)])\s{1,4}(?P<rest>\S.*)")
_WEIGHT_FIRST = re.compile(
    rf"[\[(]\s?(?:weight\s?[:=]?\s?)?(?P<weight>{_NUMBER})\s?[\])]\s{{0,3}}[:\-–]?\s{{0,3}}(?P<text>.+)", re.IGNORECASE
)
_WEIGHT_LAST = re.compile(
    rf"(?P<text>.+?)\s{{0,3}}[\[(|,;:–-]?\s?(?:weight|points?)\s?[:=]?\s?(?P<weight>{_NUMBER})\s?[\])]?\.?\s*\Z",
    re.IGNORECASE,
)


class Criterion(BaseModel):
    """A property an answer has or has not. weight: -3 to 3 and not 0; negative where to have it is a fault."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    text: str = Field(min_length=1, max_length=1000)
    weight: float = Field(1.0, ge=-3, le=3)

    @model_validator(mode="before")
    @classmethod
    def _text_alone(cls, value: Any) -> Any:
        """A text is a criterion of weight 1."""
        return {"text": value} if isinstance(value, str) else value

    @field_validator("weight")
    @classmethod
    def _counts(cls, value: float) -> float:
        if value == 0:
            raise ValueError("a criterion of weight 0 decides nothing; leave it out")
        return value


def read_criteria(value: Any) -> tuple[Criterion, ...]:
    """The criteria in what a data set gives: a list of texts or of {criterion | text | …, weight | points}, or a list
    written as lines. Raises Rejected (bad_criteria) with the item that is none.
    """
    items = list(_lines(value)) if isinstance(value, str) else value
    if not isinstance(items, (list, tuple)) or not items:
        raise Rejected(
            "bad_criteria", f"expected a list of texts or of objects with text and weight, got {str(value)[:80]}"
        )
    found = [_criterion(item) for item in items]
    if None in found:
        raise Rejected(
            "bad_criteria", f"no text with a weight of -3 to 3 other than 0: {str(items[found.index(None)])[:120]}"
        )
    return _distinct(found)


def written_criteria(text: str) -> tuple[Criterion, ...]:
    """The criteria a model wrote: a JSON list wherever it stands, else the items of a list; what is none is left out."""
    found = _LIST.search(text)
    items: Any = None
    if found is not None:
        try:
            items = msgspec.json.decode(found[0])
        except (msgspec.DecodeError, RecursionError):
            items = None
    if not isinstance(items, list) or not any(isinstance(item, (str, dict)) for item in items):
        items = _lines(text)
    return _distinct(_criterion(item) for item in items)[:MOST]


def _lines(text: str) -> list[dict[str, Any] | str]:
    """The items of a list in lines, with the weight in brackets before or behind them."""
    items: list[dict[str, Any] | str] = []
    for line in text.splitlines():
        found = _ITEM.match(line[:2000])
        if found is None:
            continue
        rest = found["rest"].strip()
        weighted = _WEIGHT_FIRST.fullmatch(rest) or _WEIGHT_LAST.match(rest)
        items.append({"text": weighted["text"], "weight": weighted["weight"]} if weighted else rest)
    return items


def _criterion(item: Any) -> Criterion | None:
    """A criterion without markup; None when the item has no text or a weight that is none."""
    if isinstance(item, str):
        item = {"text": item}
    if not isinstance(item, Mapping):
        return None
    text = next((item[key] for key in _TEXT_KEYS if isinstance(item.get(key), str)), "")
    weight = next((item[key] for key in _WEIGHT_KEYS if item.get(key) is not None), 1.0)
    try:
        number = float(str(weight).replace("−", "-").strip())
        return Criterion(text=" ".join(text.split()).strip("*_` "), weight=number)
    except (ValueError, ValidationError):
        return None


def _distinct(found: Iterable[Criterion | None]) -> tuple[Criterion, ...]:
    """The first of those that say the same."""
    by_text: dict[str, Criterion] = {}
    for criterion in found:
        if criterion is not None:
            by_text.setdefault(criterion.text.casefold().rstrip(". "), criterion)
    return tuple(by_text.values())


def checklist_score(answers: Sequence[tuple[float, float | None]]) -> float | None:
    """100 · (Σ_{w>0} w·v + Σ_{w<0} |w|·(1 - v)) / Σ|w| over (weight w, v = P(yes)) of the criteria that were answered.

    None when nothing was answered, or more than a quarter of the criteria were not: they leave both sums.
    """
    known = [(weight, value) for weight, value in answers if value is not None]
    if not known or len(answers) - len(known) > MAX_MISSING * len(answers):
        return None
    met = sum([abs(weight) * (value if weight > 0 else 1 - value) for weight, value in known])
    return 100 * met / sum([abs(weight) for weight, _ in known])
