"""Which siblings make a pair: the rules S1 to S6 of spec mcts R5. Pure functions of a finished tree."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from pipeline.tree import Node
from stages.judges.recompute import all_hold
from stages.pairs.finished import FinishedTree, ScoreName, mean_q, samples, score, text_of
from stages.pairs.gate import EPSILON

RuleName = Literal["path_extremes", "topk", "all_margin", "first_error", "pivotal", "bisect"]


class StepRule(BaseModel):
    """One rule with its numbers. A score of None keeps a node out."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rule: RuleName = "topk"
    score: ScoreName = "q"
    min_margin: float | None = Field(None, ge=0)  # None: 0.5 for topk and all_margin, else any above 0
    min_visits: int = Field(1, ge=0)  # of either arm
    min_samples: int = Field(4, ge=1)  # decided ends behind an mc of 0 (first_error, pivotal, bisect)
    top: int = Field(2, ge=1)  # topk: so many of each side, twice as many against a single one
    right_share: float = Field(0.5, ge=0, le=1)  # first_error: least mc of the chosen sibling
    pivot: float = Field(0.2, gt=0)  # pivotal: least change of mc, up and down
    window: tuple[float, float] | None = (0.2, 0.8)  # pivotal: mc of the parent
    sound: float | None = Field(0.0, ge=-1, le=1)  # least value of the chosen step and of each before it, where known
    recompute: bool = False  # no chosen step states a false equation or follows one
    check_continuations: bool = False  # topk: mean Q of the best right end above that of the worst wrong one
    best_path_only: bool = False  # only forks on the most visited path
    allow_dead_ends: bool = False  # steps after which no step or answer came, as rejected arms
    allow_reference: bool = False  # steps of the reference solution

    @property
    def margin(self) -> float:
        """The margin that is asked for."""
        if self.min_margin is not None:
            return self.min_margin
        return 0.5 if self.rule in ("topk", "all_margin") else 0.0


class StepPair(NamedTuple):
    """Two children of one node; margin: difference of their scores."""

    parent: int
    chosen: int
    rejected: int
    margin: float


def step_pairs(tree: FinishedTree, rule: StepRule) -> list[StepPair]:
    """What the rule proposes, each with a positive margin of at least `margin`; widest first, then by node ids."""
    found: dict[tuple[int, int], StepPair] = {}
    for parent in tree.nodes:
        if not tree.children[parent.node_id] or (rule.best_path_only and not parent.on_best_path):
            continue
        if not sound(tree.lineage(parent), rule.sound):
            continue  # what is better after a mistake is no lesson in steps
        for chosen, rejected in RULES[rule.rule](tree, parent, rule):
            margin = _s(chosen, rule) - _s(rejected, rule)
            if (
                chosen is not rejected
                and sound([chosen], rule.sound)
                and (not rule.recompute or all_hold(text_of(tree.lineage(chosen))))
                and margin > EPSILON
                and margin >= rule.margin - EPSILON
            ):
                key = chosen.node_id, rejected.node_id
                found[key] = StepPair(parent.node_id, *key, margin)
    return sorted(found.values(), key=lambda pair: (-round(pair.margin, 12), pair.chosen, pair.rejected))


def sound(path: Sequence[Node], least: float | None) -> bool:
    """Whether the search itself holds no step of `path` for wrong: each has a value of at least `least`, where known."""
    return least is None or all(node.value is None or node.is_terminal or node.value >= least for node in path)


def _s(node: Node, rule: StepRule) -> float:
    found = score(node, rule.score)
    assert found is not None
    return found


def eligible(tree: FinishedTree, parent: Node, rule: StepRule) -> list[Node]:
    """Children that may stand in a pair at all."""
    return [
        child
        for child in tree.children[parent.node_id]
        if child.visits >= rule.min_visits
        and score(child, rule.score) is not None
        and (child.source == "sampled" or rule.allow_reference)
        and (rule.allow_dead_ends or not _dead_end(child))
    ]


def _dead_end(node: Node) -> bool:
    return node.terminal_reason in ("error", "no_valid_child")


def _chosen(nodes: Sequence[Node]) -> list[Node]:
    return [node for node in nodes if not _dead_end(node)]


def _rank(node: Node, rule: StepRule) -> tuple[float, int, int]:
    return _s(node, rule), node.visits, -node.node_id


Arms = list[tuple[Node, Node]]


