"""Principles: what an answer is asked to be like, or is criticised by. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class Principle(BaseModel):
    """A text that asks for one quality (UltraFeedback: helpfulness, honesty, …), drawn with `weight`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    text: str
    weight: float = Field(1.0, gt=0)


LIBRARY: Mapping[str, Principle] = {
    name: Principle(name=name, text=text)
    for name, text in {
        "correctness": "Every statement, calculation and step is right, and the conclusion follows from them.",
        "truthfulness": "Nothing is claimed that is not known, and uncertainty is said where there is any.",
        "helpfulness": "The answer does what was asked, completely and in a form the person can use at once.",
        "harmlessness": "The answer helps nobody to do harm and is considerate of everyone it speaks of.",
        "clarity": "The answer is easy to follow: plain words, a sensible order, nothing left unexplained.",
        "conciseness": "The answer contains what is needed and no more: no repetition, no padding.",
    }.items()
}
"""What a response can be criticised by, in the manner of a constitution (Constitutional AI)."""


def named(value: Any) -> Any:
    """A config's list of principles, its names replaced by those of the library. Raises ValueError: unknown name."""
    if not isinstance(value, (list, tuple)):
        return value
    if unknown := [v for v in value if isinstance(v, str) and v not in LIBRARY]:
        raise ValueError(
            f"unknown principle {unknown[0]!r}; the library has {', '.join(LIBRARY)}; or give {{name, text}}"
        )
    return tuple([LIBRARY[v] if isinstance(v, str) else v for v in value])
