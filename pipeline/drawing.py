"""What a picture of a search tree says, whatever draws it: the tree, its pairs, and the words for its numbers."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from pipeline.errors import PlanError
from pipeline.pair import Pair
from pipeline.plan import Job, Plan
from pipeline.records import Prompt
from pipeline.report import open_run
from pipeline.store import Store
from pipeline.tree import Node, Tree

OUTCOMES = {1: "right", -1: "wrong", None: "undecided"}


class Taken(NamedTuple):
    """A pair that a job took from a tree; chosen and rejected are node ids, gap lies on [0, 1]."""

    job: str
    rule: str
    form: str
    chosen: int
    rejected: int
    gap: float | None

    def __str__(self) -> str:
        gap = "" if self.gap is None else f", gap {self.gap:.2f}"
        return f"{self.job}: #{self.chosen} over #{self.rejected} ({self.rule}, {self.form}{gap})"


@dataclass(frozen=True)
class Drawing:
    """A tree with its nodes in order of creation and the pairs taken from it; pairs are numbered from 1."""

    prompt: Prompt
    tree: Tree
    nodes: Sequence[Node]
    pairs: Sequence[Taken] = ()

    @cached_property
    def children(self) -> Mapping[int | None, Sequence[Node]]:
        """Node id -> the steps after it; None -> the root."""
        found: dict[int | None, list[Node]] = {}
        for node in self.nodes:
            found.setdefault(node.parent_id, []).append(node)
        return found

    @cached_property
    def leading(self) -> set[int]:
        """Ids of the nodes in pairs and of all above them."""
        above, found = {node.node_id: node.parent_id for node in self.nodes}, set[int]()
        for pair in self.pairs:
            for arm in (pair.chosen, pair.rejected):
                at: int | None = arm
                while at is not None and at not in found:
                    found.add(at)
                    at = above.get(at)
        return found

    def marks(self, node: Node) -> list[str]:
        """Its sides in pairs: `chosen 1, 4`, `rejected 2`."""
        sides = {
            "chosen": [n for n, pair in enumerate(self.pairs, 1) if pair.chosen == node.node_id],
            "rejected": [n for n, pair in enumerate(self.pairs, 1) if pair.rejected == node.node_id],
        }
        return [f"{side} {', '.join(map(str, numbers))}" for side, numbers in sides.items() if numbers]

    def telling(self, siblings: Sequence[Node], most: int) -> list[Node]:
        """Those that matter, in their order: what leads to a pair or lies on the best path, then the most visited."""
        ranked = sorted(
            siblings, key=lambda n: (n.node_id not in self.leading, not n.on_best_path, -n.visits, n.node_id)
        )
        asked = sum([node.node_id in self.leading or node.on_best_path for node in siblings])
        return sorted(ranked[: max(most, asked)], key=lambda node: node.node_id)

    def about(self) -> list[str]:
        """What the search came to."""
        tree = self.tree
        ends = f"{tree.n_correct} right, {tree.n_wrong} wrong, {tree.n_unknown} undecided"
        sims = [f"{tree.n_sims} simulations"] if tree.n_sims else []
        return [tree.status or "recorded", *sims, f"{tree.n_nodes} nodes", f"ends: {ends}", f"{len(self.pairs)} pairs"]


def facts(node: Node) -> list[str]:
    """What the search learned of a node, where known, in a few words each."""
    told = [f"#{node.node_id}", f"N {node.visits}"]
    if node.visits:
        told.append(f"Q {round(node.q, 2) + 0.0:+.2f}")  # no -0.00
    if node.mc is not None:
        told.append(f"mc {round(node.mc * node.mc_n)}/{node.mc_n}" if node.mc_n else f"mc {node.mc:.2f}")
    scores = {"self": node.self_eval, "judge": node.judge_score, "prm": node.prm_score}
    told += [f"{name} {value:.2f}" for name, value in scores.items() if value is not None]
    if node.multiplicity > 1:
        told.append(f"×{node.multiplicity}")
    return told


def ending(node: Node) -> str:
    """How the answer ended here, and whether it was right; empty where it goes on."""
    if not node.is_terminal and node.outcome is None:
        return ""
    answer = "" if node.final_answer is None else f": {shorten(node.final_answer, 24)}"
    reason = "" if node.terminal_reason in (None, "answer") else f" ({node.terminal_reason})"
    return f"{OUTCOMES[node.outcome]}{answer}{reason}"


def printable(text: str) -> str:
    """Model text that can be shown: what a terminal or a browser would obey (control, direction, zero width) is told."""
    return "".join(c if c in "\n\t" or unicodedata.category(c)[0] != "C" else f"\\x{ord(c):02x}" for c in text)


def shorten(text: str, width: int) -> str:
    """`text` on one line of about `width` characters: its beginning and its end, where results stand."""
    line = " ⏎ ".join(" ".join(part.split()) for part in printable(text).strip().splitlines() if part.strip())
    if len(line) <= width:
        return line
    tail = width // 3
    return f"{line[: width - tail - 3].rstrip()} … {line[-tail:].lstrip()}"


def drawings(path: str) -> Iterator[Drawing]:
    """Every finished tree of the run at `path`, shard by shard. Raises PlanError when there is no run or no tree in it."""
    plan, store, _ = open_run(path)
    sources = [job for job in plan.jobs.values() if Tree in job.stage.makes()]
    if not sources:
        raise PlanError(
            f"run {path} has no search trees; a job of stage search makes them; jobs: {', '.join(plan.jobs)}"
        )
    for job in sources:
        for shard in sorted(store.done(job.name)):
            yield from of_shard(plan, store, job, shard)


def of_shard(plan: Plan, store: Store, job: Job, shard: int, prompt_id: str | None = None) -> Iterator[Drawing]:
    """The trees that one shard of `job` holds, of one prompt or of all."""
    prompts = {p.prompt_id: p for p in store.read(plan.source.name, Prompt, shard, main=True)}
    nodes: dict[str, list[Node]] = {}
    for node in store.read(job.name, Node, shard, main=job.table is Node):
        nodes.setdefault(node.tree_id, []).append(node)
    pairs = _taken(plan, store, shard)
    for tree in store.read(job.name, Tree, shard, main=job.table is Tree):
        if prompt_id in (None, tree.prompt_id):
            yield Drawing(prompts[tree.prompt_id], tree, nodes.get(tree.tree_id, []), pairs.get(tree.tree_id, ()))


def _taken(plan: Plan, store: Store, shard: int) -> Mapping[str, Sequence[Taken]]:
    """Tree id -> the pairs taken from it."""
    found: dict[str, list[Taken]] = {}
    for name, job in plan.jobs.items():
        if Pair in job.stage.makes() and shard in store.done(name):
            for pair in store.read(name, Pair, shard, main=job.table is Pair):
                if fork := pair.tree:
                    arms = int(fork.chosen_node_id), int(fork.rejected_node_id)
                    taken = Taken(name, fork.rule or pair.kind, fork.form or pair.level, *arms, pair.score_gap)
                    found.setdefault(fork.tree_id, []).append(taken)
    return found
