"""Self-contained HTML: tables, bars and plots on a page that opens from disk and asks nothing of the network. Pure.

Every text is escaped here; what a caller passes is text, never markup, unless it was made by this module.
"""

from __future__ import annotations

import html
import itertools
from collections.abc import Mapping, Sequence
from typing import NamedTuple

Markup = str

# What figures and tables look like wherever they stand; the page around them sets --ink, --soft, --line, --bar and --0 …
PLOT_STYLE = """
figure { margin: 0 0 1em; max-width: 100%; } figure svg { display: block; max-width: 100%; height: auto; }
figcaption { color: var(--soft); } figure svg text { fill: var(--soft); font: 11px system-ui, sans-serif; }
figure svg rect { fill: var(--bar); } figure svg path.grid { stroke: var(--line); }
.legend { max-width: 420px; font-size: .85em; } .legend span { display: inline-block; margin-right: .9em; }
.legend i { display: inline-block; width: .7em; height: .7em; margin-right: .3em; background: currentColor; }
.legend b { font-weight: normal; color: var(--ink); }
.row { display: flex; flex-wrap: wrap; gap: 1.5em 2.5em; }
table.ranked { border-collapse: collapse; } table.ranked td { border: 0; padding: .1em .7em .1em 0; }
table.ranked td:nth-child(2) { width: 12em; min-width: 5em; }
table.ranked i { display: block; height: .8em; min-width: 1px; background: var(--bar); }
.soft { color: var(--soft); }
.c0 { color: var(--c0); } .c1 { color: var(--c1); } .c2 { color: var(--c2); } .c3 { color: var(--c3); }
.c4 { color: var(--c4); } .c5 { color: var(--c5); } .c6 { color: var(--c6); } .c7 { color: var(--c7); }
"""
LIGHT = """--ink: #1d2430; --soft: #667085; --line: #d9dee7; --bar: #4a7fd4; --bad: #c23b3b; --box: #f4f6f9;
--c0: #1f5fa8; --c1: #c0392b; --c2: #2e8b57; --c3: #8e44ad; --c4: #b9770e; --c5: #16808a; --c6: #7f4f24; --c7: #5d6d7e;"""
DARK = """--ink: #e6e9ef; --soft: #9aa4b5; --line: #333b49; --bar: #6d9be8; --bad: #ec7a7a; --box: #1d232d;
--c0: #72a7ec; --c1: #ee8478; --c2: #66c492; --c3: #c792e0; --c4: #e3a94a; --c5: #5cc4ce; --c6: #c99a6b; --c7: #a9b6c4;"""
_STYLE = f"""
:root {{ color-scheme: light dark; {LIGHT} }}
@media (prefers-color-scheme: dark) {{ :root {{ {DARK} }} body {{ background: #14181f; }} }}
body {{ font: 15px/1.5 system-ui, sans-serif; color: var(--ink); max-width: 1080px; margin: 2.5em auto; padding: 0 1em; }}
h1 {{ font-size: 1.6em; margin-bottom: .2em; }} h2 {{ font-size: 1.15em; margin: 2em 0 .5em; }}
h3 {{ font-size: 1em; margin: .8em 0 .2em; }}
.bad {{ color: var(--bad); font-weight: 600; }}
table {{ border-collapse: collapse; }} th, td {{ padding: .25em .9em .25em 0; text-align: left; vertical-align: top; }}
th {{ font-weight: 600; border-bottom: 1px solid var(--line); }} td {{ border-bottom: 1px solid var(--line); }}
td.number {{ text-align: right; font-variant-numeric: tabular-nums; }} .scroll {{ overflow-x: auto; }}
article {{ border-top: 1px solid var(--line); padding: .4em 0 1em; }} article p {{ margin: .2em 0; }}
.texts {{ display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 320px), 1fr)); gap: 0 1.5em; }}
pre {{ margin: 0; padding: .6em .8em; background: var(--box); white-space: pre-wrap; overflow-wrap: anywhere;
  font: 13px/1.45 ui-monospace, monospace; max-height: 30em; overflow-y: auto; }}
{PLOT_STYLE}"""
_WIDTH, _HEIGHT, _LEFT, _BOTTOM, _TOP = 420, 300, 46, 40, 14  # of a plot, and what its axes take
_COLOURS = 8
# Nothing may be fetched and no script may run, whatever a text would say.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


