"""near_errors: more judging for the prompts that are like those where judges erred or were in doubt (Skywork-Reward-V2).

    - {stage: compare, engine: judge}
    - {stage: near_errors, budget: 500}
    - {stage: compare, name: compare_again, engine: large, schedule: asked, unsure: {of: [compare], below: 0.5}}
    - {stage: aggregate, cascade: [compare, compare_again]}

Its verdicts drop nothing. They give every prompt a budget, the number of pairs that a later `compare` may ask about.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator

import numpy as np
from pydantic import Field

from pipeline.dataset import Columns, Dataset, DatasetStage, Verdict
from pipeline.records import Candidate, Embedding, Judgment, Record
from pipeline.stage import Context
from stages.judges.doubt import neighbours_wanted
from stages.judges.retrieval import allot, centred, nearest, note_doubts


class NearErrors(DatasetStage):
    """Spends `budget` further comparisons, a hard limit over the whole data set, where errors are likely.

    A prompt counts with its least certain pair: P(label) as judges tell it, or P(the right one) where a check knows which
    is right. It calls for ⌈k_max · (1 − P)⌉ prompts, itself first, then its nearest; a prompt is worth the highest
    (1 − P) · likeness of who calls for it. Comparisons are given out one a round, the worthiest first, to prompts that
    have pairs to ask about.

    of: judges by job or `job:judge`; default: all. per_prompt: most comparisons of a prompt. semantic: likeness is the
    cosine of embeddings (job `embed`); else that of runs of characters. Counts: `called` (prompts that call for others),
    `given` (comparisons), `prompts`.
    """

    budget: int = Field(ge=0)
    of: tuple[str, ...] = ()
    k_max: int = Field(8, ge=1, le=1024)
    per_prompt: int = Field(4, ge=1)
    semantic: bool = False

    def needs(self) -> tuple[type[Record], ...]:
        """Candidates, judgments; embeddings where they are asked for."""
        return (*super().needs(), *((Embedding,) if self.semantic else ()))

    def decide(self, data: Dataset[Candidate | Judgment], ctx: Context) -> Iterator[list[Verdict]]:
        """A budget for every prompt."""
        noted = data.map(functools.partial(note_doubts, of=self.of, semantic=self.semantic))
        given = self._given(noted, ctx)
        verdicts: list[list[Verdict]] = [[] for _ in range(data.n_shards)]
        for i, (shard, who) in enumerate(zip(noted["shard"].tolist(), noted["prompt_id"].tolist(), strict=True)):
            verdicts[shard].append(Verdict(who, ctx.job, "prompt", who, True, budget=int(given[i])))
        yield from verdicts

    def _given(self, noted: Columns, ctx: Context) -> np.ndarray:
        """Comparisons of each noted prompt; independent of the shards it stands in."""
        n = len(noted["prompt_id"])
        if n == 0:
            return np.zeros(0, dtype=np.int64)
        order = np.argsort(noted["prompt_id"].astype(str), kind="stable")
        p, room = noted["p"][order], np.minimum(noted["open"][order], self.per_prompt)
        vectors = noted["vector"][order] if self.semantic else centred(noted["vector"][order])
        wanted = np.array([0 if np.isnan(x) else neighbours_wanted(float(x), self.k_max) for x in p], dtype=np.int64)
        worth = np.zeros(n)
        for caller, called, likeness in nearest(vectors, wanted):
            worth[called] = np.maximum(worth[called], (1 - p[caller]) * likeness)
        found = np.zeros(n, dtype=np.int64)
        found[order] = allot(worth, room, self.budget)
        ctx.count("called", int((wanted > 0).sum()))
        ctx.count("given", int(found.sum()))
        ctx.count("prompts", int((found > 0).sum()))
        return found
