"""How many rows each part of a mixture gives. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field


class Wanted(Protocol):
    """What a part of a mixture asks for."""

    @property
    def share(self) -> float | None: ...
    @property
    def count(self) -> int | None: ...


class Part(BaseModel):
    """One part of a mixture: which kinds of pairs, and either a share of the whole or a count of pairs."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kinds: tuple[str, ...] | Literal["other"] = "other"  # other: the kinds that no part names
    share: float | None = Field(None, gt=0)  # shares are scaled to a sum of 1
    count: int | None = Field(None, ge=0)


def why_not(parts: Sequence[Wanted], total: int | None) -> str | None:
    """What is wrong with the amounts that a mixture asks for, or None."""
    if any((part.share is None) == (part.count is None) for part in parts):
        return "each part needs either a share or a count"
    if len({part.share is None for part in parts}) > 1:
        return "give all parts shares, or all counts"
    if total is not None and any(part.share is None for part in parts):
        return "total goes with shares; counts add up by themselves"
    return None


def amounts(available: Mapping[str, int], parts: Mapping[str, Wanted], total: int | None) -> dict[str, int]:
    """Pairs to take of each part. Shares without a total: as many as keep the shares exact; with one: as many as there
    are, where a part has too few. A part that has none leaves its share to the others."""
    there = {name: part for name, part in parts.items() if available[name]}
    whole = sum([part.share or 0.0 for part in there.values()])
    if not whole:  # counts
        return {name: min(available[name], part.count or 0) for name, part in parts.items()}
    shares = {name: (part.share or 0.0) / whole for name, part in there.items()}
    if total is None:
        total = math.floor(min(available[name] / share for name, share in shares.items()) + 1e-9)
    return {name: min(available[name], round(shares.get(name, 0.0) * total)) for name in parts}
