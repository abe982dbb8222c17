"""Many judges of one pair: weighted log-odds, agreement and spread (spec judges C3). Pure, vectorised over pairs.

Arrays are [judges, pairs]; NaN is a judge that did not answer, and costs nothing but its weight. The soft jury is a mean,
not a sum: judges make the same mistakes, so that agreement of many must not look surer than the surest of them.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from stages.judges.swap import Floats, logit


class Opinion(NamedTuple):
    """What a jury thinks of each pair. Arrays over pairs, NaN where it has no quorum.

    log_odds: of a over b; std: weighted population deviation of the judges' log-odds (MOSS μ̂ and σ̂ when weights are
    equal); agreement: share of the weight on the side of the jury; n: judges that answered.
    """

    log_odds: Floats
    std: Floats
    agreement: Floats
    n: Floats


def accuracy_weight(accuracy: float) -> float:
    """max(0, logit): a judge no better than chance is not heard, and never heard in reverse."""
    return max(0.0, float(logit(accuracy)))


def soft_jury(deltas: Floats, weights: Floats, asked: Floats | None = None, quorum: float = 0.5) -> Opinion:
    """Weighted mean of the judges' log-odds.

    weights: [judges], not negative. asked: [judges, pairs] of 0 and 1, who was to answer (default: everybody). Without
    `quorum` of the asked weight, or without any weight, a pair has no opinion.
    """
    answered = ~np.isnan(deltas)
    weight = np.where(answered, weights[:, None], 0.0)
    total = weight.sum(axis=0)
    wanted = (weights[:, None] * (np.ones_like(deltas) if asked is None else asked)).sum(axis=0)
    heard = (total > 0) & (total >= quorum * wanted * (1 - 1e-12))
    shared = np.divide(weight, total, out=np.zeros_like(weight), where=total > 0)
    values = np.where(answered, deltas, 0.0)
    mean = np.where(heard, (shared * values).sum(axis=0), np.nan)
    spread = np.sqrt((shared * np.where(answered, values - mean, 0.0) ** 2).sum(axis=0))
    same_side = (np.sign(values) == np.sign(mean)) & answered
    agreement = (shared * same_side).sum(axis=0)
    return Opinion(mean, spread, np.where(heard, agreement, np.nan), (answered & (weight > 0)).sum(axis=0))


def hard_jury(votes: Floats, weights: Floats, correlation: float = 0.0) -> Floats:
    """Log-odds of votes in [−1, 1] under naive Bayes, Σ w·vote, divided by 1 + (n − 1)·ρ for correlated errors.

    weights: log-odds of the judges' accuracies; n: judges of some weight that voted. NaN where nobody did.
    """
    counts = (~np.isnan(votes) & (weights[:, None] > 0)).sum(axis=0)
    total = (np.nan_to_num(votes) * weights[:, None]).sum(axis=0)
    return np.where(counts > 0, total / (1 + np.maximum(counts - 1, 0) * max(correlation, 0.0)), np.nan)


def effective_judges(n: int, correlation: float) -> float:
    """How many independent judges n are worth whose errors correlate by ρ: n / (1 + (n − 1)·ρ)."""
    return n / (1 + (n - 1) * correlation)
