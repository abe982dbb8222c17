"""Which of two answers is better when several aspects count: by Pareto dominance, or by a weighted sum. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Set
from typing import NamedTuple

from pipeline.errors import Rejected
from pipeline.pair import FilterResult
from stages.pairs.gate import EPSILON

Ratings = Mapping[str, float]  # aspect -> rating on [0, 1]


class Preference(NamedTuple):
    """first: whether the first of the two is better. scores: weighted means on [0, 1], the better one's first."""

    first: bool
    scores: tuple[float, float]
    dominance: str  # strict_pareto or weighted

    def filters(self, tau: float) -> tuple[FilterResult, ...]:
        """What was measured."""
        return (FilterResult("weighted_gap", True, self.scores[0] - self.scores[1], tau),)


def prefer(
    one: Ratings, other: Ratings, weights: Mapping[str, float], hard: Set[str] = frozenset(), tau: float = 0.0
) -> Preference:
    """The answer with the higher weighted mean, which may be worse on no aspect of `hard` (all of them: Pareto).

    weights: of every aspect, above 0. tau: least gap of the means. Raises Rejected: not_rated, tie, margin, trade_off.
    """
    for ratings in (one, other):
        if missing := sorted(weights.keys() - ratings.keys()):
            raise Rejected("not_rated", f"an answer has no rating of {', '.join(missing)}")
    means = [math.fsum(w * r[a] for a, w in weights.items()) / math.fsum(weights.values()) for r in (one, other)]
    gap = abs(means[0] - means[1])
    if gap < EPSILON:
        raise Rejected("tie", f"both answers come to {means[0]:.4g}")
    if gap < tau - EPSILON:
        raise Rejected("margin", f"gap {gap:.4g} is below {tau:g}")
    first = means[0] > means[1]
    better, worse = (one, other) if first else (other, one)
    lost = sorted(aspect for aspect in weights if better[aspect] < worse[aspect] - EPSILON)
    if against := [aspect for aspect in lost if aspect in hard]:
        raise Rejected("trade_off", f"the better answer is the worse one on {', '.join(against)}")
    return Preference(first, (max(means), min(means)), "weighted" if lost else "strict_pareto")
