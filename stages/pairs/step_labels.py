"""Labels of single steps: for process reward models, and unpaired ones for KTO (spec mcts R5). Pure."""

from __future__ import annotations

from typing import NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from stages.pairs.finished import FinishedTree, mean_q, samples, score
from stages.pairs.step_rules import StepRule, eligible
from stages.pairs.trajectories import Leaf


class LabelRule(BaseModel):
    """min_samples: decided ends behind a label; above: hard label 1 where mc exceeds it (0: any right end, HE)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    min_samples: int = Field(1, ge=1)
    above: float = Field(0.0, ge=0, lt=1)


class StepLabels(NamedTuple):
    """Labels along one trajectory, up to and with its first hard 0. None: too few samples.

    consensus: whether a judge, if asked, found the same first error (index from 0, None: no error).
    """

    soft: list[float | None]
    hard: list[int | None]
    consensus: bool | None = None

    @property
    def first_error(self) -> int | None:
        """Index of the first step labelled 0."""
        return self.hard.index(0) if 0 in self.hard else None


def step_labels(leaf: Leaf, rule: LabelRule) -> StepLabels:
    """soft: mc of each step; hard: whether it exceeds `above`."""
    soft: list[float | None] = []
    hard: list[int | None] = []
    for node in leaf.path:
        known = node.mc is not None and samples(node) >= rule.min_samples
        soft.append(node.mc if known else None)
        hard.append(int(node.mc > rule.above) if node.mc is not None and known else None)
        if hard[-1] == 0:
            break
    return StepLabels(soft, hard)


def lost_prefixes(tree: FinishedTree) -> list[Leaf]:
    """Paths to steps that were probed and never came right, where their roll-outs are no nodes (recorded trees)."""
    lost = [n for n in tree.nodes[1:] if n.mc == 0 and not n.is_terminal and not tree.children[n.node_id]]
    paths = [(node, tree.lineage(node)) for node in lost]
    return [Leaf(node, path, mean_q(path)) for node, path in paths]


def agreed(labels: StepLabels, judged_error: int | None) -> StepLabels:
    """The labels with the flag set whether the judge's first error is theirs."""
    return labels._replace(consensus=labels.first_error == judged_error)


class Unpaired(NamedTuple):
    """One step with a thumb up or down; weight: how far its score lies from the middle, 1 for certain right or wrong."""

    node_id: int
    label: bool
    weight: float


def unpaired(tree: FinishedTree, rule: StepRule) -> list[Unpaired]:
    """Every eligible node whose score is at least half a margin away from the middle of its scale; of a turn tree those of
    the first turn. So steps with different thumbs differ by the margin, in units of the score, as pairs do."""
    middle = 0.5 if rule.score == "mc" else 0.0
    made = []
    for parent in tree.nodes:
        for node in eligible(tree, parent, rule):
            value = score(node, rule.score)
            away = 0.0 if value is None else value - middle
            if away and abs(away) >= rule.margin / 2 and not tree.history(node):
                made.append(Unpaired(node.node_id, away > 0, abs(away) / (1 - middle)))
    return made
