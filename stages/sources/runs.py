"""A source that mixes the pairs of finished runs, whole or in shares or counts."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from pipeline import ids
from pipeline.errors import PlanError
from pipeline.pair import Pair
from pipeline.records import Prompt, Rationale, Record
from pipeline.stage import Slice, SourceIndex, SourceStage
from stages.curate.amounts import amounts, why_not
from stages.sources.finished import FinishedRun


class RunPart(BaseModel):
    """A run to take pairs from. Neither share nor count: all of them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str
    jobs: tuple[str, ...] = ()  # whose pairs; default: of all jobs that made pairs
    share: float | None = Field(None, gt=0)  # of the mixture; shares are scaled to a sum of 1
    count: int | None = Field(None, ge=0)  # pairs


class Runs(SourceStage):
    """Reads prompts, pairs and rationales of finished runs, as their dataset stages left them; a shard of a run is a shard
    here. Which pairs are taken is drawn by `seed` and the id of the pair.

    A prompt that two runs share stands in a shard of each; `dedup` sees both.
    """

    runs: tuple[RunPart, ...] = Field(min_length=1)
    total: int | None = Field(None, ge=1)  # pairs, where runs have shares; default: as many as keep them exact
    seed: int = 0
    limit: int | None = Field(None, ge=1)  # prompts to read, of the first shards; for `check` and `preview`

    @model_validator(mode="after")
    def _makes_sense(self) -> Runs:
        asks = any(run.share is not None or run.count is not None for run in self.runs)
        if asks and (why := why_not(self.runs, self.total)):
            raise ValueError(f"runs: {why}")
        if self.total is not None and not asks:
            raise ValueError("total goes with shares")
        return self

    def makes(self) -> tuple[type[Record], ...]:
        """Prompts with their pairs and rationales."""
        return (Prompt, Pair, Rationale)

    def check(self) -> None:
        """Raises PlanError for a run that is not there, not finished, or made no pairs."""
        _drawn.cache_clear()
        for run in self.runs:
            FinishedRun(run.path, run.jobs)

    def stamp(self) -> str:
        """Names, sizes and modification times of the shards."""
        return "|".join(FinishedRun(run.path, run.jobs).stamp() for run in self.runs)

    def index(self, shard_size: int) -> SourceIndex:
        """One slice for each shard that has wanted pairs; `offset` says which. `shard_size` is that of the runs."""
        _drawn.cache_clear()
        slices: list[tuple[int, int, int]] = []
        rows = 0
        for offset, wanted in enumerate(_drawn(self)):
            if (n := len({prompt_id for prompt_id, _ in wanted})) and rows < (self.limit or rows + 1):
                slices.append((rows, rows + n, offset))
                rows += n
        if not rows:
            raise PlanError("the runs have no pairs that are wanted; raise their counts, or name other jobs")
        content = ids.content_hash(*[FinishedRun(run.path, run.jobs).content() for run in self.runs])
        return SourceIndex(rows=rows, content=content, stamp=self.stamp(), slices=tuple(slices))

    def read(self, part: Slice, duplicates: Mapping[int, int], job: str) -> Iterator[Record]:
        """The prompts of one shard of a run, each followed by its wanted pairs and their rationales."""
        offset = part.offset
        for run in self.runs:
            opened = FinishedRun(run.path, run.jobs)
            if offset < opened.n_shards:
                wanted = {pair_id for _, pair_id in _drawn(self)[part.offset]}
                yield from opened.records(offset, wanted)
                return
            offset -= opened.n_shards


@functools.lru_cache(maxsize=1)  # one per process: every shard asks for the same
def _drawn(stage: Runs) -> list[list[tuple[str, str]]]:
    """The wanted (prompt_id, pair_id) of each shard of each run."""
    shards: list[list[tuple[str, str]]] = []
    found = {str(i): FinishedRun(run.path, run.jobs) for i, run in enumerate(stage.runs)}
    there = {name: [run.pair_ids(shard) for shard in range(run.n_shards)] for name, run in found.items()}
    parts = {name: stage.runs[int(name)] for name in found}
    if all(part.share is None and part.count is None for part in parts.values()):
        return [shard for name in found for shard in there[name]]
    wanted = amounts({name: sum(map(len, there[name])) for name in found}, parts, stage.total)
    for name in found:
        draws = np.array([ids.seed(stage.seed, "runs", p) for shard in there[name] for _, p in shard], dtype=np.int64)
        chosen = set(np.argsort(draws, kind="stable")[: wanted[name]].tolist())
        place = 0
        for shard in there[name]:
            shards.append([each for i, each in enumerate(shard, place) if i in chosen])
            place += len(shard)
    return shards
