"""How a value travels to the root (spec mcts R2, Backup variants). Pure.

`created` is called once for each new child, in order; `reached` when a walk ends in a node (a revisited end, or the end
of a simulation in mode trajectory).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from stages.search.rules import SearchRules
from stages.search.tree import DEAD_ENDS, TreeNode


class Backup(NamedTuple):
    """One way to back up."""

    created: Callable[[TreeNode], None]
    reached: Callable[[TreeNode], None]


def backup(rules: SearchRules) -> Backup:
    """The back-up the rules name."""
    if rules.backup == "advantage":
        return Backup(_start, lambda node: _walk_back(node, rules.gamma))
    gamma = rules.gamma if rules.backup == "discounted" else 1.0
    best = rules.backup == "max"

    def created(node: TreeNode) -> None:
        if node.value is not None:
            unanswered = node.terminal_reason not in (None, "answer") and node.child.final_answer is None
            event(node, node.value, gamma, best, stays=unanswered and rules.invalid_stays)

    def reached(node: TreeNode) -> None:
        if node.terminal_reason is not None and node.terminal_reason not in DEAD_ENDS:
            created(node)

    return Backup(created, reached)


def event(node: TreeNode, value: float, gamma: float = 1.0, best: bool = False, stays: bool = False) -> None:
    """E(node) += 1; N += 1 and W += value · gamma^distance up to the root; Q = W / N, or the best seen below.

    stays: nothing above the node hears of it.
    """
    node.own_visits += 1
    above: TreeNode | None = node
    while above is not None:
        above.visits += 1
        above.value_sum += value
        above.q = _best(above) if best else above.value_sum / above.visits
        value *= gamma
        above = None if stays else above.parent


def _best(node: TreeNode) -> float:
    seen = [child.q for child in node.children if child.visits]
    if node.own_visits and node.value is not None:
        seen.append(node.value)
    return max(seen)


def _start(node: TreeNode) -> None:
    """MCTS-DPO: before any visit Q is the gain of the step, r = R(node) - R(parent)."""
    node.q = _gain(node)


def _walk_back(node: TreeNode, gamma: float) -> None:
    """MCTS-DPO: Q = r + gamma V, V = Σ max(1, N_c) Q_c / Σ max(1, N_c), from the end of the path to the root."""
    above: TreeNode | None = node
    while above is not None:
        if above.children:
            weights = [max(1, child.visits) for child in above.children]
            gains = [weight * child.q for weight, child in zip(weights, above.children, strict=True)]
            above.value_sum = sum(gains) / sum(weights)
        above.visits += 1
        if above.parent is not None:
            above.q = _gain(above) + gamma * above.value_sum
        above = above.parent


def _gain(node: TreeNode) -> float:
    return node.reward - (node.parent.reward if node.parent else 0.0)
