"""Distributions as figures of a page, on axes that end at round numbers. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

from pipeline.page import Axis, Curve, Markup, plot

BINS = 20


def histogram(
    caption: str, unit: str, values: Mapping[str, Sequence[float]], low: float = math.nan, high: float = math.nan
) -> Markup:
    """The share of the values that falls into each of BINS bins, a filled curve for each name. low, high: ends of the
    axis; what is not finite is taken from the values, with 0 on the axis."""
    every = [value for each in values.values() for value in each]
    low = low if math.isfinite(low) else -nice(-min(every, default=0.0))
    high = high if math.isfinite(high) else nice(max(every, default=1.0))
    if high <= low:
        low, high = low - 1, low + 1
    shares = {}
    for name, each in values.items():
        counts = [0] * BINS
        for value in each:
            counts[min(BINS - 1, max(0, int((value - low) / (high - low) * BINS)))] += 1
        shares[name] = [n / max(1, len(each)) for n in counts]
    top = nice(max((share for each in shares.values() for share in each), default=0.0)) or 1.0
    curves = [Curve(name, list(steps(each, low, high)), filled=True) for name, each in shares.items()]
    return plot(caption, Axis(unit, low, high), Axis("share", 0, top), curves)


def steps(values: Sequence[float], low: float, high: float) -> Iterable[tuple[float, float]]:
    """The outline of bars that stand side by side between low and high."""
    width = (high - low) / max(1, len(values))
    for i, value in enumerate(values):
        yield low + i * width, value
        yield low + (i + 1) * width, value


def nice(value: float) -> float:
    """The next number up of 1, 2, 2.5, 5 or 10 times a power of ten; 0 of what is not above 0."""
    if value <= 0:
        return 0.0
    power = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in (1, 2, 2.5, 5, 10) if step * power >= value * (1 - 1e-9))
