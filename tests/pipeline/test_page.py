"""Pages: what was text stays text, and nothing on them asks for more than the file."""

from __future__ import annotations

from html.parser import HTMLParser

from hypothesis import given
from hypothesis import strategies as st

from pipeline.page import Axis, Curve, bars, page, paragraph, plot, row, table

AXES = Axis("x", 0, 10), Axis("y", 0, 1)


class Seen(HTMLParser):
    """Collects tags and text."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.texts: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        assert not any(name.startswith("on") or name in ("src", "href") for name, _ in attrs)

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def read(text: str) -> Seen:
    seen = Seen()
    seen.feed(text)
    seen.close()
    return seen


@given(st.text(st.characters(exclude_categories=("Cs", "Cc"))))
def test_text_is_shown_as_it_is_wherever_it_stands(text: str) -> None:
    hostile = f"<script>alert(1)</script>&amp;\"'{text}"
    drawn = plot(hostile, Axis(hostile, 0, 1), Axis(hostile, 0, 1), [Curve(hostile, [(0, 0), (1, 1)])])
    body = paragraph(hostile) + table((hostile,), [(hostile,)]) + row(bars(hostile, {hostile: 1.0}), drawn)
    seen = read(page(hostile, hostile, (hostile, body)))
    assert "script" not in seen.tags
    assert "".join(seen.texts).count(hostile) == 14


def test_numbers_are_told_by_their_kind_and_nothing_by_a_dash() -> None:
    text = table(("n", "share", "none"), [(1234, 0.5, None)], bad=[(0, 1)])
    assert '<td class="number">1,234</td><td class="number bad">0.500</td><td class="number soft">–</td>' in text


def test_charts_of_nothing_are_empty_charts() -> None:
    assert "<rect" not in bars("none", {})
    assert "rect" in bars("zero", {"a": 0})
    assert "<polyline" not in plot("none", *AXES, [])


def test_curves_of_a_plot_share_its_axes_and_stay_inside() -> None:
    text = plot("two", *AXES, [Curve("ideal", [(0, 0), (10, 1)], dashed=True), Curve("own", [(-5, 2)], dots=True)])
    assert text.count("<polyline") == 2
    assert 'points="46.0,260.0 410.0,14.0"' in text
    assert '<circle cx="46.0" cy="14.0"' in text
