"""Assembles the sources of the documentation: docs/*.md, and what is made from the code and the measured figures.

`make docs` calls it with a folder and then builds the site there, without warnings (mkdocs --strict).
A figure in a page is a link `[0.99](results.md#name)`; its text is renewed from benchmarks/results.json.
"""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

import yaml

from pipeline.page import DARK, LIGHT, PLOT_STYLE
from scripts.reference_pages import pages
from scripts.results_page import Figures, load, results_page, told

ROOT = Path(__file__).resolve().parents[1]
FIGURE = re.compile(r"\[([\d.,]+)(?=[ %\]])([^\]]*)\]\(results\.md#(\w+)\)")
GUIDES = (
    "candidates",
    "search",
    "instructions",
    "contexts",
    "calibration",
    "rationales",
    "curation",
    "tools",
    "exports",
)
NAV = (
    ("Home", "index"),
    ("Start in five minutes", "start"),
    ("Choose a recipe", "recipes"),
    ("Kinds and methods", "kinds"),
    ("Bring your own", "own"),
    ("Reading a run", "report"),
    ("Guides", (*GUIDES, "token_dpo")),
    ("Operations", "operations"),
    ("Results", ("results", "learning")),
    ("Reference", ("run_config", "stages/index", "engines", "formats", "tables", "configs")),
)  # a page that is not named here stands under Guides


def write(folder: Path) -> None:
    """Fills `folder` with the site's sources and its mkdocs.yml."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(ROOT / "docs", folder / "pages")
    figures = load()
    made = pages() | {"results.md": results_page(figures)}
    for name, text in made.items():
        file = folder / "pages" / name
        if file.exists():
            raise SystemExit(f"docs/{name} stands in the way of the page that the code makes")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    for file in (folder / "pages").glob("*.md"):
        file.write_text(renewed(file.read_text(encoding="utf-8"), figures), encoding="utf-8")
    (folder / "pages" / "figures.css").write_text(style(), encoding="utf-8")
    config = {"INHERIT": str(ROOT / "mkdocs.yml"), "docs_dir": "pages", "site_dir": "site"}
    names = sorted(str(p.relative_to(folder / "pages")) for p in (folder / "pages").rglob("*.md"))
    config_file = folder / "mkdocs.yml"
    config_file.write_text(yaml.safe_dump(config | {"nav": nav(names)}, sort_keys=False), encoding="utf-8")


def renewed(text: str, figures: Figures) -> str:
    """A page with its figures as they were measured last. Raises SystemExit for one that nobody measures."""

    def now(found: re.Match[str]) -> str:
        if found[3] not in figures:
            raise SystemExit(f"docs: no figure is called {found[3]}; figures: {', '.join(figures)}")
        places = len(found[1].partition(".")[2])
        value = figures[found[3]]["value"]
        number = f"{value:,.{places}f}" if isinstance(value, (int, float)) else told(value)
        return f"[{number}{found[2]}](results.md#{found[3]})"

    return FIGURE.sub(now, text)


def nav(names: list[str]) -> list[dict[str, object]]:
    """The navigation over the pages there are: NAV, with the stages' topics, and what it does not name."""
    named = {page for _, pages in NAV for page in ([pages] if isinstance(pages, str) else pages)}
    topics = [name for name in names if name.startswith("stages/") and name != "stages/index.md"]
    others = [name for name in names if name.removesuffix(".md") not in named and name not in topics]
    made: list[dict[str, object]] = []
    for title, listed in NAV:
        if isinstance(listed, str):
            made += [{title: f"{listed}.md"}] if f"{listed}.md" in names else []
            continue
        inside: list[object] = [f"{page}.md" for page in listed if f"{page}.md" in names]
        inside += others if title == "Guides" else []
        if title == "Reference":
            at = inside.index("stages/index.md")
            inside[at] = {"Stages": ["stages/index.md", *topics]}
        made.append({title: inside})
    return made


def style() -> str:
    """The figures' own style, in the colours of the site's two schemes."""
    return f":root {{ {LIGHT} }}\n[data-md-color-scheme=slate] {{ {DARK} }}\n{PLOT_STYLE}\n"


if __name__ == "__main__":
    write(Path(sys.argv[1]))
