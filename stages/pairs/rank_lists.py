"""Ranked lists of whole answers from search trees, with their steps and margins (TPO; spec mcts R5)."""

from __future__ import annotations

from typing import ClassVar

from pipeline import ids
from pipeline.stage import Context, Example, Stage
from pipeline.tree import Node, RankedAnswer, Ranking, Tree
from stages.pairs.finished import FinishedTree, finished_trees, outcome, tokens_of
from stages.pairs.trajectories import ListRule, ranked_list


class RankLists(ListRule, Stage):
    """At most one list of each tree. Counts: `kept`, `no_list` (too few leaves, or too much alike)."""

    version: ClassVar[int] = 1

    async def process(self, example: Example[Tree | Node], ctx: Context) -> list[Ranking]:
        """The lists of one prompt."""
        made = [self._ranking(tree) for tree in finished_trees(example.trees, example.nodes)]
        kept = [ranking for ranking in made if ranking is not None]
        ctx.count("kept", len(kept))
        ctx.count("no_list", len(made) - len(kept))
        return kept

    def _ranking(self, tree: FinishedTree) -> Ranking | None:
        places = ranked_list(tree, self)
        if not places:
            return None
        following = [*[place.score for place in places[1:]], None]
        answers = tuple([
            RankedAnswer(
                leaf_id=place.leaf.node.node_id,
                steps=tuple([node.step_text for node in place.leaf.path]),
                token_ids=tokens_of(place.leaf.path),
                score=place.score,
                outcome=outcome(place.leaf.node),
                margin=None if after is None else place.score - after,
                shared_steps=place.shared,
            )
            for place, after in zip(places, following, strict=True)
        ])  # fmt: skip
        row = tree.tree
        name = ids.content_hash("ranking/1", row.tree_id, [answer.leaf_id for answer in answers])
        return Ranking(
            prompt_id=row.prompt_id, ranking_id=name, tree_id=row.tree_id,
            prompt_token_ids=row.prompt_token_ids, answers=answers,
        )  # fmt: skip
