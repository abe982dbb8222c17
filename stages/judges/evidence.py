"""From the raw judgments of one prompt to arrays over judges and pairs of candidates. Pure.

A judge is one job with one model: `job:judge_id`. Three kinds speak: `pairwise` (P(a better) in each order), `score` (a
score per candidate on [0, 1], the mean of its aspects) and `rm` (a reward per candidate). Judgments of mode `tool` are no
opinions but outcomes, and are kept apart.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from pipeline.records import Candidate, Judgment
from stages.judges.families import own_family
from stages.judges.scores import SIGNALS, candidate_scores
from stages.judges.swap import Floats, laplace

NO_OPINION = SIGNALS | {"tool"}  # outcomes, what is measured rather than judged, and what authors wrote or were told
HARD = frozenset({0.0, 0.5, 1.0})  # verdicts without probabilities

Pairs = Mapping[
    tuple[str, ...], tuple[int, int]
]  # two candidates -> column, and 1 where they stand the other way there


class Judge(NamedTuple):
    """Who speaks. `kind`: pairwise, score or rm; `template_hash` None where there was no template."""

    name: str
    kind: str
    job: str
    judge_id: str
    template_hash: str | None

    def among(self, names: Collection[str]) -> bool:
        """Whether `names` names it: by its job, or as `job:judge_id`."""
        return self.job in names or self.name in names


class Evidence(NamedTuple):
    """What judges said about the pairs (i, j), i < j, of the candidates. Arrays [judges, pairs]; NaN: nothing.

    ab, ba: P(i better) with i shown first and with j shown first (kind pairwise). gap: value of i − value of j (score,
    rm). asked: who was to answer. hard: verdicts without probabilities.
    """

    judges: tuple[Judge, ...]
    ab: Floats
    ba: Floats
    gap: Floats
    asked: Floats
    hard: Floats


def outcomes(judgments: Sequence[Judgment]) -> dict[str, bool]:
    """What deterministic checks found of each candidate; none where they did not decide or contradict each other."""
    found = candidate_scores([j for j in judgments if j.mode == "tool"])
    return {candidate: score.outcome for candidate, score in found.items() if score.outcome is not None}


def judge_name(judgment: Judgment) -> str:
    """The name under which a calibration knows who judged."""
    return f"{judgment.job}:{judgment.judge_id}"


def gather(candidates: Sequence[Candidate], judgments: Sequence[Judgment], own_too: bool = False) -> Evidence:
    """The evidence about `candidates`, judges in the order of their names.

    A judge says nothing about candidates of its own model family where rivals of others stand beside them, unless
    `own_too`. Judgments of unknown candidates are left out.
    """
    rows: dict[str, list[Judgment]] = {}
    for judgment in judgments:
        if judgment.mode not in NO_OPINION:
            rows.setdefault(judge_name(judgment), []).append(judgment)
    names = [candidate.candidate_id for candidate in candidates]
    n = len(names)
    shape = (len(rows), n * (n - 1) // 2)
    ab, ba, gap = (np.full(shape, math.nan) for _ in range(3))
    speakers = tuple([_judge(name, rows[name]) for name in sorted(rows)])
    found = Evidence(speakers, ab, ba, gap, np.zeros(shape), np.zeros(shape))
    pairs: dict[tuple[str, ...], tuple[int, int]] = {
        (names[i], names[j]): (column(i, j, n), 0) for i in range(n) for j in range(i + 1, n)
    }
    pairs |= {(b, a): (place, 1) for (a, b), (place, _) in pairs.items()}
    for at, judge in enumerate(found.judges):
        mine = rows[judge.name]
        family = None if own_too else mine[0].judge_family
        if family and (own := own_family(candidates, family)):
            mine = [row for row in mine if own.isdisjoint(row.cand_ids)]
        fill = _fill_pairwise if judge.kind == "pairwise" else _fill_scores
        fill(found, at, mine, pairs)
    return found


def _judge(name: str, rows: Sequence[Judgment]) -> Judge:
    first = rows[0]
    pairwise = len(first.cand_ids) == 2
    kind = "pairwise" if pairwise else "rm" if first.mode == "rm" else "score"
    return Judge(name, kind, first.job, first.judge_id, first.template_hash)


def column(i: int, j: int, n: int) -> int:
    """Where the pair (i, j), i < j, of n candidates stands in the arrays."""
    return i * (2 * n - i - 1) // 2 + j - i - 1


def _fill_pairwise(found: Evidence, at: int, rows: Sequence[Judgment], pairs: Pairs) -> None:
    tallies: dict[tuple[int, int], list[float]] = {}  # (column, order) -> sum of values, number, number of hard ones
    for row in rows:
        seat = pairs.get(row.cand_ids)
        if seat is None or row.order is None or row.status == "na":
            continue
        place, turned = seat
        tally = tallies.setdefault((place, row.order ^ turned), [0.0, 0, 0])
        value = row.value
        if value is not None and row.status == "ok":
            tally[0] += 1 - value if turned else value
            tally[1] += 1
            tally[2] += row.logprob_source == "none" and value in HARD
    for (place, order), (total, count, hard) in tallies.items():
        found.asked[at, place] = 1.0
        if count:
            is_hard = hard == count
            (found.ba if order else found.ab)[at, place] = laplace(total, int(count)) if is_hard else total / count
            found.hard[at, place] = is_hard


def _fill_scores(found: Evidence, at: int, rows: Sequence[Judgment], pairs: Pairs) -> None:
    asked = {c for row in rows if row.status != "na" for c in row.cand_ids}
    values: dict[str, float] = {}
    for candidate, score in candidate_scores(rows).items():
        value = score.scores[0].raw if found.judges[at].kind == "rm" and score.scores else score.value
        if value is not None:
            values[candidate] = value
    for (a, b), (place, turned) in pairs.items():
        if not turned and a in asked and b in asked:
            found.asked[at, place] = 1.0
            if a in values and b in values:
                found.gap[at, place] = values[a] - values[b]
