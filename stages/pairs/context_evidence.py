"""What judges said of two answers under a context and under none (spec pairs 17.3 V3, V7, V8). Pure.

What failed is missing: a comparison without both orders says nothing, and neither does a rating that was not given.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from pipeline.pair import Context as Held
from pipeline.records import Judgment
from stages.contexts.conditions import NO_CONTEXT, context_id
from stages.judges.scores import CandidateScore, candidate_scores

_LABELS = {"1": "oppose", "2": "neutral", "3": "support"}  # of a rating of stance on a scale from 1 to 3


class Belief(NamedTuple):
    """P(the first answer is better) by `n_judges`; consistent: every judge kept its side in both orders."""

    p: float
    n_judges: int
    consistent: bool

    def turned(self) -> Belief:
        """The same of the second answer."""
        return self._replace(p=1 - self.p)


class Evidence:
    """All that is known of the answers to one prompt."""

    def __init__(self, judgments: Sequence[Judgment]) -> None:
        asked: dict[tuple[str, ...], dict[tuple[str, str], tuple[list[float], list[float]]]] = {}
        ratings: dict[tuple[str, str], list[float]] = {}
        self._effects: dict[tuple[str, ...], float] = {}
        self._stances: dict[tuple[str, str], list[dict[str, float]]] = {}
        for row in judgments:
            if row.value is None or row.status != "ok":
                continue
            key = (*row.cand_ids, row.aspect or "")
            if row.mode == "context_compare":
                orders = asked.setdefault(key, {}).setdefault((row.job, row.judge_id), ([], []))
                orders[row.order or 0].append(row.value)
            elif row.mode == "context_effect" and row.raw_text:
                self._effects[key] = float(msgspec.json.decode(row.raw_text)["effect"])
            elif row.mode == "context_rate":
                unit = (row.value - row.scale_min) / (row.scale_max - row.scale_min)
                ratings.setdefault((row.cand_ids[0], row.aspect or ""), []).append(unit)
            elif row.mode == "aspect" and (row.scale_min, row.scale_max) == (1, 3):
                self._stances.setdefault((row.cand_ids[0], row.aspect or ""), []).append(_stances(row))
        self._beliefs = {key: belief for key, judges in asked.items() if (belief := _belief(list(judges.values())))}
        self._ratings = {key: math.fsum(values) / len(values) for key, values in ratings.items()}
        self.scores: dict[str, CandidateScore] = candidate_scores(judgments)

    def belief(self, one: str, other: str, context: Held | None) -> Belief | None:
        """P(`one` is better than `other`) under `context`, by judges that compared them in both orders."""
        name = context_id(context) if context else NO_CONTEXT
        if (found := self._beliefs.get((one, other, name))) is not None:
            return found
        turned = self._beliefs.get((other, one, name))
        return turned.turned() if turned else None

    def effect(self, one: str, other: str, context: Held) -> float | None:
        """How many nats `context` moves a model towards `one`, against no context."""
        name = context_id(context)
        if (found := self._effects.get((one, other, name))) is not None:
            return found
        turned = self._effects.get((other, one, name))
        return None if turned is None else -turned

    def outcome(self, candidate: str) -> bool | None:
        """What checks found of an answer."""
        return score.outcome if (score := self.scores.get(candidate)) else None

    def rating(self, candidate: str, context: Held, trait: str) -> float | None:
        """How well an answer meets a trait of `context`, on [0, 1]."""
        return self._ratings.get((candidate, f"{context_id(context)}/{trait}"))

    def stance(self, candidate: str, aspect: str, stance: str) -> float | None:
        """P(the answer takes `stance`: support, neutral, oppose) by the ratings of `aspect`; their mean."""
        found = self._stances.get((candidate, aspect))
        return math.fsum(p.get(stance, 0.0) for p in found) / len(found) if found else None


def _belief(judges: Sequence[tuple[list[float], list[float]]]) -> Belief | None:
    both = [[math.fsum(order) / len(order) for order in orders] for orders in judges if all(orders)]
    if not both:
        return None
    same = all((first - 0.5) * (second - 0.5) > 0 for first, second in both)
    return Belief(math.fsum(sum(orders) / 2 for orders in both) / len(both), len(both), same)


def _stances(row: Judgment) -> dict[str, float]:
    """The distribution over stances where the judge told one, else all on the label it wrote."""
    if row.label_probs:
        return {_LABELS[label.label]: label.p for label in row.label_probs if label.label in _LABELS}
    return {_LABELS[str(round(row.value or 0))]: 1.0} if round(row.value or 0) in (1, 2, 3) else {}
