"""Distributions as figures of a page, on axes that end at round numbers. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

from pipeline.page import Axis, Curve, Markup, plot

BINS = 20
ROUND = (1, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10)


def histogram(
    caption: str, unit: str, values: Mapping[str, Sequence[float]], low: float = math.nan, high: float = math.nan
) -> Markup:
    """The share of the values that falls into each of BINS bins, a filled curve for each name. low, high: ends of the
    axis; where they are not known, it holds all values and 0."""
    every = [value for each in values.values() for value in each]
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        low, high = ends(min([0.0, *every]), max([0.0, *every]))
    shares = {}
    for name, each in values.items():
        counts = [0] * BINS
        for value in each:
            counts[min(BINS - 1, max(0, int((value - low) / (high - low) * BINS)))] += 1
        shares[name] = [n / max(1, len(each)) for n in counts]
    top = ends(0, max((share for each in shares.values() for share in each), default=1.0))[1]
    curves = [Curve(name, list(steps(each, low, high)), filled=True) for name, each in shares.items()]
    return plot(caption, Axis(unit, low, high), Axis("share", 0, top), curves)


def steps(values: Sequence[float], low: float, high: float) -> Iterable[tuple[float, float]]:
    """The outline of bars that stand side by side between low and high."""
    width = (high - low) / max(1, len(values))
    for i, value in enumerate(values):
        yield low + i * width, value
        yield low + (i + 1) * width, value


def ends(low: float, high: float) -> tuple[float, float]:
    """Round numbers around [low, high] whose fifths are round, too. low ≤ 0 ≤ high."""
    step = nice((high - low) / 5) or 0.2
    while (start := math.floor(low / step + 1e-9) * step) + 5 * step < high * (1 - 1e-9):
        step = nice(step * 1.01)
    return start, start + 5 * step


def nice(value: float) -> float:
    """The next round number up; 0 of what is not above 0."""
    if value <= 0:
        return 0.0
    power = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in ROUND if step * power >= value * (1 - 1e-9))
