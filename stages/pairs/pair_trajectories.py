"""Pairs of whole answers from search trees: right leaves against wrong ones (spec mcts R5)."""

from __future__ import annotations

from typing import ClassVar

from pipeline.pair import Pair
from pipeline.stage import Context, Example, Stage
from pipeline.tree import Node, Tree
from stages.pairs.finished import finished_trees, text_of
from stages.pairs.select import same_text
from stages.pairs.trajectories import TrajectoryRule, leaves, trajectory_pairs
from stages.pairs.tree_pairs import Labelling, tree_pair, with_lineage


class PairTrajectories(TrajectoryRule, Stage):
    """Right leaves, best first, against wrong ones. Every pair shares the prompt; the arms begin as far alike as chosen.

    Counts: `kept`, `refused:identical_text`, `no_pair:<reason>` (of trees: no_leaf, all_right, all_wrong, all_refused).
    """

    version: ClassVar[int] = 2

    async def process(self, example: Example[Tree | Node], ctx: Context) -> list[Pair]:
        """The pairs of one prompt, tree by tree."""
        made: list[Pair] = []
        for tree in finished_trees(example.trees, example.nodes):
            proposed = trajectory_pairs(tree, self)
            kept = [found for found in proposed if not same_text(text_of(found.chosen), text_of(found.rejected))]
            ctx.count("kept", len(kept))
            ctx.count("refused:identical_text", len(proposed) - len(kept))
            if not kept:
                right = [leaf.node.correct > 0 for leaf in leaves(tree)]
                why = "all_refused" if proposed else "all_right" if all(right) else "all_wrong"
                ctx.count(f"no_pair:{why if right else 'no_leaf'}")
            labelling = Labelling(f"leaves_{self.order}", "q")
            made += [tree_pair(example.prompt, tree, found, labelling, len(kept)) for found in kept]
        return [with_lineage(pair, "pair_trajectories", self.version, ctx) for pair in made]
