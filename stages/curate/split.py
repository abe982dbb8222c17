"""Splits by clusters of near-duplicate prompts, so that nothing that was trained on is tested on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

from msgspec.structs import replace
from pydantic import Field, field_validator

from pipeline import ids
from pipeline.dataset import Columns, Dataset, DatasetStage, Verdict
from pipeline.pair import Pair
from pipeline.records import Record
from pipeline.stage import Context, Example
from stages.curate.near import strings
from stages.curate.notes import Survivors, note_pairs, noted_pairs, prompt_verdicts, together


class Split(DatasetStage):
    """Draws a split for each cluster that `dedup` found (without it: for each base prompt) by hash.

    Reasons: `rater_in_other_split`, `incomplete_group`.
    """

    where_made: ClassVar[frozenset[type[Record]]] = frozenset({Pair})

    shares: dict[str, float] = Field({"train": 0.9, "validation": 0.05, "test": 0.05}, min_length=1)
    rater_disjoint: bool = (
        False  # no rater in two splits either: pairs whose prompt and rater are drawn apart are dropped
    )

    @field_validator("shares")
    @classmethod
    def _adds_up(cls, shares: dict[str, float]) -> dict[str, float]:
        if min(shares.values()) <= 0 or abs(sum(shares.values()) - 1) > 1e-9:
            raise ValueError(f"shares are positive and add up to 1, these to {sum(shares.values()):g}")
        return shares

    def decide(self, data: Dataset[Pair], ctx: Context) -> Iterator[list[Verdict]]:
        """The split of every prompt; with `rater_disjoint` a verdict on every pair."""
        noted = data.map(note_clusters)
        split_of = {c: self._drawn(ctx.run_seed, "cluster", c) for c in set(noted["cluster"].tolist())}
        rows: list[list[Verdict]] = [[] for _ in range(data.n_shards)]
        for (shard, verdict), cluster in zip(
            prompt_verdicts(ctx.job, noted, {}), noted["cluster"].tolist(), strict=True
        ):
            rows[shard].append(replace(verdict, split=split_of[cluster]))
            ctx.count(f"split:{split_of[cluster]}")
        if not self.rater_disjoint:
            return iter(rows)
        pairs = noted_pairs(data.map(note_pairs))
        found = Survivors(pairs, ctx.run_seed)
        apart = [
            i for i, p in enumerate(pairs)
            if p.rater and self._drawn(ctx.run_seed, "rater", p.rater) != split_of[p.cluster]
        ]  # fmt: skip
        found.drop(apart, "rater_in_other_split")
        found.drop_broken_groups()
        return together([rows, found.verdicts(ctx.job, data.n_shards)])

    def _drawn(self, seed: int, what: str, name: str) -> str:
        """The split of a cluster or rater; depends on the seed and its name alone."""
        draw, reached = ids.seed(seed, "split", what, name) / 2**31, 0.0
        for split, share in self.shares.items():
            reached += share
            if draw < reached:
                return split
        return next(reversed(self.shares))


def note_clusters(examples: Sequence[Example[Any]]) -> Columns:
    """Of each prompt: its id and its cluster."""
    return {
        "prompt_id": strings([e.prompt.prompt_id for e in examples]),
        "cluster": strings([e.cluster or e.prompt.base_prompt_id for e in examples]),
    }
