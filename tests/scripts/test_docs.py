"""The documentation's sources: all that the code has stands in them, and nothing in them is markup by accident."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, Literal

import pytest
import yaml
from pydantic import BaseModel, Field

from pipeline.catalogue import stage_class, stage_files
from pipeline.engine import engine_class, engine_kinds
from scripts.docs import NAV, renewed, write
from scripts.field_tables import about, escaped, field_table, nested, prose
from scripts.results_page import load, results_page
from stages.exports.formats import format_names, format_of

ROOT = Path(__file__).resolve().parents[2]
FIGURES = {
    "a_share": {"value": 0.987, "unit": "share", "wanted": ">= 0.9", "beside": {"n": 3}, "command": "c", "date": "2026-01-01"},
    "rows": {"value": 12345, "unit": "rows/s", "wanted": "", "beside": {}, "command": "c", "date": "2026-01-02"},
}  # fmt: skip


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("docs")
    write(folder / "docs")
    return folder / "docs"


def page(site: Path, name: str) -> str:
    return (site / "pages" / name).read_text(encoding="utf-8")


def test_every_stage_stands_on_its_topics_page_with_every_field(site: Path) -> None:
    index = page(site, "stages/index.md")
    for name, file in stage_files().items():
        text = page(site, f"stages/{file.parent.name}.md")
        section = text.split(f"\n## {name}\n")[1].split("\n## ")[0]
        fields = [field.alias or key for key, field in stage_class(name).model_fields.items()]
        assert [f for f in fields if f"| `{f}` |" not in section] == []
        assert f"({file.parent.name}.md#{name})" in index


def test_every_export_engine_and_config_stands_on_its_page(site: Path) -> None:
    formats, engines, configs = (page(site, name) for name in ("formats.md", "engines.md", "configs.md"))
    for name in format_names():
        section = formats.split(f"\n## {name}\n")[1].split("\n## ")[0]
        assert [c for c in format_of(name)[0].columns if f"| `{c}` |" not in section] == []
    for kind in engine_kinds():
        section = engines.split(f"\n## {kind}\n")[1].split("\n## ")[0]
        assert [f for f in engine_class(kind).model_fields if f"| `{f}` |" not in section] == []
    for file in (ROOT / "configs").glob("*.yaml"):
        assert f"## {file.stem}\n\n```yaml\n# For:" in configs


@pytest.mark.parametrize("name", sorted(p.name for p in (ROOT / "docs").glob("*.md")))
def test_every_job_and_engine_that_a_page_shows_is_one(name: str) -> None:
    for block in re.findall(r"```yaml\n(.*?)```", (ROOT / "docs" / name).read_text(encoding="utf-8"), re.DOTALL):
        if "…" in block or "--8<--" in block:  # a sketch, or a file that has its own test
            continue
        shown = yaml.safe_load(block)
        config = shown if isinstance(shown, dict) else {"jobs": shown}
        for fields in config.get("engines", {}).values():
            engine_class(fields["kind"]).model_validate(fields)
        for fields in config.get("jobs", ()):
            given = {key: value for key, value in fields.items() if key not in ("stage", "name", "from")}
            stage_class(fields["stage"]).model_validate(given)


@pytest.mark.parametrize("name", sorted(p.name for p in (ROOT / "docs").glob("*.md")))
def test_a_page_holds_no_placeholder_and_every_file_that_it_includes_is_there(name: str) -> None:
    text = (ROOT / "docs" / name).read_text(encoding="utf-8")
    assert re.findall(r"@[A-Z]{3,}@", text) == []
    marked = [line for line in text.splitlines() if re.search(r"--\s*8\s*<", line)]
    included = re.findall(r'^--8<-- "(.+)"$', text, re.MULTILINE)
    assert len(included) == len(marked)
    assert [file for file in included if not (ROOT / file).is_file()] == []


def test_every_page_stands_once_in_the_navigation(site: Path) -> None:
    config = yaml.safe_load((site / "mkdocs.yml").read_text())
    listed = list(_pages(config["nav"]))
    assert sorted(listed) == sorted(str(p.relative_to(site / "pages")) for p in (site / "pages").rglob("*.md"))
    assert [next(iter(entry)) for entry in config["nav"]][:2] == [NAV[0][0], NAV[1][0]]


def _pages(entry: Any) -> Any:
    if isinstance(entry, str):
        yield entry
    else:
        for inside in entry.values() if isinstance(entry, dict) else entry:
            yield from _pages(inside)


class Tags(HTMLParser):
    """Collects the tags of a text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)


def test_what_docstrings_say_is_text(site: Path) -> None:
    for file in [*(site / "pages/stages").glob("*.md"), site / "pages/engines.md", site / "pages/tables.md"]:
        outside = re.sub(r"```.*?```|`[^`\n]*`", "", file.read_text(encoding="utf-8"), flags=re.DOTALL)
        assert Tags(outside).tags == set(), file.name


def test_a_figure_in_a_page_is_the_one_that_was_measured_last() -> None:
    text = "[0.95](results.md#a_share), [1 rows](results.md#rows), [see](results.md#rows)"
    assert (
        renewed(text, FIGURES) == "[0.99](results.md#a_share), [12,345 rows](results.md#rows), [see](results.md#rows)"
    )
    with pytest.raises(SystemExit, match="no figure is called b; figures: a_share, rows"):
        renewed("[1](results.md#b)", FIGURES)


def test_the_results_hold_every_figure_once_and_plots() -> None:
    figures = load()
    text = results_page(figures)
    for name in figures:
        assert text.count(f'<a id="{name}"></a>') == 1
    assert text.count('<table class="ranked">') >= 5
    assert "0.987 | share" in results_page(FIGURES)
    assert "12,345 | rows/s" in results_page(FIGURES)


class Inner(BaseModel):
    """Inside."""

    n: int = 1


class Shown(BaseModel):
    """What it is for.

    name, other: what both are, with <b> in it. mode: how; it goes
    on. Counts: `seen`.
    """

    name: str
    other: tuple[str, ...] = ()
    mode: Literal["a", "b"] = "a"
    inner: Inner | None = None
    share: float = Field(0.5, ge=0, lt=1)  # behind it
    long: str = "x" * 200


def test_a_field_is_told_by_docstring_comment_type_default_and_bounds() -> None:
    text = field_table(Shown)
    assert "| `name` | text | required | what both are, with &lt;b> in it. |" in text
    assert "| `mode` | `a` or `b` | `a` | how; it goes on. |" in text
    assert "| `inner` | [Inner](#inner) or null | – |  |" in text
    assert "| `share` | number, ≥ 0, &lt; 1 | `0.5` | behind it |" in text
    assert f"`{'x' * 80} …`" in text
    assert about(Shown)[0] == "What it is for.\n\nCounts: `seen`."
    assert nested(Shown) == {"Inner": Inner}


def test_jobs_in_a_docstring_are_yaml_and_the_rest_means_itself() -> None:
    text = prose(
        "a: b (spec x 3).\n\n    - {stage: rate}\n    - stage: rate\n      engine: e\n\n"
        "Stars * and <tags>, `a*b`:\n- one\n- two\nthen"
    )
    assert "a: b." in text
    assert "```yaml\n- {stage: rate}\n- stage: rate\n  engine: e\n```" in text
    assert "Stars \\* and &lt;tags>, `a*b`:\n\n- one\n- two\n\nthen" in text
    assert prose("| a | b_ |\n|---|---|\n| `c` | d (KTO; spec m R5) |") == "| a | b\\_ |\n|---|---|\n| `c` | d (KTO) |"
    assert escaped("[x](y) | z") == "\\[x\\](y) \\| z"
