"""Step-level pairs from search trees: which step after the same prefix was better (spec mcts R5)."""

from __future__ import annotations

from collections import Counter
from typing import ClassVar, Literal

from pipeline.pair import Pair
from pipeline.records import Prompt, Reject
from pipeline.stage import Context, Example, Stage
from pipeline.tree import Node, Tree
from stages.pairs.finished import FinishedTree, finished_trees
from stages.pairs.segments import Said, SegmentRules, keep
from stages.pairs.step_rules import StepRule, step_pairs
from stages.pairs.tree_pairs import Labelling, refused_pair, tree_pair, with_lineage


class PairSteps(StepRule, SegmentRules, Stage):
    """Pairs of sibling steps by one of the rules S1 to S6, widest margin first.

    alpha: label noise from the counts of right and wrong ends (`beta`) or from visits (MCTS-DPO).
    Counts: `kept`, `refused:<reason>` (of pairs that a rule proposed, with a reject row), `over_cap:<cap>`,
    `no_pair:<reason>` (of trees).
    """

    version: ClassVar[int] = 4

    alpha: Literal["beta", "visits"] = "beta"

    async def process(self, example: Example[Tree | Node], ctx: Context) -> list[Pair | Reject]:
        """The pairs of one prompt, tree by tree, each tree's refused ones behind them."""
        said: Said = {}
        made: list[Pair | Reject] = []
        for tree in finished_trees(example.trees, example.nodes):
            made += self._of_tree(example.prompt, tree, said, ctx)
        return made

    def _of_tree(self, prompt: Prompt, tree: FinishedTree, said: Said, ctx: Context) -> list[Pair | Reject]:
        proposed = step_pairs(tree, self)
        kept = keep(tree, proposed, self, said)
        ctx.count("kept", len(kept.segments))
        for cap, n in kept.over_cap.items():
            ctx.count(f"over_cap:{cap}", n)
        if not kept.segments:
            ctx.count(f"no_pair:{'all_refused' if proposed else no_fork(tree)}")
        group = Counter(found.pair.parent for found in kept.segments)
        labelling = Labelling(self.rule, self.score, self.alpha)
        pairs = [tree_pair(prompt, tree, found, labelling, group[found.pair.parent]) for found in kept.segments]
        return [
            *[with_lineage(pair, "pair_steps", self.version, ctx) for pair in pairs],
            *[refused_pair(tree, pair, reason, ctx) for pair, reason in kept.refused],
        ]


def no_fork(tree: FinishedTree) -> str:
    """Why a rule found nothing in a tree: skipped, undecided, all_right, all_wrong or no_margin."""
    row = tree.tree
    if row.status in ("skipped_trivial", "failed"):
        return row.status
    if not row.n_correct and not row.n_wrong:
        return "undecided"
    return "no_margin" if row.n_correct and row.n_wrong else "all_right" if row.n_correct else "all_wrong"
