"""Priors of the children of one expansion (spec mcts R2). Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence

from stages.search.rules import SearchRules
from stages.search.tickets import Child


def priors(children: Sequence[Child], rules: SearchRules) -> list[float]:
    """One prior for each child. `logp_len` is not normalised (MCTS-DPO; penalty 1 is AlphaMath's exp of the mean).

    Uniform where a log-probability is missing, so that siblings stay comparable.
    """
    if rules.prior == "empirical":
        total = sum(child.multiplicity for child in children)
        return [child.multiplicity / total for child in children]
    sums = [child.logprob_sum for child in children if child.logprob_sum is not None]
    if rules.prior == "uniform" or len(sums) < len(children):
        return [1.0 / len(children)] * len(children)
    lengths = [max(1, len(child.token_ids)) for child in children]
    if rules.prior == "logp_len":
        return [math.exp(s / length**rules.length_penalty) for s, length in zip(sums, lengths, strict=True)]
    scaled = [s / length / rules.prior_temperature for s, length in zip(sums, lengths, strict=True)]
    top = max(scaled)
    weights = [math.exp(s - top) for s in scaled]
    return [weight / sum(weights) for weight in weights]
