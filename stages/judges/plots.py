"""Small SVG plots for reports: no script, no file beside them. Pure."""

from __future__ import annotations

import html
import itertools
from collections.abc import Sequence
from typing import NamedTuple

WIDTH, HEIGHT, LEFT, BOTTOM, TOP = 420, 300, 46, 40, 14
COLOURS = ("#1f5fa8", "#c0392b", "#2e8b57", "#8e44ad", "#b9770e", "#16808a", "#7f4f24", "#5d6d7e")


class Curve(NamedTuple):
    """A line through points (x, y); `dots`: marks at its points; `dashed`: a reference."""

    name: str
    points: Sequence[tuple[float, float]]
    dots: bool = False
    dashed: bool = False


def plot(
    title: str, axes: tuple[str, str], curves: Sequence[Curve], x: tuple[float, float], y: tuple[float, float]
) -> str:
    """One plot with axes from x[0] to x[1] and y[0] to y[1]; what lies outside is cut off at the edge."""

    def across(value: float) -> float:
        return LEFT + (min(max(value, x[0]), x[1]) - x[0]) / (x[1] - x[0]) * (WIDTH - LEFT - 10)

    def up(value: float) -> float:
        return HEIGHT - BOTTOM - (min(max(value, y[0]), y[1]) - y[0]) / (y[1] - y[0]) * (HEIGHT - BOTTOM - TOP)

    parts = []
    for i in range(6):
        at, value = x[0] + (x[1] - x[0]) * i / 5, y[0] + (y[1] - y[0]) * i / 5
        parts.append(f'<path class="grid" d="M{across(at):.1f} {up(y[0]):.1f}V{up(y[1]):.1f}"/>')
        parts.append(f'<path class="grid" d="M{across(x[0]):.1f} {up(value):.1f}H{across(x[1]):.1f}"/>')
        parts.append(f'<text x="{across(at):.1f}" y="{HEIGHT - BOTTOM + 15}" text-anchor="middle">{at:.2g}</text>')
        parts.append(f'<text x="{LEFT - 5}" y="{up(value) + 4:.1f}" text-anchor="end">{value:.2g}</text>')
    parts.append(f'<text x="{WIDTH / 2}" y="{HEIGHT - 8}" text-anchor="middle">{html.escape(axes[0])}</text>')
    parts.append(
        f'<text transform="translate(11 {HEIGHT / 2}) rotate(-90)" text-anchor="middle">{html.escape(axes[1])}</text>'
    )
    keys = []
    colours = itertools.cycle(COLOURS)
    for curve in curves:
        colour = "#999" if curve.dashed else next(colours)  # the same curves have the same colours in every plot
        path = " ".join(f"{across(a):.1f},{up(b):.1f}" for a, b in curve.points)
        dash = ' stroke-dasharray="4 4"' if curve.dashed else ""
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.6"{dash}/>')
        if curve.dots:
            parts += [
                f'<circle cx="{across(a):.1f}" cy="{up(b):.1f}" r="3.2" fill="{colour}"/>' for a, b in curve.points
            ]
        keys.append(f'<span><i style="background:{colour}"></i>{html.escape(curve.name)}</span>')
    drawing = f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{html.escape(title)}">{"".join(parts)}</svg>'
    return f'<figure><figcaption>{html.escape(title)}</figcaption>{drawing}<p class="keys">{"".join(keys)}</p></figure>'