def _path_extremes(tree: FinishedTree, parent: Node, rule: StepRule) -> Arms:
    """S1 (MCTS-DPO): on the path of most visits, the best against the worst child."""
    nodes = eligible(tree, parent, rule)
    best = _chosen(nodes)
    if not parent.on_best_path or not best:
        return []
    return [(max(best, key=lambda n: _rank(n, rule)), min(nodes, key=lambda n: _rank(n, rule)))]


def _topk(tree: FinishedTree, parent: Node, rule: StepRule) -> Arms:
    """S2 (rStar-Math): the best children with a right end below against the worst with a wrong one."""
    nodes = eligible(tree, parent, rule)
    right = sorted((n for n in _chosen(nodes) if n.correct), key=lambda n: (-_s(n, rule), n.node_id))
    wrong = sorted((n for n in nodes if n.wrong), key=lambda n: (_s(n, rule), n.node_id))
    of_right = right[: rule.top * (2 if len(wrong) == 1 else 1)]
    of_wrong = wrong[: rule.top * (2 if len(right) == 1 else 1)]
    arms = [(a, b) for a in of_right for b in of_wrong]
    return [(a, b) for a, b in arms if _continues(tree, a, b)] if rule.check_continuations else arms


def _continues(tree: FinishedTree, chosen: Node, rejected: Node) -> bool:
    best, worst = tree.continuation(chosen, True), tree.continuation(rejected, False)
    return best is not None and worst is not None and mean_q(best) > mean_q(worst)


def _all_margin(tree: FinishedTree, parent: Node, rule: StepRule) -> Arms:
    """S3: every two children that differ enough."""
    nodes = eligible(tree, parent, rule)
    return [(a, b) for a in _chosen(nodes) for b in nodes]


def _failed(tree: FinishedTree, parent: Node, rule: StepRule) -> list[Node]:
    """Children after which nothing came right, though it did from their parent."""
    if not parent.mc or (parent.parent_id is not None and parent.mc_n < rule.min_samples and rule.rule == "bisect"):
        return []
    return [n for n in eligible(tree, parent, rule) if n.mc == 0 and samples(n) >= rule.min_samples]


def _first_error(tree: FinishedTree, parent: Node, rule: StepRule) -> Arms:
    """S4: a step that lost the solution against the best sibling that keeps it."""
    siblings = _chosen(eligible(tree, parent, rule))
    keeping = [n for n in siblings if n.mc is not None and n.mc >= rule.right_share]
    if not keeping:
        return []
    best = max(keeping, key=lambda n: _rank(n, rule))
    return [(best, failed) for failed in _failed(tree, parent, rule)]


def _pivotal(tree: FinishedTree, parent: Node, rule: StepRule) -> Arms:
    """S5: a step that raises the chance of a right end against one that lowers it (Phi-4's pivotal tokens)."""
    if parent.mc is None or (rule.window and not rule.window[0] <= parent.mc <= rule.window[1]):
        return []
    known = [(n, n.mc - parent.mc) for n in eligible(tree, parent, rule) if n.mc is not None]
    known = [(n, change) for n, change in known if samples(n) >= rule.min_samples]
    up = [n for n, change in known if change >= rule.pivot - EPSILON and not _dead_end(n)]
    down = [n for n, change in known if change <= EPSILON - rule.pivot]
    return [(a, b) for a in up for b in down]


def _bisect(tree: FinishedTree, parent: Node, rule: StepRule) -> Arms:
    """S6 (OmegaPRM): the first wrong step against the first step of a right roll-out from the last good prefix.

    Both sides of the fork must have been probed: a first error is claimed from `min_samples` roll-outs only. One right end
    may be luck: a step after which fewer come right than before it does not keep the solution.
    """
    right = [
        n for n in _chosen(eligible(tree, parent, rule)) if n.correct and (n.mc or 0) >= (parent.mc or 0) - EPSILON
    ]
    if not right:
        return []
    best = max(right, key=lambda n: (n.mc or 0.0, n.visits, -n.node_id))
    return [(best, failed) for failed in _failed(tree, parent, rule)]


RULES: Mapping[RuleName, Callable[[FinishedTree, Node, StepRule], Arms]] = {
    "path_extremes": _path_extremes,
    "topk": _topk,
    "all_margin": _all_margin,
    "first_error": _first_error,
    "pivotal": _pivotal,
    "bisect": _bisect,
}
