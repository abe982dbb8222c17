"""Process labels: every decided path of a search tree with a label for each of its steps (spec mcts R5)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from pipeline import ids
from pipeline.stage import Context, Example, Stage
from pipeline.tree import Node, Trace, Tree
from stages.pairs.finished import finished_trees, outcome
from stages.pairs.step_labels import LabelRule, StepLabels, agreed, lost_prefixes, step_labels
from stages.pairs.trajectories import Leaf, first_turn


class LabelSteps(LabelRule, Stage):
    """Labels from the ends behind each step. Counts: `labelled`, `unlabelled` (no step has enough samples),
    `consensus:yes`, `consensus:no`."""

    version: ClassVar[int] = 1

    async def process(self, example: Example[Tree | Node], ctx: Context) -> list[Trace]:
        """One trace for each end with an outcome (of a turn tree, of its first turn), best first, then for each prefix
        that was found lost."""
        made: list[Trace] = []
        for tree in finished_trees(example.trees, example.nodes):
            for leaf in (*first_turn(tree), *lost_prefixes(tree)):
                labels = with_critic(leaf, step_labels(leaf, self))
                if all(label is None for label in labels.hard):
                    ctx.count("unlabelled")
                    continue
                ctx.count("labelled")
                if labels.consensus is not None:
                    ctx.count(f"consensus:{'yes' if labels.consensus else 'no'}")
                made.append(_trace(tree.tree, leaf, labels))
        return made


def with_critic(leaf: Leaf, labels: StepLabels) -> StepLabels:
    """The labels, compared with the first step that the critic of the search put below the middle.

    Without a flag where the critic was not asked about every step up to there (ends are not, their outcome is known).
    """
    for place, verdict in enumerate(critic(leaf.path)):
        if verdict is None:
            unasked_end = place == len(leaf.path) - 1 and place > 0
            return (
                agreed(labels, labels.first_error if labels.first_error == place else None) if unasked_end else labels
            )
        if verdict < 0:
            return agreed(labels, place)
    return agreed(labels, None)


def critic(path: Sequence[Node]) -> list[float | None]:
    """What the judge, else the self-evaluation said of each step, on [-1, 1]."""
    return [
        node.judge_score if node.judge_score is not None else None if node.self_eval is None else 2 * node.self_eval - 1
        for node in path
    ]


def _trace(tree: Tree, leaf: Leaf, labels: StepLabels) -> Trace:
    return Trace(
        prompt_id=tree.prompt_id,
        trace_id=ids.content_hash("trace/1", tree.tree_id, leaf.node.node_id),
        tree_id=tree.tree_id,
        leaf_id=leaf.node.node_id,
        steps=tuple([node.step_text for node in leaf.path]),
        soft=tuple(labels.soft),
        hard=tuple(labels.hard),
        outcome=outcome(leaf.node) or -1,
        first_error=labels.first_error,
        consensus=labels.consensus,
    )
