"""One more job over a finished run, into a folder of its own: what `export` and `audit` do."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.errors import PlanError
from pipeline.finish import finish_job
from pipeline.plan import Plan, make_plan
from pipeline.stage import SourceIndex
from pipeline.store import Store
from pipeline.totals import totals_of
from pipeline.worker import Worker

NAME = "alone"


def run_alone(run: tuple[Plan, Store, int], folder: str, fields: Mapping[str, Any]) -> tuple[str, Mapping[str, int]]:
    """Runs the job `fields` over every shard of `run` that its inputs have finished; returns a line about it, and its
    counts. Raises PlanError: nothing is finished, the folder is not empty or in another store."""
    old, store, n_shards = run
    data = old.config.model_dump(mode="json", exclude_unset=True)
    made = {**fields, "name": NAME}
    plan = make_plan({**data, "jobs": [*data["jobs"], made]}, {name: job.recipe for name, job in old.jobs.items()})
    job = plan.jobs[NAME]
    shards: Sequence[int] = sorted(set.intersection(*(store.done(name) for name in job.inputs)))
    if not shards:
        raise PlanError(f"no shard of {store.base} is finished so far ({n_shards} shards in all); run it further first")
    target = _OtherFolder(store, folder)
    if target.names(NAME):
        raise PlanError(f"{folder} is not empty; give a new folder")
    worker = Worker(plan, target, {}, SourceIndex(rows=0, content="", stamp="", slices=()))  # the source is not read
    for shard in shards:
        asyncio.run(worker.run(NAME, shard))
    totals = {name: totals_of(target, name) for name in plan.jobs}
    finish_job(plan, target, job, totals, shards)
    found = totals[NAME]
    return f"{found.rows_out:,} rows to {folder}; {len(shards)} of {n_shards} shards", found.counts


class _OtherFolder(Store):
    """The run's store, except that the job's folder is another. Raises PlanError: it is in another store."""

    def __init__(self, store: Store, folder: str) -> None:
        super().__init__(store.root)
        place = Store(folder)
        if type(place.fs) is not type(self.fs):
            raise PlanError(f"--to {folder} is not in the store of {store.base}; give a folder there and copy it")
        place.create()
        self._folder = place.base

    def path(self, *parts: str) -> str:
        """A path of the run, or of the other folder."""
        if parts and parts[0].split(".")[0] == NAME:
            inside = "/".join((parts[0].removeprefix(NAME).lstrip("."), *parts[1:])).strip("/")
            return f"{self._folder}/{inside}".rstrip("/")
        return super().path(*parts)
