"""Search trees as files to look at: one self-contained HTML page, or one Graphviz file for each tree."""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
import re
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pipeline.drawing import Drawing, drawings, ending, facts, printable, shorten
from pipeline.errors import PlanError
from pipeline.store import Store
from pipeline.tree import Node

TREES_PER_PAGE = 500  # about 10 MB; more go to further pages
FILLS = {1: "#d9f2df", -1: "#fbdcd9", None: "#f7eccb"}  # right, wrong, undecided ends
BORDERS = {"chosen": "darkgreen", "rejected": "firebrick", "chosenrejected": "purple"}


File = tuple[str, str, int]  # name, content, trees in it


def export_trees(path: str, folder: str, name: str) -> None:
    """Draws every finished tree of the run at `path` in the format `name`. Raises PlanError: no trees, `folder` is not
    empty."""
    store, n = Store(folder), 0
    if store.names():
        raise PlanError(f"{folder} is not empty; give a new folder")
    store.create()
    for file, text, trees in FORMATS[name](drawings(path)):
        store.write_text(text, file)
        n += trees
    print(f"{n:,} trees to {folder}")


def dot_files(trees: Iterable[Drawing]) -> Iterator[File]:
    """A Graphviz file for each tree, named after it."""
    return ((f"{drawing.tree.tree_id}.dot", dot(drawing), 1) for drawing in trees)


def dot(drawing: Drawing) -> str:
    """One tree in the DOT language: steps top down, ends coloured by their outcome, a dashed arrow for each pair."""
    asked = [drawing.prompt.text, ", ".join(drawing.about())]
    lines = [
        f"digraph {_quoted(drawing.tree.tree_id)} {{",
        f"  graph [label={_quoted(*map(_folded, asked))}, labelloc=t, fontname=Helvetica]",
        '  node [shape=box, style="rounded,filled", fillcolor=white, fontname=Helvetica, fontsize=10]',
        "  edge [fontname=Helvetica, fontsize=9]",
    ]
    for node in drawing.nodes:
        lines.append(f"  {node.node_id} [{_box(drawing, node)}]")
        if node.parent_id is not None:
            width = ", penwidth=2" if node.on_best_path else ""
            lines.append(f"  {node.parent_id} -> {node.node_id} [arrowhead=none{width}]")
    for number, pair in enumerate(drawing.pairs, 1):
        label = _quoted(f"pair {number}", f"{pair.rule}, {pair.form}")
        lines.append(
            f"  {pair.chosen} -> {pair.rejected} [style=dashed, color=purple, constraint=false, label={label}]"
        )
    return "\n".join((*lines, "}\n"))


def _box(drawing: Drawing, node: Node) -> str:
    text = _folded("prompt" if node.parent_id is None else shorten(node.step_text, 160))
    marks, end = drawing.marks(node), ending(node)
    label = _quoted(text, " ".join(facts(node)), *([end] if end else []), *marks)
    fill = FILLS[node.outcome] if node.is_terminal else "white"
    border = f', penwidth=2, color="{BORDERS["".join(mark.split()[0] for mark in marks)]}"' if marks else ""
    return f'label={label}, fillcolor="{fill}"{border}'


def _folded(text: str) -> str:
    return "\n".join(textwrap.wrap(printable(text), 44))


def _quoted(*lines: str) -> str:
    """Lines as one quoted DOT string: a backslash begins an escape there (`\\N`), a quotation mark ends it."""
    text = "\n".join(lines).replace("\\", "\\\\").replace('"', '\\"')
    return '"' + text.replace("\n", "\\n") + '"'


def pages(trees: Iterable[Drawing]) -> Iterator[File]:
    """`trees.html`, `trees-2.html`, …: collapsible trees, to be opened from disk."""
    rest = iter(trees)
    for number in itertools.count(1):
        if not (batch := list(itertools.islice(rest, TREES_PER_PAGE))):
            return
        yield "trees.html" if number == 1 else f"trees-{number}.html", page(batch), len(batch)


def page(batch: Iterable[Drawing]) -> str:
    """One page that needs no network and allows none. The trees are data, which the page's own script draws when a
    reader opens them; the policy names script and style by their hashes, so that no other could run."""
    template = Path(__file__).with_name("trees.html").read_text(encoding="utf-8")
    script, style = (re.search(f"<{tag}>(.*?)</{tag}>", template, re.DOTALL) for tag in ("script", "style"))
    assert script is not None
    assert style is not None
    allowed = {"SCRIPT_HASH": _hash(script[1]), "STYLE_HASH": _hash(style[1])}
    data = json.dumps([_told(drawing) for drawing in batch], ensure_ascii=True, separators=(",", ":"))
    # no character of a model's text may end the element it stands in
    allowed["DATA"] = data.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
    return re.sub("|".join(allowed), lambda found: allowed[found[0]], template)


def _hash(text: str) -> str:
    return "'sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() + "'"


def _told(drawing: Drawing) -> Mapping[str, Any]:
    tree = drawing.tree
    return {
        "id": tree.tree_id,
        "prompt_id": tree.prompt_id,
        "turns": [[m.role, printable(m.content)] for m in drawing.prompt.messages],
        "reference": None if drawing.prompt.reference is None else printable(drawing.prompt.reference),
        "about": [tree.job, *drawing.about()],
        "ends": [tree.n_correct, tree.n_wrong],
        "nodes": [_step(drawing, node) for node in drawing.nodes],
        "pairs": [{"chosen": p.chosen, "rejected": p.rejected, "text": printable(str(p))} for p in drawing.pairs],
    }


def _step(drawing: Drawing, node: Node) -> Mapping[str, Any]:
    told = {
        "id": node.node_id,
        "parent": node.parent_id,
        "text": printable(node.step_text),
        "facts": facts(node)[1:],
        "q": node.q if node.visits else None,
        "end": ending(node),
        "best": node.on_best_path,
        "open": node.node_id in drawing.leading,
        "observation": None if node.observation is None else printable(node.observation),
    }
    return {name: value for name, value in told.items() if value is not None and value is not False and value != ""}


FORMATS: Mapping[str, Callable[[Iterable[Drawing]], Iterator[File]]] = {"graphviz": dot_files, "html": pages}
