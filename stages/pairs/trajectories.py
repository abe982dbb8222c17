"""Whole answers out of a tree: right against wrong leaves, and ranked lists (spec mcts R5). Pure."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from pipeline import ids
from pipeline.tree import Node
from stages.judges.recompute import all_hold
from stages.pairs.finished import FinishedTree, by_outcome, common_prefix, mean_q, outcome, text_of
from stages.pairs.segments import Segment
from stages.pairs.step_rules import StepPair, sound


class TrajectoryRule(BaseModel):
    """Which wrong leaf stands against a right one: best_worst (lowest mean Q), hard_negative (longest common prefix) or
    random.

    sound: least value of each step of the chosen one, where known: a right answer behind a step that the search itself holds
    for wrong is no right answer. None: the outcome alone counts. recompute: nor does it state a false equation.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    order: Literal["best_worst", "hard_negative", "random"] = "hard_negative"
    max_pairs: int = Field(4, ge=1)  # of a tree
    max_uses: int = Field(1, ge=1)  # of a leaf
    sound: float | None = Field(0.0, ge=-1, le=1)
    recompute: bool = False


class Leaf(NamedTuple):
    """An end with an outcome, the steps of its answer and their mean Q. history: the turns before (turn trees)."""

    node: Node
    path: list[Node]
    mean: float
    history: tuple[Node, ...] = ()


def leaves(tree: FinishedTree) -> list[Leaf]:
    """Ends with a decided outcome, highest mean Q first, then by node id."""
    found = []
    for node, path in tree.ends:
        history = tree.history(node)
        answer = path[len(history) :]
        found.append(Leaf(node, answer, mean_q(answer), tuple(history)))
    return sorted(found, key=lambda leaf: (-leaf.mean, leaf.node.node_id))


def first_turn(tree: FinishedTree) -> list[Leaf]:
    """The leaves that answer the prompt itself; all but in turn trees."""
    return [leaf for leaf in leaves(tree) if not leaf.history]


def trajectory_pairs(tree: FinishedTree, rule: TrajectoryRule) -> list[Segment]:
    """Right and sound leaves, best first, each with up to `max_uses` wrong ones of the same turn; margin: difference of
    the mean Q."""
    everything = leaves(tree)
    right = [leaf for leaf in everything if outcome(leaf.node) > 0 and trusted(leaf, rule)]
    wrong = sorted((leaf for leaf in everything if outcome(leaf.node) < 0), key=lambda w: (w.mean, w.node.node_id))
    drawn = ids.stream("trajectory_pairs", tree.tree.tree_id, rule.order)
    uses: dict[int, int] = {}
    made: list[Segment] = []
    for good in right:
        rivals = [bad for bad in wrong if bad.history == good.history]
        for bad in ORDERS[rule.order](good, rivals, drawn):
            if len(made) == rule.max_pairs:
                return made
            pair = good.node.node_id, bad.node.node_id
            if max(uses.get(name, 0) for name in pair) < rule.max_uses:
                uses |= {name: uses.get(name, 0) + 1 for name in pair}
                parent = good.history[-1].node_id if good.history else 0
                arms = tuple(good.path), tuple(bad.path)
                made.append(Segment(StepPair(parent, *pair, good.mean - bad.mean), "trajectory", good.history, *arms))
    return made


def trusted(leaf: Leaf, rule: TrajectoryRule | ListRule) -> bool:
    """Whether a right answer came by right steps, as far as search and arithmetic know."""
    return sound(leaf.path, rule.sound) and (not rule.recompute or all_hold(text_of(leaf.path)))


def _as_given(good: Leaf, wrong: Sequence[Leaf], drawn: random.Random) -> list[Leaf]:
    return list(wrong)


def _nearest(good: Leaf, wrong: Sequence[Leaf], drawn: random.Random) -> list[Leaf]:
    return sorted(wrong, key=lambda bad: -shared_steps(good, bad))


def _shuffled(good: Leaf, wrong: Sequence[Leaf], drawn: random.Random) -> list[Leaf]:
    return drawn.sample(wrong, len(wrong))


ORDERS: Mapping[str, Callable[[Leaf, Sequence[Leaf], random.Random], list[Leaf]]] = {
    "best_worst": _as_given,
    "hard_negative": _nearest,
    "random": _shuffled,
}


def shared_steps(a: Leaf, b: Leaf) -> int:
    """Steps two leaves have in common from the prompt on."""
    return common_prefix([n.node_id for n in a.path], [n.node_id for n in b.path])


class ListRule(BaseModel):
    """When the leaves of a tree make a ranked list (TPO), and how long it may be. sound, recompute: as of
    TrajectoryRule, of right ones."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_size: int = Field(8, ge=3)
    min_levels: int = Field(3, ge=2)  # different scores
    min_spread: float = Field(0.5, ge=0)  # best score minus worst
    sound: float | None = Field(0.0, ge=-1, le=1)
    recompute: bool = False


class Ranked(NamedTuple):
    """A place in a ranked list; score on [-1, 1]; `shared`: steps in common with the best."""

    leaf: Leaf
    score: float
    shared: int


def ranked_list(tree: FinishedTree, rule: ListRule) -> list[Ranked]:
    """The leaves by (outcome, mean Q), best first; empty when they do not differ enough.

    score = (2 outcome + mean Q) / 3 puts that order on one scale. Too long a list keeps its best, its worst and what
    lies evenly between. Of a turn tree the answers of the first turn.
    """
    told = [leaf for leaf in first_turn(tree) if outcome(leaf.node) < 0 or trusted(leaf, rule)]
    scored = [(by_outcome(outcome(leaf.node), leaf.mean), leaf) for leaf in told]
    scored.sort(key=lambda entry: (-entry[0], entry[1].node.node_id))
    scored = [scored[i] for i in spread(len(scored), rule.max_size)]
    levels = {round(value, 12) for value, _ in scored}
    if len(levels) < rule.min_levels or scored[0][0] - scored[-1][0] < rule.min_spread:
        return []
    best = scored[0][1]
    return [Ranked(leaf, value, shared_steps(best, leaf)) for value, leaf in scored]


def spread(n: int, size: int) -> list[int]:
    """At most `size` of n places: the first, the last, and evenly spaced ones between."""
    return list(range(n)) if n <= size else [i * (n - 1) // (size - 1) for i in range(size)]
