"""What checks and judges say of a label that was given before they were asked. Pure.

A check that decides both answers is believed before any judge; a judge that failed to answer says nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from msgspec import Struct

from pipeline.errors import Rejected
from pipeline.pair import Votes
from pipeline.records import Judgment
from stages.judges.scores import CandidateScore
from stages.pairs.build import TIE
from stages.pairs.constructions import Confirm


class Evidence(Struct, frozen=True):
    """outcomes: what checks found of (chosen, rejected). votes: one of each judge that scored or compared the two.

    consistent: whether every judge that compared them said the same in both orders; None when none did.
    """

    outcomes: tuple[bool | None, bool | None]
    votes: Votes
    consistent: bool | None = None

    @property
    def share(self) -> float | None:
        """Share of the judges' votes for the chosen arm, ties half; None without a vote."""
        n = self.votes.chosen + self.votes.rejected + self.votes.tie
        return (self.votes.chosen + self.votes.tie / 2) / n if n else None

    @property
    def decided(self) -> bool:
        """Whether checks found the chosen arm right and the rejected one wrong."""
        return self.outcomes == (True, False)


def evidence(
    chosen: str, rejected: str, scores: Mapping[str, CandidateScore], judgments: Sequence[Judgment], min_margin: float
) -> Evidence:
    """What is known of two candidates. min_margin: least gap of a judge's mean score, on [0, 1], that is no tie."""
    one, other = scores.get(chosen), scores.get(rejected)
    gaps = _score_gaps(one, other) if one and other else []
    votes = [0 if abs(gap) < max(min_margin - TIE, TIE) else 1 if gap > 0 else -1 for gap in gaps]
    compared = _comparisons(chosen, rejected, judgments)
    votes += [vote for vote in compared if vote is not None]
    invalid = compared.count(None) + sum(score.n_failed for score in (one, other) if score)
    counted = Votes(votes.count(1), votes.count(-1), votes.count(0), invalid)
    consistent = all(vote in (1, -1) for vote in compared) if compared else None
    return Evidence((one.outcome if one else None, other.outcome if other else None), counted, consistent)


def _score_gaps(chosen: CandidateScore, rejected: CandidateScore) -> list[float]:
    """Chosen less rejected, for each judge that scored both on the same aspects."""
    tables = [{(s.job, s.judge, s.aspect): s.normalized for s in arm.scores} for arm in (chosen, rejected)]
    both: dict[tuple[str, str], list[float]] = {}
    for source in tables[0].keys() & tables[1].keys():
        both.setdefault(source[:2], []).append(tables[0][source] - tables[1][source])
    return [math.fsum(gaps) / len(gaps) for gaps in both.values()]


def _comparisons(chosen: str, rejected: str, judgments: Sequence[Judgment]) -> list[int | None]:
    """The vote of each judge that compared the two: 1, -1, 0 where its orders disagree, None where one is missing."""
    asked: dict[tuple[str, str, str | None], tuple[list[float], list[float]]] = {}
    for judgment in judgments:
        if judgment.mode == "pairwise" and set(judgment.cand_ids) == {chosen, rejected}:
            orders = asked.setdefault((judgment.job, judgment.judge_id, judgment.aspect), ([], []))
            if judgment.value is not None:
                value = judgment.value if judgment.cand_ids[0] == chosen else 1 - judgment.value
                orders[judgment.order or 0].append(value)
    return [_both_orders(*orders) for orders in asked.values()]


def _both_orders(first: Sequence[float], second: Sequence[float]) -> int | None:
    if not first or not second:
        return None
    sides = [math.fsum(values) / len(values) - 0.5 for values in (first, second)]
    return 1 if min(sides) > TIE else -1 if max(sides) < -TIE else 0


def check_confirmed(found: Evidence, confirm: Confirm, min_confirm: float) -> None:
    """Raises Rejected for a label that does not stand: chosen_wrong, rejected_right, same_outcome, contradicted, tie,
    unconfirmed.

    min_confirm: least share of the judges' votes. Where checks call both right, judges have to tell them apart.
    """
    if confirm == "off" or found.decided:
        return
    if found.outcomes[0] is False:
        raise Rejected("chosen_wrong", "a check found the arm to be chosen wrong")
    if found.outcomes == (None, True):
        raise Rejected("rejected_right", "a check found the arm to be rejected right, and nothing about the other")
    alike, votes = found.outcomes == (True, True), found.votes
    if found.share is None:
        if alike:
            raise Rejected("same_outcome", "a check found both arms right, and no judge tells them apart")
        if confirm == "required":
            raise Rejected("unconfirmed", "no judge and no check says anything about it")
    elif votes.chosen == votes.rejected:
        if alike or confirm == "required":
            raise Rejected("tie", "the judges call it a tie")
    elif found.share < min_confirm:
        told = f"{votes.chosen} for it, {votes.rejected} against, {votes.tie} ties"
        raise Rejected("contradicted" if found.share < 0.5 else "unconfirmed", f"votes of judges: {told}")
