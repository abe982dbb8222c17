"""One more job over a finished run, into a folder of its own: what `export` and `audit` do."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pipeline.errors import PlanError
from pipeline.finish import finish_job
from pipeline.plan import Job, Plan, make_plan
from pipeline.records import Record
from pipeline.stage import SourceIndex, Summary
from pipeline.store import Report, Store
from pipeline.totals import totals_of
from pipeline.worker import Worker

NAME = "alone"


def run_alone(run: tuple[Plan, Store, int], folder: str, fields: Mapping[str, Any]) -> tuple[str, Mapping[str, int]]:
    """Runs the job `fields` over every shard of `run` that its inputs have finished; returns a line about it, and its
    counts. Raises PlanError: nothing is finished, the folder is not empty or in another store."""
    old, store, n_shards = run
    plan = _with(old, fields)
    job = plan.jobs[NAME]
    shards = _finished(store, job)
    if not shards:
        raise PlanError(f"no shard of {store.base} is finished so far ({n_shards} shards in all); run it further first")
    target = _OtherFolder(store, folder)
    if target.names(NAME):
        raise PlanError(f"{folder} is not empty; give a new folder")
    _work(plan, target, shards)
    totals = {name: totals_of(target, name) for name in plan.jobs}
    finish_job(plan, target, job, totals, shards)
    found = totals[NAME]
    return f"{found.rows_out:,} rows to {folder}; {len(shards)} of {n_shards} shards", found.counts


def tell_alone(
    run: tuple[Plan, Store, int], fields: Mapping[str, Any], pick: Callable[[Sequence[int]], Sequence[int]]
) -> tuple[Mapping[str, str], int]:
    """The files that the job `fields` would leave beside its rows, made of the shards that `pick` picks of the finished
    ones, and the number of those. Nothing is written. Raises PlanError as run_alone."""
    old, store, _ = run
    plan = _with(old, fields)
    job, target = plan.jobs[NAME], _Nowhere(store.root)
    shards = pick(_finished(store, job))
    _work(plan, target, shards)
    counts = {name: dict(target.counts if name == NAME else {}) for name in plan.jobs}
    summary = Summary(plan.config.name, NAME, {}, counts, {name: each.recipe for name, each in plan.jobs.items()}, ())
    return job.stage.finish(summary), len(shards)


def _with(old: Plan, fields: Mapping[str, Any]) -> Plan:
    """A run's plan with one more job."""
    data = old.config.model_dump(mode="json", exclude_unset=True)
    jobs = [*data["jobs"], {**fields, "name": NAME}]
    return make_plan({**data, "jobs": jobs}, {name: job.recipe for name, job in old.jobs.items()})


def _finished(store: Store, job: Job) -> Sequence[int]:
    """Shards that all inputs of `job` have."""
    return sorted(set.intersection(*(store.done(name) for name in job.inputs)))


def _work(plan: Plan, target: Store, shards: Sequence[int]) -> None:
    worker = Worker(plan, target, {}, SourceIndex(rows=0, content="", stamp="", slices=()))  # the source is not read
    for shard in shards:
        asyncio.run(worker.run(NAME, shard))


class _Nowhere(Store):
    """The run's store, except that of what is written only the counts are kept."""

    def __init__(self, root: str) -> None:
        super().__init__(root)
        self.counts: Counter[str] = Counter()

    def write(self, job: str, shard: int, tables: Mapping[type[Record], Sequence[Record]], report: Report) -> None:
        """Keeps the counts."""
        self.counts.update(report["counts"])


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
