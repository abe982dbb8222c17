"""How good a judge is on gold items: accuracy, temperature, calibration error (spec judges B1, C3). Pure, vectorised."""

from __future__ import annotations

import math

import numpy as np

from stages.judges.swap import Floats, sigmoid

Z = 1.645  # one-sided 95 %
SHRINK = 20.0  # items that the accuracy of all judges is worth


def wilson_low(right: float, n: float, z: float = Z) -> float:
    """Lower bound of the Wilson interval of right / n; 0 without items."""
    if n == 0:
        return 0.0
    p, z2 = right / n, z * z
    return (p + z2 / (2 * n) - z * math.sqrt(p * (1 - p) / n + z2 / (4 * n * n))) / (1 + z2 / n)


def shrunk_accuracy(right: float, n: float, overall: float, m: float = SHRINK) -> float:
    """(k + m·overall) / (n + m): few items say little."""
    return (right + m * overall) / (n + m)


def scored(log_odds: Floats, truth: Floats) -> Floats:
    """1 right, 0 wrong, ½ for a judge's tie, and NaN without an answer or for a gold tie. truth: +1, −1 or 0."""
    side = np.sign(log_odds) * truth
    return np.where(np.isnan(log_odds) | (truth == 0), np.nan, (side + 1) / 2)


def fit_slope(values: Floats, truth: Floats) -> float:
    """k of P(a better) = σ(k·value) by maximum likelihood; temperature is 1 / k. Negative: the judge is upside down.

    truth: +1, −1, or 0 for a tie, which counts as ½. Targets are smoothed as in Platt (1999), so that separable data
    have a finite slope. Newton's method on a convex function; 0 where values say nothing.
    """
    known = ~np.isnan(values)
    x, n = values[known], int(known.sum())
    if n == 0 or not np.any(x):
        return 0.0
    target = 0.5 + 0.5 * truth[known] * n / (n + 2)
    k = 0.0
    for _ in range(100):
        p = sigmoid(k * x)
        curvature = float((p * (1 - p) * x * x).sum())
        if curvature < 1e-12:
            break
        step = float(((target - p) * x).sum()) / curvature
        step = math.copysign(min(abs(step), 1.0 + abs(k)), step)  # far out Newton overshoots
        k += step
        if abs(step) < 1e-10 * (1 + abs(k)):
            break
    return k


def reliability(confidence: Floats, right: Floats, edges: Floats) -> list[tuple[int, float, float]]:
    """(n, mean confidence, share right) of each bin (edges[i], edges[i+1]], the first closed below; empty bins left out."""
    places = np.clip(np.searchsorted(edges, confidence, side="left") - 1, 0, len(edges) - 2)
    return [
        (int(inside.sum()), float(confidence[inside].mean()), float(right[inside].mean()))
        for i in range(len(edges) - 1)
        if (inside := places == i).any()
    ]


def expected_calibration_error(confidence: Floats, right: Floats, edges: Floats) -> float:
    """Σ n/N·|share right − mean confidence| over the bins of `reliability`."""
    rows = reliability(confidence, right, edges)
    return sum(n * abs(mean - share) for n, mean, share in rows) / max(len(confidence), 1)


def brier(confidence: Floats, right: Floats) -> float:
    """Mean squared difference of confidence and outcome."""
    return float(((confidence - right) ** 2).mean())


def risk_coverage(confidence: Floats, right: Floats) -> tuple[Floats, Floats]:
    """(coverage, risk): the share of wrong among the surest items, for every share of items that is kept.

    Equally sure items share their risk, so that the curve does not depend on the order of the items.
    """
    levels, group = np.unique(-confidence, return_inverse=True)
    n = np.bincount(group, minlength=len(levels)).cumsum()
    wrong = np.bincount(group, weights=1 - right, minlength=len(levels)).cumsum()
    return n / max(len(confidence), 1), wrong / n


def error_correlation(scores: Floats) -> Floats:
    """Pearson correlation of the judges' errors, [judges, judges], over the items both answered.

    scores: [judges, items] of `scored`. NaN where fewer than three items are shared or a judge never varies there.
    """
    n = len(scores)
    found = np.full((n, n), np.nan)
    for i in range(n):
        for j in range(i):
            both = ~np.isnan(scores[i]) & ~np.isnan(scores[j])
            a, b = scores[i, both], scores[j, both]
            if len(a) > 2 and a.std() > 0 and b.std() > 0:
                found[i, j] = found[j, i] = float(np.corrcoef(a, b)[0, 1])
    return found


def cohen_kappa(a: Floats, b: Floats) -> float:
    """Agreement of two raters of the same items beyond chance; NaN where chance alone would make them agree."""
    labels = np.union1d(a, b)
    chance = sum(float((a == label).mean() * (b == label).mean()) for label in labels)
    return (float((a == b).mean()) - chance) / (1 - chance) if chance < 1 else math.nan
