"""Duplicates: near-duplicate prompts get a cluster id, repeated and contradicting pairs are dropped."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import ClassVar

from pydantic import Field

from pipeline.dataset import Columns, Dataset, DatasetStage, Verdict
from pipeline.pair import Pair
from pipeline.records import Embedding, Record
from pipeline.stage import Context
from stages.curate.clusters import Clusters
from stages.curate.duplicates import drop_cycles, drop_repeats, drop_templates
from stages.curate.minhash import band_count
from stages.curate.near import link_alike, near_duplicates, note_prompts
from stages.curate.notes import Survivors, note_pairs, noted_pairs, prompt_verdicts, together


class Dedup(DatasetStage):
    """Order and reasons: prompts `exact_duplicate`, `near_duplicate`; pairs `contradiction`, `exact_duplicate`,
    `intransitive`, `response_template`, `incomplete_group`, `over_cluster_cap` (docs/curation.md).

    Every prompt gets the id of its cluster: by it `split` keeps near-duplicates together. Before pairs are made it can
    drop near-duplicate prompts; after, it looks at the pairs too.
    """

    version: ClassVar[int] = 2
    where_made: ClassVar[frozenset[type[Record]]] = frozenset({Pair})

    threshold: float = Field(0.8, gt=0, le=1)  # Jaccard similarity of runs of five characters
    semantic: float | None = Field(None, gt=0, le=1)  # cosine of embeddings (job `embed`) from which prompts are alike
    prompts_per_cluster: int | None = Field(None, ge=1)  # the first of the source stay; 1: no near-duplicates
    pairs_per_cluster: int = Field(12, ge=1)  # the clearest stay
    template_prompts: int | None = Field(3, ge=1)  # base prompts that may share a chosen answer word for word

    def needs(self) -> tuple[type[Record], ...]:
        """Pairs where there are any; embeddings where they are asked for."""
        return (*super().needs(), *((Embedding,) if self.semantic else ()))

    def decide(self, data: Dataset[Pair], ctx: Context) -> Iterator[list[Verdict]]:
        """A verdict on every prompt, and on every pair of those that stay."""
        noted = data.map(functools.partial(note_prompts, n_bands=band_count(self.threshold)))
        clusters = near_duplicates(data, noted, self.threshold)
        if self.semantic:
            link_alike(data, noted, clusters, self.semantic)
        names = _names(noted, clusters)
        dropped = self._dropped(noted, clusters)
        prompts: list[list[Verdict]] = [[] for _ in range(data.n_shards)]
        for shard, verdict in prompt_verdicts(ctx.job, noted, dropped, names):
            prompts[shard].append(verdict)
        ctx.count("clusters", len(set(names)))
        gone = {noted["prompt_id"][i] for i in dropped}
        cluster_of = dict(zip(noted["prompt_id"].tolist(), names, strict=True))
        pairs = [p for p in noted_pairs(data.map(note_pairs)) if p.prompt_id not in gone]
        found = Survivors(pairs, ctx.run_seed)
        drop_repeats(found)
        drop_cycles(found)
        if self.template_prompts is not None:
            drop_templates(found, self.template_prompts)
        found.drop_broken_groups()
        found.cap(lambda p: cluster_of[p.prompt_id], self.pairs_per_cluster, "over_cluster_cap", found.by_strength)
        return together([prompts, found.verdicts(ctx.job, data.n_shards)])

    def _dropped(self, noted: Columns, clusters: Clusters) -> dict[int, str]:
        """Row -> reason of the prompts that are too many in their cluster; prompts of one base prompt count as one."""
        if self.prompts_per_cluster is None:
            return {}
        kept: dict[int, dict[str, set[int]]] = {}  # cluster -> base prompts that stay, with hashes of their texts
        dropped = {}
        rows = zip(clusters.roots().tolist(), noted["base"].tolist(), noted["text"].tolist(), strict=True)
        for i, (cluster, base, text) in enumerate(rows):
            stay = kept.setdefault(cluster, {})
            if base in stay or len(stay) < self.prompts_per_cluster:
                stay.setdefault(base, set()).add(text)
            else:
                exact = any(text in texts for texts in stay.values())
                dropped[i] = "exact_duplicate" if exact else "near_duplicate"
        return dropped


def _names(noted: Columns, clusters: Clusters) -> list[str]:
    """The smallest base_prompt_id of each prompt's cluster."""
    smallest: dict[int, str] = {}
    rows = list(zip(clusters.roots().tolist(), noted["base"].tolist(), strict=True))
    for cluster, base in rows:
        smallest[cluster] = min(smallest.get(cluster, base), base)
    return [smallest[cluster] for cluster, _ in rows]
