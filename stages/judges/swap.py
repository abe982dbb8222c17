"""One pair judged in both orders: the preference without the judge's position bias (spec judges B1). Pure, vectorised.

The model is logit P(first shown wins) = δ + b: δ is the preference, b the bias towards what is shown first. Two orders
determine both, whatever b is. A probability given as P(a wins) in either order gives the same δ as the mean of its logits.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
CLIP = 1e-4  # a certain answer is worth ±9.2 logits, not infinity


def logit(p: ArrayLike, clip: float = CLIP) -> Floats:
    """Log-odds of probabilities, which are clipped to [clip, 1 − clip]; NaN stays NaN. logit(1 − p) = −logit(p)."""
    found = np.minimum(np.maximum(np.asarray(p, dtype=np.float64), clip), 1 - clip)
    return np.asarray(np.log(found) - np.log1p(-found))


def sigmoid(x: ArrayLike) -> Floats:
    """Probability of log-odds; sigmoid(−x) is exactly 1 − sigmoid(x)."""
    values = np.asarray(x, dtype=np.float64)
    small = 1 / (1 + np.exp(np.abs(values)))
    return np.where(values > 0, 1 - small, np.where(values < 0, 1 - (1 - small), values * 0 + 0.5))


def debias(p_ab: ArrayLike, p_ba: ArrayLike) -> tuple[Floats, Floats]:
    """(δ of a over b, b) in logits from P(first shown wins) with a first and with b first. NaN where one is NaN."""
    ab, ba = logit(p_ab), logit(p_ba)
    return (ab - ba) / 2, (ab + ba) / 2


def laplace(wins: float, n: int) -> float:
    """Probability behind `wins` (ties ½) of n sampled verdicts, (k + ½) / (n + 1)."""
    return (wins + 0.5) / (n + 1)
