"""Single steps with a thumb up or down, for trainers that need no pairs (KTO; spec mcts R5)."""

from __future__ import annotations

from typing import ClassVar

from pipeline import ids
from pipeline.stage import Context, Example, Stage
from pipeline.tree import Node, Thumb, Tree
from stages.pairs.finished import FinishedTree, finished_trees, really_ended, text_of, tokens_of
from stages.pairs.step_labels import Unpaired, unpaired
from stages.pairs.step_rules import StepRule


class LabelUnpaired(StepRule, Stage):
    """Every step whose score is at least half a margin away from the middle of its scale. Counts: `up`, `down`, `undecided`."""

    version: ClassVar[int] = 2

    async def process(self, example: Example[Tree | Node], ctx: Context) -> list[Thumb]:
        """The steps of one prompt, tree by tree in order of their parents."""
        made: list[Thumb] = []
        for tree in finished_trees(example.trees, example.nodes):
            found = [_thumb(tree, step) for step in unpaired(tree, self)]
            up = sum([thumb.up for thumb in found])
            ctx.count("up", up)
            ctx.count("down", len(found) - up)
            ctx.count("undecided", len(tree.nodes) - 1 - len(found))
            made += found
        return made


def _thumb(tree: FinishedTree, step: Unpaired) -> Thumb:
    node = tree.nodes[step.node_id]
    before = tree.lineage(node)[:-1]
    return Thumb(
        prompt_id=node.prompt_id,
        thumb_id=ids.content_hash("thumb/1", node.tree_id, node.node_id),
        tree_id=node.tree_id,
        node_id=node.node_id,
        prefix=text_of(before),
        text=node.step_text,
        prompt_token_ids=tree.tree.prompt_token_ids + tokens_of(before),
        token_ids=node.step_token_ids,
        up=step.label,
        weight=step.weight,
        ended=really_ended(node),
    )