def escaped(text: object) -> Markup:
    """Text as text."""
    return html.escape(str(text))


def page(title: str, lead: str, *sections: tuple[str, Markup]) -> str:
    """The whole document: a heading, a line below it, and sections of (heading, markup of this module)."""
    body = "\n".join(f"<h2>{escaped(heading)}</h2>\n{markup}" for heading, markup in sections)
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escaped(title)}</title>\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<style>{_STYLE}</style></head>\n<body><h1>{escaped(title)}</h1>\n"
        f'<p class="soft">{escaped(lead)}</p>\n{body}\n</body></html>\n'
    )


def paragraph(text: str) -> Markup:
    """A line of explanation."""
    return f'<p class="soft">{escaped(text)}</p>'


def table(header: Sequence[str], rows: Sequence[Sequence[object]], bad: Sequence[tuple[int, int]] = ()) -> Markup:
    """A table; numbers stand right. bad: (row, column) of cells to be marked. None is shown as a dash."""
    marked = set(bad)
    head = "".join(f"<th>{escaped(name)}</th>" for name in header)
    body = "".join(
        "<tr>" + "".join(_cell(value, (r, c) in marked) for c, value in enumerate(row)) + "</tr>\n"
        for r, row in enumerate(rows)
    )
    return f'<div class="scroll"><table><tr>{head}</tr>\n{body}</table></div>'


def _cell(value: object, bad: bool) -> Markup:
    if value is None:
        return '<td class="number soft">–</td>'
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    text = f"{value:,}" if isinstance(value, int) else f"{value:.3f}" if isinstance(value, float) else str(value)
    names = " ".join([*(["number"] if number else []), *(["bad"] if bad else [])])
    return f'<td class="{names}">{escaped(text)}</td>' if names else f"<td>{escaped(text)}</td>"


def bars(caption: str, values: Mapping[str, float], width: int = 320, height: int = 110) -> Markup:
    """A bar chart of non-negative values, in their order, with their names below."""
    top, count = max(values.values(), default=0) or 1, max(1, len(values))
    step = width / count
    drawn = "".join(
        f'<rect x="{i * step + 1:.1f}" y="{height - value / top * (height - 14):.1f}" width="{max(1.0, step - 2):.1f}" '
        f'height="{value / top * (height - 14):.1f}"><title>{escaped(name)}: {value:,}</title></rect>'
        f'<text x="{i * step + step / 2:.1f}" y="{height + 13}" text-anchor="middle">{escaped(name)}</text>'
        for i, (name, value) in enumerate(values.items())
    )
    return _figure(caption, drawn, width, height + 18)


def ranked(caption: str, values: Mapping[str, float]) -> Markup:
    """Names with long bars beside them, in their order; for what has names too long for `bars`. No bar below 0."""
    top = max([0.0, *values.values()]) or 1
    rows = "".join(
        f'<tr><td>{escaped(name)}</td><td><i style="width:{max(0.0, 100 * value / top):.1f}%"></i></td>'
        f"{_cell(value, False)}</tr>\n"
        for name, value in values.items()
    )
    return f'<figure><table class="ranked">{rows}</table><figcaption>{escaped(caption)}</figcaption></figure>'


Texts = Sequence[tuple[str, str]]


def article(heading: str, about: str, *rows: Texts) -> Markup:
    """Something to read: a heading, a line about it, and rows of named texts, side by side where there is room."""
    shown = "".join(f'<div class="texts">{"".join(map(_text, texts))}</div>' for texts in rows)
    return f'<article><h3>{escaped(heading)}</h3><p class="soft">{escaped(about)}</p>{shown}</article>'


def _text(named: tuple[str, str]) -> Markup:
    return f"<div><h3>{escaped(named[0])}</h3><pre>{escaped(named[1])}</pre></div>"


class Curve(NamedTuple):
    """A line through points (x, y). dots: marks at its points (not joined: these alone); dashed: a reference; filled:
    down to the axis."""

    name: str
    points: Sequence[tuple[float, float]]
    dots: bool = False
    dashed: bool = False
    filled: bool = False
    joined: bool = True


