"""The jury of one prompt: each judge's calibrated log-odds of every pair, and what the jury makes of them. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stages.judges.calibration_file import Calibration
from stages.judges.evidence import Evidence, Judge
from stages.judges.jury import Opinion, hard_jury, soft_jury
from stages.judges.length import length_controlled, length_term
from stages.judges.swap import Floats, logit

UNCALIBRATED = {"pairwise": 1.0, "score": 0.25, "rm": 1.0}  # temperatures: a whole scale apart is worth 4 logits


class Rules(NamedTuple):
    """How a jury is made of judges. both_orders: a pair seen in one order counts for nothing (spec judges C0.2).

    cascade: jobs, the cheapest first; of those that were asked about a pair only the last is heard.
    """

    calibration: Calibration | None = None
    both_orders: bool = True
    quorum: float = 0.5
    domain: str | None = None
    cascade: tuple[str, ...] = ()


class Panel(NamedTuple):
    """Judges as members of a jury. Arrays [judges, pairs], NaN without an answer; weights [judges].

    deltas: calibrated log-odds of i over j; raw: the same before calibration; hard: verdicts without probabilities;
    votes in [−1, 1]; consistent: whether both orders are on one side (NaN where there were not two). calibrated: whether
    deltas are log-odds by measurement, and not only numbers that put the pairs in an order.
    """

    judges: tuple[Judge, ...]
    deltas: Floats
    raw: Floats
    asked: Floats
    hard: Floats
    votes: Floats
    consistent: Floats
    weights: Floats
    calibrated: bool


def raw_log_odds(evidence: Evidence, two_orders: NDArray[np.bool_], bias: Floats) -> tuple[Floats, Floats]:
    """(δ or value difference, position bias) of each judge and pair before calibration.

    two_orders: [judges], who needs both orders; bias: [judges], in logits, taken off what was seen in one order only.
    """
    ab, ba = logit(evidence.ab), logit(evidence.ba)
    seen = (ab + ba) / 2  # `debias`, where both are P(i better) and not P(first shown wins)
    if not two_orders.all():
        one = np.where(np.isnan(ab), ba + bias[:, None], ab - bias[:, None])
        seen = np.where(np.isnan(seen) & ~two_orders[:, None], one, seen)
    return np.where(np.isnan(evidence.gap), seen, evidence.gap), (ab - ba) / 2


def seat(evidence: Evidence, lengths: Floats, rules: Rules) -> Panel:
    """The panel. lengths: [pairs], characters of i − characters of j. Raises PlanError for a judge not calibrated.

    All reward models together weigh as much as one judge (spec judges J6).
    """
    judges, file = evidence.judges, rules.calibration
    if file is None:
        need_two, bias = np.full(len(judges), rules.both_orders), np.zeros(len(judges))
        heat, weights = [UNCALIBRATED[judge.kind] for judge in judges], np.ones(len(judges))
    else:
        known = file.of(judges)
        need_two = np.array([rules.both_orders and k.both_orders for k in known], dtype=bool)
        bias = np.array([k.position_bias or 0.0 for k in known])
        heat, weights = [k.temperature or 1.0 for k in known], np.array([k.weight_in(rules.domain) for k in known])
    raw, leaning = raw_log_odds(evidence, need_two, bias)
    deltas = raw / np.array(heat).reshape(-1, 1)
    if file is not None:
        effects = np.array([k.excess_length(file.gold.length_slope) for k in known]).reshape(-1, 1)
        deltas = length_controlled(deltas, effects, length_term(lengths, file.gold.length_std))
    rewards = np.array([judge.kind == "rm" for judge in judges], dtype=bool)
    weights = weights / np.where(rewards, max(1, int((rewards & (weights > 0)).sum())), 1)
    panel = Panel(
        judges, deltas, raw, evidence.asked, evidence.hard, *_votes(evidence, raw, leaning), weights, file is not None
    )  # fmt: skip
    return last_asked(panel, rules.cascade) if rules.cascade else panel


def last_asked(panel: Panel, cascade: Sequence[str]) -> Panel:
    """The panel without what judges of `cascade` (jobs, the cheapest first) said of pairs that went on to a later one.

    Who was asked last decides, also by giving no answer: what was in doubt before stays undecided then.
    """
    place = np.array([cascade.index(j.job) if j.job in cascade else -1 for j in panel.judges]).reshape(-1, 1)
    last = np.where(panel.asked > 0, place, -1).max(axis=0, initial=-1)
    over = (place >= 0) & (place < last)
    deltas, raw, votes, consistent = (
        np.where(over, np.nan, told) for told in (panel.deltas, panel.raw, panel.votes, panel.consistent)
    )
    asked, hard = (np.where(over, 0.0, told) for told in (panel.asked, panel.hard))
    return Panel(panel.judges, deltas, raw, asked, hard, votes, consistent, panel.weights, panel.calibrated)


def _votes(evidence: Evidence, raw: Floats, leaning: Floats) -> tuple[Floats, Floats]:
    """(votes, consistent): the mean side of the orders, and whether there were two on the same side."""
    ab, ba = np.sign(evidence.ab - 0.5), np.sign(evidence.ba - 0.5)
    one = np.where(np.isnan(ab), ba, ab)
    both = np.where(np.isnan(leaning), one, (ab + ba) / 2)
    votes = np.where(np.isnan(both), np.sign(raw), both)
    return np.where(np.isnan(raw), np.nan, votes), np.where(np.isnan(leaning), np.nan, ab * ba > 0)


def deliberate(panel: Panel, rules: Rules, members: NDArray[np.bool_] | None = None) -> tuple[Opinion, Floats]:
    """(opinion, log-odds of each pair) of the panel, or of some `members` of it.

    The log-odds are the opinion's own; where only verdicts without probabilities were given they are those of weighted
    votes, discounted for the correlation of the judges' errors (spec judges C3).
    """
    chosen = slice(None) if members is None else members
    deltas, weights, hard, votes, asked = (
        array[chosen] for array in (panel.deltas, panel.weights, panel.hard, panel.votes, panel.asked)
    )
    opinion = soft_jury(deltas, weights, asked, rules.quorum)
    if not hard.any():
        return opinion, opinion.log_odds
    heard = ~np.isnan(deltas) & (weights[:, None] > 0)
    only_votes = (hard.astype(bool) | ~heard).all(axis=0)
    correlation = rules.calibration.error_correlation if rules.calibration is not None else 0.0
    counted = hard_jury(np.where(heard, votes, np.nan), weights, correlation)
    return opinion, np.where(only_votes & ~np.isnan(opinion.log_odds), counted, opinion.log_odds)
