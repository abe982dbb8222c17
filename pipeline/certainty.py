"""How sure a distribution over tokens is (self-certainty, spec judges §16). Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence

TOP = 20  # log-probabilities that engines give of each position, vLLM's own limit


def certainty(logps: Sequence[float], vocabulary: int) -> float:
    """KL(p ‖ uniform) in nats, from the natural log-probabilities of some of the `vocabulary` tokens.

    What the others have is spread evenly over them, which gives a lower bound: exact where all tokens are given.
    Between 0 (all tokens alike) and log(vocabulary) (no doubt). A sure model is not a right one: a tie-breaker, no label.
    """
    known = math.fsum(math.exp(p) * (p + math.log(vocabulary)) for p in logps if p > -math.inf)
    left, others = 1.0 - math.fsum(map(math.exp, logps)), vocabulary - len(logps)
    return known + left * math.log(left * vocabulary / others) if left > 0 and others > 0 else known