class Axis(NamedTuple):
    """What a side of a plot measures, from where to where."""

    name: str
    low: float
    high: float

    def share(self, value: float) -> float:
        """How far along the axis a value lies, 0 to 1; what lies outside is put at the edge."""
        return (min(max(value, self.low), self.high) - self.low) / (self.high - self.low)


def plot(caption: str, x: Axis, y: Axis, curves: Sequence[Curve]) -> Markup:
    """Curves between two axes, with a key below; the same curves have the same colours in every plot."""
    colours = itertools.cycle(f"c{i}" for i in range(_COLOURS))
    drawn, keys = _grid(x, y), ""
    for curve in curves:
        colour = "soft" if curve.dashed else next(colours)
        points = [(_across(x.share(a)), _up(y.share(b))) for a, b in curve.points]
        drawn += f'<g class="{colour}">{_line(curve, points)}</g>'
        keys += f'<span class="{colour}"><i></i><b>{escaped(curve.name)}</b></span>'
    return _figure(caption, drawn, _WIDTH, _HEIGHT, f'<p class="legend">{keys}</p>')


def _line(curve: Curve, points: Sequence[tuple[float, float]]) -> Markup:
    dash = ' stroke-dasharray="4 4"' if curve.dashed else ""
    path = " ".join(f"{a:.1f},{b:.1f}" for a, b in points)
    drawn = ""
    if curve.joined:
        drawn = f'<polyline points="{path}" fill="none" stroke="currentColor" stroke-width="1.6"{dash}/>'
    if curve.filled and points:
        below = f"{points[0][0]:.1f},{_up(0):.1f} {path} {points[-1][0]:.1f},{_up(0):.1f}"
        drawn += f'<polygon points="{below}" fill="currentColor" fill-opacity=".15"/>'
    if curve.dots:
        drawn += "".join(f'<circle cx="{a:.1f}" cy="{b:.1f}" r="3.2" fill="currentColor"/>' for a, b in points)
    return drawn


def _across(share: float) -> float:
    return _LEFT + share * (_WIDTH - _LEFT - 10)


def _up(share: float) -> float:
    return _HEIGHT - _BOTTOM - share * (_HEIGHT - _BOTTOM - _TOP)


def _grid(x: Axis, y: Axis) -> Markup:
    """Lines each way with their values, and the names of the axes."""
    drawn = (
        f'<text x="{_WIDTH / 2}" y="{_HEIGHT - 8}" text-anchor="middle">{escaped(x.name)}</text>'
        f'<text transform="translate(11 {_HEIGHT / 2}) rotate(-90)" text-anchor="middle">{escaped(y.name)}</text>'
    )
    for share in _shares(x):
        drawn += (
            f'<path class="grid" d="M{_across(share):.1f} {_up(0):.1f}V{_up(1):.1f}"/>'
            f'<text x="{_across(share):.1f}" y="{_HEIGHT - _BOTTOM + 15}" text-anchor="middle">{_mark(x, share)}</text>'
        )
    for share in _shares(y):
        drawn += (
            f'<path class="grid" d="M{_across(0):.1f} {_up(share):.1f}H{_across(1):.1f}"/>'
            f'<text x="{_LEFT - 5}" y="{_up(share) + 4:.1f}" text-anchor="end">{_mark(y, share)}</text>'
        )
    return drawn


def _shares(axis: Axis) -> list[float]:
    """Where lines stand: at the whole numbers of a short scale, else at fifths."""
    span = axis.high - axis.low
    parts = int(span) if span in range(3, 10) and axis.low == int(axis.low) else 5
    return [i / parts for i in range(parts + 1)]


def _mark(axis: Axis, share: float) -> str:
    """The number that stands at a line."""
    value = axis.low + (axis.high - axis.low) * share
    return f"{value:,.0f}" if abs(value) >= 100 else f"{round(value, 9) + 0.0:.3g}"


def row(*figures: Markup) -> Markup:
    """Figures side by side."""
    return f'<div class="row">{"".join(figures)}</div>'


def _figure(caption: str, drawn: Markup, width: int, height: int, key: Markup = "") -> Markup:
    return (
        f'<figure><svg width="{width}" height="{height}" viewBox="0 0 {width} {height}" role="img">{drawn}</svg>'
        f"<figcaption>{escaped(caption)}</figcaption>{key}</figure>"
    )
