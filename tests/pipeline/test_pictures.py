"""Trees as files: a page that no text can take over and that needs no network, and DOT that says what it means."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline import cli, pictures
from pipeline.drawing import Drawing, Taken
from pipeline.pictures import dot, page
from pipeline.records import Message, Prompt
from pipeline.tree import Node, Tree
from tests.conftest import Site

RECORDED = Path(__file__).resolve().parents[1] / "stages/sources/recorded_trees.jsonl"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
HOSTILE = [
    "<script>document.title = 'ran'</script>",
    "</script><script>document.title = 'ran'</script>",
    "<!--<script>",
    "<img src=x onerror=\"document.title = 'ran'\">",
    "a & b &lt; c &amp; \"quoted\" 'single' `back`",
    "right \u202eto left\u202c, zero\u200bwidth, \x1b[31mred",
    "שלום עולם",
    "]]> {{ 7 * 7 }} ${7 * 7} DATA SCRIPT_HASH \\u003c \\",
    "long " + "x" * 10_000 + " end",
]


def node(node_id: int, parent_id: int | None = 0, **columns: Any) -> Node:
    return Node(prompt_id="p", tree_id="t", node_id=node_id, parent_id=parent_id, **columns)


def hostile(texts: list[str] = HOSTILE) -> Drawing:
    """A tree whose prompt, steps, answers and observations are `texts`."""
    prompt = Prompt("p", "p", (Message("system", texts[0]), Message("user", texts[-1])), texts[0])
    steps = [
        node(i, step_text=text, depth=1, visits=1, final_answer=text, outcome=1, is_terminal=True, observation=text)
        for i, text in enumerate(texts, 1)
    ]
    pairs = [Taken("pair_steps", texts[0], "step", 1, len(texts), 0.5)]
    return Drawing(prompt, Tree(prompt_id="p", tree_id="t", job="search"), [node(0, None), *steps], pairs)


def data_of(text: str) -> Any:
    [found] = re.findall(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    return json.loads(found)


def test_the_run_of_a_recorded_tree_becomes_a_page_and_dot_files(
    site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    jobs: list[dict[str, Any]] = [
        {
            "stage": "prompts",
            "path": str(RECORDED),
            "columns": {"prompt": "question", "reference": "final_answer", "tree": "reasoning_steps"},
        },
        {"stage": "pair_steps", "rule": "first_error", "score": "mc", "length_ratio": None},
    ]
    made = site.run(site.config(jobs=jobs, engines={})).totals["pair_steps"]
    run = str(site.folder / "runs/t")
    for name, files in {"html": ["trees.html"], "graphviz": [".dot"]}.items():
        target = site.folder / name
        command = ["export", run, "--format", name, "--to", str(target)]
        assert cli.main(command) == 0
        assert f"1 trees to {target}" in capsys.readouterr().out
        assert [file.name[-len(end) :] for file, end in zip(target.iterdir(), files, strict=True)] == files
        assert cli.main(command) == 2
        assert "is not empty; give a new folder" in capsys.readouterr().err
    [tree] = data_of((site.folder / "html/trees.html").read_text(encoding="utf-8"))
    assert (len(tree["nodes"]), len(tree["pairs"]), tree["reference"]) == (9, made.rows_out, "14")
    assert made.rows_out > 0
    assert cli.main(["show", run, tree["prompt_id"]]) == 0
    told = capsys.readouterr().out
    assert told.index("What is 3 + 4, doubled?") < told.index("recorded, 9 nodes") < told.index("chosen 1")


def test_a_run_without_trees_is_told(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    site.run(site.config(n=4))
    command = ["export", str(site.folder / "runs/t"), "--format", "html", "--to", str(site.folder / "out")]
    assert cli.main(command) == 2
    assert "has no search trees; a job of stage search makes them" in capsys.readouterr().err


def test_many_trees_go_to_several_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "TREES_PER_PAGE", 2)
    made = list(pictures.pages([hostile()] * 5))
    assert [(name, n) for name, _, n in made] == [("trees.html", 2), ("trees-2.html", 2), ("trees-3.html", 1)]
    assert [len(data_of(text)) for _, text, _ in made] == [2, 2, 1]


@given(st.lists(st.text(), min_size=1, max_size=4))
def test_no_text_leaves_its_place_in_the_page(texts: list[str]) -> None:
    plain, made = page([hostile(["a"])]), page([hostile(texts)])
    for mark in ("<", ">", "&", "SCRIPT_HASH", "STYLE_HASH"):
        inside = made.split('id="data">')[1].split("</script>")[0]
        assert mark in ("SCRIPT_HASH", "STYLE_HASH") or mark not in inside
    assert made.count("<script") == plain.count("<script") == 2
    assert len(data_of(made)[0]["nodes"]) == len(texts) + 1


def test_the_page_names_the_only_script_and_style_that_may_run_and_nothing_outside() -> None:
    made = page([hostile()])
    [policy] = re.findall(r'Content-Security-Policy" content="([^"]*)"', made)
    assert re.fullmatch(
        r"default-src 'none'; script-src 'sha256-[\w+/]+='; style-src 'sha256-[\w+/]+='; base-uri 'none'; form-action 'none'",
        policy,
    )
    own = made.replace(made.split('id="data">')[1].split("</script>")[0], "")
    assert not re.findall(
        r"https?:|//[a-z]|\bsrc=|href=|innerHTML|outerHTML|insertAdjacent|document\.write|@import|url\(", own
    )


def test_dot_text_is_quoted() -> None:
    made = dot(hostile(['say "hi" \\N \\', "two\nlines"]))
    assert r'"say \"hi\" \\N \\\n#1 N 1 Q +0.00' in made
    assert made.count("\n") == 5 + 3 + 2 + 1
    assert "1 -> 2 [style=dashed" in made


@pytest.mark.skipif(shutil.which("dot") is None, reason="Graphviz is not installed")
def test_graphviz_reads_the_files() -> None:
    drawn = subprocess.run(["dot", "-Tplain"], input=dot(hostile()), capture_output=True, text=True, check=True)
    assert len([line for line in drawn.stdout.splitlines() if line.startswith("node ")]) == 1 + len(HOSTILE)
    assert drawn.stderr == ""


@pytest.mark.slow  # a browser starts
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")
def test_hostile_text_stands_on_the_page_as_it_is_and_nothing_of_it_runs(tmp_path: Path) -> None:
    file = tmp_path / "trees.html"
    file.write_text(page([hostile()]), encoding="utf-8")
    assert CHROMIUM is not None
    seen = subprocess.run(
        [
            CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--v=0",
            f"--user-data-dir={tmp_path / 'profile'}", "--virtual-time-budget=5000", "--dump-dom", file.as_uri(),
        ],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    dom, body = seen.stdout, re.sub(r"<script.*?</script>", "", seen.stdout, flags=re.DOTALL)
    assert "<title>Search trees</title>" in dom
    assert dom.count("<script") == 2
    assert "<img" not in body
    text = html.unescape(re.sub(r"<[^>]*>", "\n", body))
    for told in HOSTILE[:5]:
        assert told in text
    assert "right \\x202eto left\\x202c, zero\\x200bwidth, \\x1b[31mred" in text
    assert HOSTILE[6] in text
    assert HOSTILE[7] in text
    assert "CONSOLE" not in seen.stderr  # no error of the page's script, nothing that the policy had to stop
