"""Writes the pairs of a run in a trainer's format, to a folder of the user's choice: the export stage, run alone."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from pipeline.errors import PlanError
from pipeline.pair import Pair
from pipeline.plan import make_plan
from pipeline.report import open_run
from pipeline.resume import totals_of
from pipeline.run import finish_job
from pipeline.stage import SourceIndex
from pipeline.store import Store
from pipeline.worker import Worker


def export(path: str, folder: str, fields: Mapping[str, Any]) -> None:
    """Exports every finished shard of pairs of the run at `path`. Raises PlanError: no pairs, unknown format, no run."""
    old, store, n_shards = open_run(path)
    sources = [name for name, job in old.jobs.items() if Pair in job.stage.makes()]
    if not sources:
        raise PlanError(f"run {path} makes no pairs; jobs: {', '.join(old.jobs)}")
    data = old.config.model_dump(mode="json", exclude_unset=True)
    rationales = [name for name, job in old.jobs.items() if job.recipe["stage"] == "explain"]
    made = {"stage": "export", "name": "exported", "from": [*sources, *rationales], **fields}
    plan = make_plan({**data, "jobs": [*data["jobs"], made]}, {name: job.recipe for name, job in old.jobs.items()})
    job = plan.jobs["exported"]
    shards = sorted(set.intersection(*(store.done(name) for name in job.inputs)))
    if not shards:
        raise PlanError(f"no shard of {path} has its pairs yet ({n_shards} shards in all); run it further first")
    target = _OtherFolder(store, folder)
    if target.names("exported"):
        raise PlanError(f"{folder} is not empty; give a new folder")
    worker = Worker(plan, target, {}, SourceIndex(rows=0, content="", stamp="", slices=()))  # the source is not read
    for shard in shards:
        asyncio.run(worker.run("exported", shard))
    totals = {name: totals_of(target, name) for name in plan.jobs}
    finish_job(plan, target, job, totals, shards)
    exported = totals["exported"]
    print(f"{exported.rows_out:,} rows to {folder}; {len(shards)} of {n_shards} shards")
    for name, n in sorted(exported.counts.items()):
        print(f"  {name}: {n:,}")


class _OtherFolder(Store):
    """The run's store, except that the exported job's folder is the user's. Raises PlanError: it is in another store."""

    def __init__(self, store: Store, folder: str) -> None:
        super().__init__(store.root)
        place = Store(folder)
        if type(place.fs) is not type(self.fs):
            raise PlanError(f"--to {folder} is not in the store of {store.base}; export to a folder there and copy it")
        place.create()
        self._folder = place.base

    def path(self, *parts: str) -> str:
        """A path of the run, or of the user's folder."""
        if parts and parts[0].split(".")[0] == "exported":
            inside = "/".join((parts[0].removeprefix("exported").lstrip("."), *parts[1:])).strip("/")
            return f"{self._folder}/{inside}".rstrip("/")
        return super().path(*parts)
