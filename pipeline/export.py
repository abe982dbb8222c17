"""Writes what a run made in a trainer's format, to a folder of the user's choice: the export stage, run alone."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from pipeline.config import validate
from pipeline.errors import PlanError
from pipeline.plan import make_plan
from pipeline.report import open_run
from pipeline.resume import totals_of
from pipeline.run import finish_job
from pipeline.stage import SourceIndex, stage_class
from pipeline.store import Store, table_name
from pipeline.worker import Worker


def export(path: str, folder: str, fields: Mapping[str, Any]) -> None:
    """Exports every finished shard of the run at `path`. Raises PlanError: no such rows, unknown format, no run."""
    old, store, n_shards = open_run(path)
    made_by = {cls: name for name, job in old.jobs.items() for cls in job.stage.makes()}
    stage: Any = validate(stage_class("export"), fields, "export")
    if "table" not in fields and (found := next((cls for cls in stage.reads() if cls in made_by), None)):
        fields = {**fields, "table": table_name(found)}
        stage = validate(stage_class("export"), fields, "export")
    if lacking := [table_name(cls) for cls in stage.needs() if cls not in made_by]:
        raise PlanError(f"run {path} makes no {' and no '.join(lacking)}; jobs: {', '.join(old.jobs)}")
    sources = [name for name, job in old.jobs.items() if {*stage.needs()} & {*job.stage.makes()}]
    data = old.config.model_dump(mode="json", exclude_unset=True)
    made = {"stage": "export", "name": "exported", "from": sources, **fields}
    plan = make_plan({**data, "jobs": [*data["jobs"], made]}, {name: job.recipe for name, job in old.jobs.items()})
    job = plan.jobs["exported"]
    shards = sorted(set.intersection(*(store.done(name) for name in job.inputs)))
    if not shards:
        raise PlanError(f"no shard of {path} is finished so far ({n_shards} shards in all); run it further first")
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
