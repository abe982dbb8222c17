"""Which of two answers is the better one, by construction, by score or by a student's gain; and what the row says. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from pipeline.errors import Rejected
from pipeline.pair import FilterResult
from stages.judges.labels import TOOL_LABEL, label_columns
from stages.judges.scores import AspectScore, CandidateScore
from stages.pairs.confirmation import Evidence
from stages.pairs.constructions import Duel
from stages.pairs.gate import EPSILON

GAIN = "icl_acc"  # the aspect under which `student_gain` files whether a student got a probe right
Scores = Mapping[str, CandidateScore]


class Labelled(NamedTuple):
    """Better and worse arm, who says so, their scores on [0, 1] where they have any, and what was measured for it.

    absolute: the scores say how good each answer is, not only which is the better one.
    """

    duel: Duel
    source: str
    scores: tuple[float, float] | None = None
    filters: tuple[FilterResult, ...] = ()
    absolute: bool = True

    @property
    def gap(self) -> float | None:
        """How much better the chosen arm scores."""
        return self.scores[0] - self.scores[1] if self.scores else None


def by_construction(duel: Duel, scores: Scores, found: Evidence) -> Labelled:
    """The order they come in; scores only where they say the same: a gap is above 0 or not known."""
    values = _values(duel, scores)
    if found.decided:
        values = (1.0, 0.0)
    agree = values is not None and values[0] - values[1] > EPSILON
    return Labelled(duel, "construction", values if agree else None, absolute=found.decided or _absolute(duel, scores))


def by_score(duel: Duel, scores: Scores, min_margin: float) -> Labelled:
    """Right beats wrong, else the higher score by at least `min_margin`.

    Raises Rejected: same_outcome, no_score, tie, margin.
    """
    outcomes = [s.outcome if (s := scores.get(c.candidate_id)) else None for c in duel]
    if sorted(map(str, outcomes)) == ["False", "True"]:
        return Labelled(duel if outcomes[0] else duel[::-1], "verifier", (1.0, 0.0))
    if (values := _values(duel, scores)) is None and None not in outcomes:
        raise Rejected(
            "same_outcome", f"a check found both arms {'right' if outcomes[0] else 'wrong'}, and no judge was asked"
        )
    if values is None:
        raise Rejected("no_score", "one of the two has no score")
    gap = abs(values[0] - values[1])
    if gap < max(min_margin - EPSILON, EPSILON):
        reason = "margin" if gap > EPSILON else "tie"
        raise Rejected(reason, f"the scores are {values[0]:.4g} and {values[1]:.4g}")
    if values[0] < values[1]:
        duel, values = duel[::-1], values[::-1]
    margin = FilterResult("margin", True, gap, min_margin)
    return Labelled(duel, "judge", values, (margin,), _absolute(duel, scores))


def by_gain(duel: Duel, scores: Scores, z: float, min_probes: int) -> Labelled:
    """The draft after which a student is right more often, if by more than noise: gap ≥ z·√(2p(1−p)/n), p the mean.

    Raises Rejected: no_score, few_probes, noise.
    """
    gains = [_gain(scores.get(c.candidate_id)) for c in duel]
    one, other = gains
    if one is None or other is None:
        raise Rejected("no_score", f"one of the two has no score of aspect {GAIN}; put student_gain before")
    if (n := min(one.n, other.n)) < min_probes:
        raise Rejected("few_probes", f"{n} probes were answered, {min_probes} are wanted")
    better, worse = (one, other) if one.raw >= other.raw else (other, one)
    p = (better.raw + worse.raw) / 2
    gap, noise = better.raw - worse.raw, z * math.sqrt(2 * p * (1 - p) / n)
    if gap < noise - EPSILON or gap < EPSILON:
        raise Rejected("noise", f"{gap:.3f} more right answers over {n} probes, {noise:.3f} could be chance")
    measured = FilterResult("gain_above_noise", True, gap, noise)
    return Labelled(duel if better is one else duel[::-1], "student_icl", (better.raw, worse.raw), (measured,))


def within(name: str, value: float, bounds: tuple[float, float]) -> FilterResult:
    """The entry of a rule that holds. Raises Rejected, by the rule's name, where `value` is out of bounds."""
    if not bounds[0] <= value <= bounds[1]:
        raise Rejected(name, f"{value:.3f} is not within {bounds[0]:g} and {bounds[1]:g}")
    return FilterResult(name, True, value, bounds[1])


def _gain(score: CandidateScore | None) -> AspectScore | None:
    return next((s for s in score.scores if s.aspect == GAIN), None) if score else None


def _values(duel: Duel, scores: Scores) -> tuple[float, float] | None:
    one, other = [s.value if (s := scores.get(c.candidate_id)) else None for c in duel]
    return None if one is None or other is None else (one, other)


def _absolute(duel: Duel, scores: Scores) -> bool:
    return all(s.absolute for c in duel if (s := scores.get(c.candidate_id)))


def evidence_columns(found: Evidence) -> dict[str, Any]:
    """What checks and judges add to the row."""
    columns: dict[str, Any] = {}
    votes = found.votes
    if found.share is not None:
        n = votes.chosen + votes.rejected + votes.tie
        columns |= {"votes": votes, "n_judges": n, "agreement": votes.chosen / n, "dominance": "votes"}
        columns |= {"position_consistent": found.consistent}
        if n > 1:
            columns["pref_prob"] = (votes.chosen + votes.tie / 2 + 0.5) / (n + 1)
            columns |= label_columns(columns["pref_prob"])
    if found.decided:
        columns |= {"dominance": "checker"} | label_columns(TOOL_LABEL)
    return columns
