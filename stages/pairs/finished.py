"""A finished tree as the pair rules see it: rows, children, paths and ends. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

from msgspec.structs import replace

from pipeline.tree import Node, Tree

ScoreName = Literal["q", "mc", "advantage", "value"]
CERTAIN = 10**6  # samples that an end is worth: its outcome cannot change


class FinishedTree:
    """The nodes of one tree in order of creation. Raises ValueError when they are not one whole tree.

    In a turn tree an attempt that was answered is an end like its siblings, whatever the later turns brought.
    """

    def __init__(self, tree: Tree, nodes: Sequence[Node]) -> None:
        self.tree = tree
        self.nodes = [as_attempt(node) for node in sorted(nodes, key=lambda node: node.node_id)]
        if [node.node_id for node in self.nodes] != list(range(len(self.nodes))) or not nodes:
            raise ValueError(f"tree {tree.tree_id}: {len(nodes)} nodes with gaps; give all nodes of one tree")
        self.children: list[list[Node]] = [[] for _ in self.nodes]
        for node in self.nodes[1:]:
            self.children[node.parent_id or 0].append(node)
        self.ends = [(node, self.lineage(node)) for node in self.nodes[1:] if outcome(node)]

    def lineage(self, node: Node) -> list[Node]:
        """The nodes from the first step to `node`; empty for the root."""
        path = []
        while node.parent_id is not None:
            path.append(node)
            node = self.nodes[node.parent_id]
        return path[::-1]

    def history(self, node: Node) -> list[Node]:
        """The turns before the one `node` belongs to: the path to the last node that was answered before it."""
        path = self.lineage(node)[:-1]
        while path and path[-1].observation is None:
            path.pop()
        return path

    def continuation(self, node: Node, right: bool, whole: bool = False) -> list[Node] | None:
        """From `node` to an end: the right one with the highest mean Q, or the wrong one with the lowest; None.

        whole: only ends that the policy set itself. A cut answer may be decided, too: a right one that went on behind
        its marked answer, a wrong one that never came to an answer.
        """
        depth = node.depth - 1
        found = [
            (mean_q(path[depth:]), end.node_id, path[depth:])
            for end, path in self.ends
            if outcome(end) == (1 if right else -1)
            and len(path) > depth
            and path[depth] is node
            and (really_ended(end) or not whole)
        ]
        if not found:
            return None
        return min(found, key=lambda entry: (-entry[0] if right else entry[0], entry[1]))[2]


def as_attempt(node: Node) -> Node:
    """An attempt that was answered, without what followed; any other node as it is."""
    if node.is_terminal or node.outcome is None:
        return node
    right, value = node.outcome > 0, node.value or 0.0
    return replace(
        node, is_terminal=True, visits=node.own_visits, value_sum=value, q=value,
        advantage=node.advantage - node.q + value,
        terminals=1, correct=int(right), wrong=int(not right), mc=float(right), mc_n=1,
    )  # fmt: skip


def finished_trees(trees: Sequence[Tree], nodes: Sequence[Node]) -> list[FinishedTree]:
    """The trees of one prompt, each with its nodes. Raises ValueError as FinishedTree does."""
    of_tree: dict[str, list[Node]] = {}
    for node in nodes:
        of_tree.setdefault(node.tree_id, []).append(node)
    return [FinishedTree(tree, of_tree.get(tree.tree_id, [])) for tree in trees]


def outcome(node: Node) -> int:
    """+1 for a right end, -1 for a wrong one, 0 for what is no end or not decided."""
    return node.correct - node.wrong if node.is_terminal else 0


def really_ended(node: Node) -> bool:
    """Whether the policy itself ended the answer here; only then does an end-of-sequence token belong behind it."""
    return node.is_terminal and node.finish_reason == "eos"


def mean_q(path: Sequence[Node]) -> float:
    """Mean Q over the steps of a path."""
    return math.fsum([node.q for node in path]) / len(path)


def by_outcome(end: int, value: float) -> float:
    """(2 outcome + value) / 3, value on [-1, 1]: any right end stands above any wrong one, equals by their value."""
    return (2 * end + max(-1.0, min(1.0, value))) / 3


def score(node: Node, name: ScoreName) -> float | None:
    """The score by which siblings are compared; None when it is not known."""
    found: float | None = getattr(node, name)
    return found


def samples(node: Node) -> int:
    """How many decided samples stand behind `mc`; an end is certain."""
    return CERTAIN if node.is_terminal and outcome(node) else node.mc_n


def text_of(path: Sequence[Node]) -> str:
    """The steps as one text."""
    return "".join([node.step_text for node in path])


def tokens_of(path: Sequence[Node]) -> tuple[int, ...]:
    """The steps as token ids, with what an environment said between them."""
    ids: list[int] = []
    for node in path:
        ids += node.step_token_ids
        ids += node.observation_token_ids if node is not path[-1] else ()
    return tuple(ids)


def common_prefix(a: Sequence[object], b: Sequence[object]) -> int:
    """How many items two sequences begin with in common."""
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
