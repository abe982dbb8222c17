"""One prompt and all that was learned about it, as text for a terminal."""

from __future__ import annotations

import sys
from typing import Any

import msgspec
from rich.console import Console
from rich.text import Text
from rich.tree import Tree as Branches

from pipeline.drawing import Drawing, ending, facts, of_shard, printable, shorten
from pipeline.errors import PlanError
from pipeline.pair import Pair
from pipeline.plan import Job, Plan
from pipeline.records import Candidate, Judgment, Prompt, Rationale, Record, Reject
from pipeline.report import open_run
from pipeline.store import Store
from pipeline.tree import Node, Tree

WIDE = 6  # children of a node that are drawn, where no pair and no best path asks for more
COLOURS = {"right": "green", "wrong": "red", "undecided": "yellow"}


def show(path: str, prompt_id: str) -> None:
    """Prints every record of the prompt whose id begins with `prompt_id`. Raises PlanError when none or several do."""
    plan, store, n_shards = open_run(path)
    found = [
        (p, shard)
        for name in (j.name for j in plan.jobs.values() if j is plan.source or j.stage.planted == "makes")
        for shard in sorted(store.done(name))
        for p in store.read(name, Prompt, shard, main=True)
        if p.prompt_id.startswith(prompt_id)
    ]
    if len(found) != 1:
        some = ", ".join(p.prompt_id[:12] for p, _ in found[:5])
        hint = f"several begin so: {some}" if found else f"ids stand in {store.path(plan.source.name)}"
        raise PlanError(f"{len(found)} prompts of {path} have an id that begins with {prompt_id!r}; {hint}")
    prompt, shard = found[0]
    for name, job in plan.jobs.items():
        if shard not in store.done(name):
            print(f"\n== {name}: not done yet ({n_shards} shards in all)")
            continue
        tell(plan, store, job, shard, prompt.prompt_id)


def tell(plan: Plan, store: Store, job: Job, shard: int, prompt_id: str | None = None) -> None:
    """Prints what `job` made in a shard, of one prompt or of all."""
    made: tuple[type[Record], ...] = (*job.stage.makes(), Reject)
    for cls in (cls for cls in made if cls not in (Tree, Node)):
        rows: list[Record] = list(store.read(job.name, cls, shard, main=cls is job.table))
        rows = [row for row in rows if prompt_id in (None, row.prompt_id)]
        if rows:
            print(f"\n== {job.name}: {len(rows)} {cls.__name__}")
        for row in rows:
            if prompt_id is None and not isinstance(row, Prompt):
                print(f"  (prompt {row.prompt_id[:12]})")
            write_record(row)
    if Tree in made:
        for drawing in of_shard(plan, store, job, shard, prompt_id):
            print(f"\n== {job.name}: 1 Tree")
            draw(drawing, Console(file=sys.stdout, highlight=False, width=None if sys.stdout.isatty() else 120))


def draw(drawing: Drawing, console: Console) -> None:
    """One search tree with the pairs taken from it. Wide forks show what matters and count the rest."""
    console.print(f"{drawing.tree.tree_id[:12]}: {', '.join(drawing.about())}", markup=False)
    for root in drawing.children.get(None, []):
        told = Branches(Text("prompt  ").append(_numbers(root)), guide_style="dim")
        _grow(told, drawing, root, console.width)
        console.print(told)
    for number, pair in enumerate(drawing.pairs, 1):
        console.print(f"  pair {number}  {pair}", markup=False)


def _grow(branch: Branches, drawing: Drawing, parent: Node, width: int) -> None:
    children = drawing.children.get(parent.node_id, [])
    drawn = drawing.telling(children, WIDE)
    for node in drawn:
        _grow(branch.add(_line(drawing, node, width - 4 * node.depth)), drawing, node, width)
    if rest := [node for node in children if node not in drawn]:
        right, wrong = sum([node.correct for node in rest]), sum([node.wrong for node in rest])
        branch.add(Text(f"… {len(rest)} more; ends below them: {right} right, {wrong} wrong", "dim"))


def _line(drawing: Drawing, node: Node, width: int) -> Text:
    """A step with its numbers; the text takes what they leave of `width`."""
    told = _numbers(node)
    if end := ending(node):
        told.append(f"  {end}", COLOURS[end.split(":")[0].split(" ")[0]])
    if node.observation is not None:
        told.append(f"  answered: {shorten(node.observation, 40)}", "cyan")
    for mark in drawing.marks(node):
        told.append(f"  {mark}", "bold green" if mark.startswith("chosen") else "bold red")
    step = shorten(node.step_text, max(24, width - len(told) - 2))
    return Text(step, "bold" if node.on_best_path else "").append("  ").append(told)


def _numbers(node: Node) -> Text:
    return Text(" ".join(facts(node)), "dim")


def write_record(row: Record) -> None:
    """One record as a few readable lines."""
    out = sys.stdout
    for line in describe(row):
        out.write(printable(line) + "\n")


def describe(row: Record) -> list[str]:
    """The lines that tell a record: its own form for the main types, all set fields for others."""
    if isinstance(row, Prompt):
        told = [f"[{row.prompt_id[:12]}] {m.role}: {m.content}" for m in row.messages]
        return [*told, f"reference: {row.reference}"]
    if isinstance(row, Candidate):
        end = f"{row.model or 'given'}, {row.finish_reason or 'given'}, {row.n_tokens or '?'} tokens"
        return [f"[{row.candidate_id[:12]}] ({end})", *_indent(row.text)]
    if isinstance(row, Judgment):
        value = "–" if row.value is None else f"{row.value:.3g} of {row.scale_max:g}"
        said = f"  {row.judge_id} {row.aspect or row.mode} of {', '.join(c[:12] for c in row.cand_ids)}: {value} ({row.status})"
        return [said, *_indent(row.raw_text or "", 6)]
    if isinstance(row, Rationale):
        kind = f"{row.kind} of the {row.arm}" if row.arm else row.kind
        head = f"[{row.rationale_id[:12]}] {kind}, {'post-hoc' if row.label_visible else 'blind'}, {row.status}"
        return [
            head + (f": {row.reject_reason}" if row.reject_reason else ""),
            *_indent(row.text or row.raw_text or ""),
        ]
    if isinstance(row, Pair):
        return [
            f"[{row.pair_id[:12]}] {row.kind}, {row.label_source}, gap {row.score_gap}",
            f"  chosen ({row.chosen_score}):",
            *_indent(row.chosen_messages[-1].content, 6),
            f"  rejected ({row.rejected_score}):",
            *_indent(row.rejected_messages[-1].content, 6),
        ]
    fields: dict[str, Any] = msgspec.to_builtins(row)
    return [f"  {name}: {value}" for name, value in fields.items() if value not in (None, "", [])]


def _indent(text: str, by: int = 4) -> list[str]:
    return [" " * by + line for line in text.splitlines()]
