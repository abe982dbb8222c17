"""Pairs of whole answers from search trees: right leaves against wrong ones (spec mcts R5)."""

from __future__ import annotations

from typing import ClassVar

from pipeline.pair import Pair
from pipeline.records import Prompt, Reject
from pipeline.stage import Context, Example, Stage
from pipeline.tree import Node, Tree
from stages.pairs.finished import FinishedTree, finished_trees, outcome, text_of
from stages.pairs.segments import Segment
from stages.pairs.select import same_text
from stages.pairs.trajectories import TrajectoryRule, leaves, trajectory_pairs, trusted
from stages.pairs.tree_pairs import Labelling, refused_pair, tree_pair, with_lineage


class PairTrajectories(TrajectoryRule, Stage):
    """Right leaves, best first, against wrong ones. Every pair shares the prompt; the arms begin as far alike as chosen.

    Counts: `kept`, `refused:identical_text` (with a reject row), `no_pair:<reason>` (of trees: no_leaf, all_right,
    all_wrong, unsound, all_refused).
    """

    version: ClassVar[int] = 3

    async def process(self, example: Example[Tree | Node], ctx: Context) -> list[Pair | Reject]:
        """The pairs of one prompt, tree by tree, each tree's refused ones behind them."""
        made: list[Pair | Reject] = []
        for tree in finished_trees(example.trees, example.nodes):
            made += self._of_tree(example.prompt, tree, ctx)
        return made

    def _of_tree(self, prompt: Prompt, tree: FinishedTree, ctx: Context) -> list[Pair | Reject]:
        proposed = trajectory_pairs(tree, self)
        alike = [found for found in proposed if _alike(found)]
        kept = [found for found in proposed if not _alike(found)]
        ctx.count("kept", len(kept))
        if not kept:
            ctx.count(f"no_pair:{'all_refused' if proposed else _why_none(tree, self)}")
        labelling = Labelling(f"leaves_{self.order}", "q")
        pairs = [tree_pair(prompt, tree, found, labelling, len(kept)) for found in kept]
        return [
            *[with_lineage(pair, "pair_trajectories", self.version, ctx) for pair in pairs],
            *[refused_pair(tree, found.pair, "identical_text", ctx) for found in alike],
        ]


def _why_none(tree: FinishedTree, rule: TrajectoryRule) -> str:
    """Why a tree had nothing to propose."""
    found = leaves(tree)
    right = [leaf for leaf in found if outcome(leaf.node) > 0]
    if len(right) == len(found):
        return "all_right" if found else "no_leaf"
    return "unsound" if right and not any(trusted(leaf, rule) for leaf in right) else "all_wrong"


def _alike(found: Segment) -> bool:
    return same_text(text_of(found.chosen), text_of(found.rejected))
