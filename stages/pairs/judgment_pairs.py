"""Which of a judge's judgments of the same input are better than which, by a known score (Self-Rationalization; spec
judges 2, C4). Pure."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from typing import Literal

from msgspec import Struct

from pipeline import ids
from pipeline.pair import Pair
from pipeline.records import Judgment

Gold = Literal["outcome", "scores", "pairs", "majority"]
SINGLE = ("aspect", "rubric", "criterion")  # modes in which a row is one call about one candidate
_KNOWN = ("given", "human", "votes")  # label sources of pairs that count as given


class Known(Struct, frozen=True):
    """What is known of an input, on the judge's scale: the right score, and which share of votes says so.

    middle: where no more is known than that the score lies below it. A check that finds an answer wrong does not say how
    wrong: 1 of 5 is no better a judgment than 2.
    """

    score: float
    agreement: float | None = None
    middle: float | None = None


def same_input(judgments: Sequence[Judgment]) -> list[list[Judgment]]:
    """Judgments that answer the very same prompt by the same judge, in order.

    Only rows that hold their prompt and were decided by what the judge wrote: where label probabilities decided, the
    text may say another score.
    """
    groups: dict[Hashable, list[Judgment]] = {}
    for j in judgments:
        single = j.mode in SINGLE and len(j.cand_ids) == 1
        if not j.messages or j.raw_text is None or j.label_probs or not (single or j.mode == "pairwise"):
            continue
        groups.setdefault((j.job, j.judge_id, j.mode, j.cand_ids, j.order, j.aspect, j.messages), []).append(j)
    return list(groups.values())


def distinct(group: Sequence[Judgment]) -> list[Judgment]:
    """The first of each text. What most judgments say is asked of all of them: they agree by saying the same."""
    return list({j.raw_text: j for j in reversed(group)}.values())[::-1]


class Evidence:
    """What a prompt's rows say about its candidates apart from the judge: outcomes, given scores, given pairs."""

    def __init__(self, judgments: Sequence[Judgment], pairs: Sequence[Pair]) -> None:
        outcomes: dict[str, set[bool]] = {}
        self._scores: dict[str, float] = {}  # on [0, 1]
        for j in judgments:
            if j.value is None or j.status != "ok" or len(j.cand_ids) != 1:
                continue
            if j.mode == "tool":
                outcomes.setdefault(j.cand_ids[0], set()).add(j.value >= 0.5)
            elif j.judge_id == "given" and j.scale_max > j.scale_min:
                self._scores[j.cand_ids[0]] = (j.value - j.scale_min) / (j.scale_max - j.scale_min)
        self._outcomes = {who: float(found.pop()) for who, found in outcomes.items() if len(found) == 1}
        self._better: set[tuple[str, ...]] = {
            (p.chosen_gen.candidate_id, p.rejected_gen.candidate_id)
            for p in pairs
            if p.label_source in _KNOWN and p.chosen_gen and p.rejected_gen
        }

    def gold(self, group: Sequence[Judgment], source: Gold, min_agreement: float) -> Known | None:
        """The right score of an input; None where it is not known, or no score of the scale is nearest.

        Which criteria of a checklist an answer meets follows neither from its being right nor from a score of all of it:
        a right one has no false equation, and may be as long as a wrong one.
        """
        if source == "majority":
            return majority([j.value for j in group], min_agreement)
        known: Mapping[str, float] = self._outcomes if source == "outcome" else self._scores
        one, who = group[0], group[0].cand_ids
        if one.mode != "pairwise":
            if source == "pairs" or one.mode == "criterion" or who[0] not in known:
                return None
            if source == "outcome" and not known[who[0]]:
                return Known(one.scale_min, middle=(one.scale_min + one.scale_max) / 2)
            return _level(one, known[who[0]])
        if source == "pairs":
            better, worse = who in self._better, who[::-1] in self._better
            return Known(float(better)) if better != worse else None
        if who[0] not in known or who[1] not in known or known[who[0]] == known[who[1]]:
            return None
        return Known(float(known[who[0]] > known[who[1]]))


def _level(judgment: Judgment, share: float) -> Known | None:
    """The score of the judge's scale nearest to `share` of it; None half-way between two."""
    exact = judgment.scale_min + share * (judgment.scale_max - judgment.scale_min)
    near = math.floor(exact + 0.5)
    return None if abs(abs(exact - near) - 0.5) < 1e-9 else Known(float(near))


def majority(values: Sequence[float | None], min_agreement: float) -> Known | None:
    """The most frequent value, where its share of the known ones is large enough and no other is as frequent."""
    counts = Counter([v for v in values if v is not None]).most_common(2)
    if not counts or (len(counts) == 2 and counts[0][1] == counts[1][1]):
        return None
    share = counts[0][1] / sum(v is not None for v in values)
    return Known(counts[0][0], share) if share >= min_agreement else None


def judgment_pairs(
    values: Sequence[float | None], gold: float, min_gap: float, middle: float | None = None
) -> list[tuple[int, int]]:
    """All (chosen, rejected) numbers: a value that is the gold one, over a value off by at least `min_gap`; with `middle`
    a value below it over one above it, so far apart.

    None is never a member (spec C0.1).
    """
    known = [(n, value) for n, value in enumerate(values) if value is not None]
    right = [(n, value) for n, value in known if is_right(value, gold, middle)]
    wrong = [(n, value) for n, value in known if middle is None or value > middle]
    return [(c, r) for c, good in right for r, bad in wrong if abs(bad - good) >= max(min_gap, 1e-9)]


def is_right(value: float, gold: float, middle: float | None) -> bool:
    """Whether a judgment says what is known."""
    return value == gold if middle is None else value < middle


def capped(pairs: Sequence[tuple[int, int]], gaps: Sequence[float], cap: int, key: str) -> list[tuple[int, int]]:
    """At most `cap` of the pairs: those whose members were used least, then the widest gap, then by lot of `key`."""
    used: Counter[int] = Counter()
    left = dict(zip(pairs, gaps, strict=True))
    taken: list[tuple[int, int]] = []
    while left and len(taken) < cap:
        one = min(left, key=lambda p: (used[p[0]] + used[p[1]], -left[p], ids.seed("judgment_pairs", key, *p)))
        taken.append(one)
        used.update(one)
        del left[one]
    return taken
