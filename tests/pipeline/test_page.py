"""Pages: what was text stays text, and nothing on them asks for more than the file."""

from __future__ import annotations

from html.parser import HTMLParser

from hypothesis import given
from hypothesis import strategies as st

from pipeline.page import bars, curve, page, paragraph, row, table


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
    body = paragraph(hostile) + table((hostile,), [(hostile,)]) + row(bars(hostile, {hostile: 1.0}))
    seen = read(page(hostile, hostile, (hostile, body)))
    assert "script" not in seen.tags
    assert "".join(seen.texts).count(hostile) == 10


def test_numbers_are_told_by_their_kind_and_nothing_by_a_dash() -> None:
    text = table(("n", "share", "none"), [(1234, 0.5, None)], bad=[(0, 1)])
    assert '<td class="number">1,234</td><td class="number bad">0.500</td><td class="soft">–</td>' in text


def test_charts_of_nothing_are_empty_charts() -> None:
    assert "<rect" not in bars("none", {})
    assert "rect" in bars("zero", {"a": 0})
    assert curve("none", []).count("<path") == 1
