"""What log-probabilities say about answers and pairs (spec judges §9, §15, C4). Pure; everything in nats."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

ALPHA_CLIP = 0.001  # a certain label is worth ±6.9 logits, not infinity


def expit(x: float) -> float:
    """σ(x) = 1 / (1 + e^(-x)), for any x."""
    return 1.0 / (1.0 + math.exp(-x)) if x >= 0 else math.exp(x) / (1.0 + math.exp(x))


def neg_log_sigmoid(z: float) -> float:
    """-log σ(z), the loss of a preference with z logits, for any z."""
    return max(-z, 0.0) + math.log1p(math.exp(-abs(z)))


def follow_up_reward(positive: Sequence[Sequence[float]], negative: Sequence[Sequence[float]]) -> float:
    """FLR of an answer: mean over satisfied follow-ups of the mean log-probability of their tokens, minus the same over
    dissatisfied ones (§9). Raises ValueError without either, or for one without tokens."""
    if not positive or not negative or not all([*positive, *negative]):
        raise ValueError("the follow-up likelihood needs follow-ups of both kinds, each with tokens")
    return _mean([_mean(tokens) for tokens in positive]) - _mean([_mean(tokens) for tokens in negative])


def implicit_reward(logp_policy: float, logp_reference: float, beta: float) -> float:
    """β·log(πθ/πref) of an answer: the reward that a policy trained by DPO has learned, up to a term of the prompt."""
    return beta * (logp_policy - logp_reference)


class PairDifficulty(NamedTuple):
    """How hard a pair is for DPO from a reference model (§15).

    ref_logratio: c = log πref(rejected) - log πref(chosen), sums over response tokens. threshold: the loss below which
    the pair is ranked right, -log σ(β·c). ref_correct: the reference ranks it right. ideal_rank_ok: even the ideal
    policy for a label that holds with the given probability does; None where that is not known.
    """

    ref_logratio: float
    threshold: float
    ref_correct: bool
    ideal_rank_ok: bool | None


def difficulty(logp_chosen: float, logp_rejected: float, beta: float, p_label: float | None = None) -> PairDifficulty:
    """The difficulty of a pair from the reference model's log-probabilities of its arms."""
    c = logp_rejected - logp_chosen
    ideal = None if p_label is None else ideal_logratio(c, beta, p_label) > 0
    return PairDifficulty(c, neg_log_sigmoid(beta * c), c < 0, ideal)


def ideal_logratio(c: float, beta: float, p_label: float) -> float:
    """log π*(chosen)/π*(rejected) of the policy that fits a label of probability `p_label`: -c + logit(p)/β."""
    p = min(max(p_label, ALPHA_CLIP), 1 - ALPHA_CLIP)
    return -c + math.log(p / (1 - p)) / beta


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def category_mean(values: Mapping[str, float | None]) -> float | None:
    """Mean of the categories that have a value; None where fewer than half have."""
    known = [value for value in values.values() if value is not None]
    return _mean(known) if known and 2 * len(known) >= len(values) else None
