"""From candidates and what judges said about them to a pool that can be ranked. Pure.

The score of a candidate is on [0, 1]. One judge: the weighted mean of its aspects. Several judges: each is standardised
over the pool before the mean, so that a judge that uses a narrow part of its scale counts as much as a bold one (spec
pairs 17.2). Where outcomes are known and `outcome` is not `ignore`, a right answer gets 0.55 + 0.45·score and a wrong
one 0.45·score: right beats wrong whatever the judges say. Nothing is invented for what is missing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal

from msgspec import Struct

from pipeline.records import Candidate
from stages.judges.scores import AspectScore, CandidateScore
from stages.pairs.gate import FINISHED
from stages.pairs.select import mean_std

OutcomeRule = Literal["first", "only", "ignore"]
Combine = Literal["auto", "mean", "z", "rank"]


class Entry(Struct, frozen=True):
    """A candidate that may be paired. `by_judge`: the mean normalized score each judge gave."""

    candidate: Candidate
    score: float
    outcome: bool | None
    detail: CandidateScore
    by_judge: Mapping[str, float]


class Rules(Struct, frozen=True):
    """How scores become one number; `weights`: aspect -> weight."""

    outcome: OutcomeRule = "first"
    combine: Combine = "auto"
    weights: Mapping[str, float] = {}


def usable(
    candidates: Sequence[Candidate], scores: Mapping[str, CandidateScore], rules: Rules
) -> tuple[list[Entry], dict[str, int]]:
    """Entries with their scores, and how many candidates were left out for which reason.

    Reasons: canary, empty, truncated (ended otherwise than by itself), no_score (no judge answered), unknown_outcome.
    """
    dropped: dict[str, int] = {}
    found: list[tuple[Candidate, CandidateScore]] = []
    for candidate in candidates:
        detail = scores.get(candidate.candidate_id)
        if reason := _unusable(candidate, detail, rules):
            dropped[reason] = dropped.get(reason, 0) + 1
        elif detail is not None:
            found.append((candidate, detail))
    if rules.outcome != "ignore":
        known = [item for item in found if item[1].outcome is not None]
        if known or rules.outcome == "only":
            _count(dropped, "unknown_outcome", len(found) - len(known))
            found = known
    judged = [item for item in found if item[1].value is not None]
    if judged:  # a failed judge call says nothing about the answer: it is neither best nor worst
        _count(dropped, "no_score", len(found) - len(judged))
        found = judged
    return _score(found, rules), dropped


def _unusable(candidate: Candidate, detail: CandidateScore | None, rules: Rules) -> str | None:
    if candidate.policy_relation == "canary":
        return "canary"
    if not candidate.text.strip():
        return "empty"
    if candidate.finish_reason not in FINISHED:
        return "truncated"
    if detail is None or (detail.value is None and rules.outcome == "ignore"):
        return "no_score"
    if detail.value is None and detail.outcome is None:
        return "no_score" if detail.n_failed else "unknown_outcome"
    return None


def _count(dropped: dict[str, int], reason: str, n: int) -> None:
    if n:
        dropped[reason] = dropped.get(reason, 0) + n


def _score(found: Sequence[tuple[Candidate, CandidateScore]], rules: Rules) -> list[Entry]:
    judges = [_by_judge(detail.scores, rules.weights) for _, detail in found]
    values = _combined([detail.value for _, detail in found], judges, rules.combine)
    return [
        Entry(candidate, _with_outcome(value, detail.outcome, rules.outcome), detail.outcome, detail, by_judge)
        for (candidate, detail), value, by_judge in zip(found, values, judges, strict=True)
    ]


def _with_outcome(value: float | None, outcome: bool | None, rule: OutcomeRule) -> float:
    if rule == "ignore" or outcome is None:
        return 0.0 if value is None else value  # None cannot occur here: such candidates are no_score
    if value is None:
        return 1.0 if outcome else 0.0
    return 0.55 + 0.45 * value if outcome else 0.45 * value


def absolute_scores(chosen: Entry, rejected: Entry, rules: Rules) -> tuple[float, float] | None:
    """Both scores where they say how good each answer is; where they only tell the better one of the pool (rewards,
    `combine: rank`), what a check decided; None without."""
    ranked = rules.combine == "rank" and (chosen.by_judge or rejected.by_judge)
    if chosen.detail.absolute and rejected.detail.absolute and not ranked:
        return chosen.score, rejected.score
    decided = rules.outcome != "ignore" and chosen.outcome is True and rejected.outcome is False
    return (1.0, 0.0) if decided else None


def rated(chosen: CandidateScore | None, rejected: CandidateScore | None) -> tuple[float, float] | None:
    """The scores that two answers have by themselves, as in a pool: ratings, and what checks found of either; None where
    one is not rated and no check tells both. A check that can only refute (recomputing) says nothing of the other."""
    if chosen is None or rejected is None:
        return None
    values = [score.value if score.absolute else None for score in (chosen, rejected)]
    if None in values:
        values = [None, None]
        if chosen.outcome is None or rejected.outcome is None:
            return None
    found = [_with_outcome(v, s.outcome, "first") for v, s in zip(values, (chosen, rejected), strict=True)]
    return found[0], found[1]


def _by_judge(scores: Sequence[AspectScore], weights: Mapping[str, float]) -> dict[str, float]:
    sums: dict[str, tuple[float, float]] = {}
    for score in scores:
        weight = weights.get(score.aspect or "", 1.0) if weights else 1.0
        total, mass = sums.get(score.judge, (0.0, 0.0))
        sums[score.judge] = (total + weight * score.normalized, mass + weight)
    return {judge: total / mass for judge, (total, mass) in sums.items() if mass > 0}


def _combined(
    values: Sequence[float | None], judges: Sequence[Mapping[str, float]], combine: Combine
) -> Sequence[float | None]:
    """One score on [0, 1] per candidate. `z` maps the mean z-score back with the judges' mean level and spread."""
    names = {name for by_judge in judges for name in by_judge}
    if combine == "mean" or not names or (combine == "auto" and len(names) == 1):
        return values
    tables = {name: {i: j[name] for i, j in enumerate(judges) if name in j} for name in sorted(names)}
    if combine == "rank":
        places = [_places(table) for table in tables.values()]
        return [_mean([p[i] for p in places if i in p]) for i in range(len(values))]
    moments = [mean_std(list(table.values())) for table in tables.values()]
    level, spread = (math.fsum(m[k] for m in moments) / len(moments) for k in (0, 1))
    zs = [
        _mean(
            [
                (t[i] - mu) / sd if sd > 0 else 0.0
                for t, (mu, sd) in zip(tables.values(), moments, strict=True)
                if i in t
            ]
        )
        for i in range(len(values))
    ]
    return _into_unit_interval(zs, level, spread)


def _into_unit_interval(zs: Sequence[float | None], level: float, spread: float) -> list[float | None]:
    """level + spread·z, the spread shrunk where that would leave [0, 1]; the order is kept."""
    known = [z for z in zs if z is not None]
    low, high = min(known, default=0.0), max(known, default=0.0)
    if high > 0:
        spread = min(spread, (1 - level) / high)
    if low < 0:
        spread = min(spread, level / -low)
    return [None if z is None else level + spread * z for z in zs]


def _places(table: Mapping[int, float]) -> dict[int, float]:
    """Share of the others that are beaten, ties half: 1 for the best, 0 for the worst."""
    others = max(1, len(table) - 1)
    return {
        i: (sum(w < v for w in table.values()) + 0.5 * (sum(w == v for w in table.values()) - 1)) / others
        for i, v in table.items()
    }


def _mean(values: Sequence[float]) -> float | None:
    return math.fsum(values) / len(values) if values else None
