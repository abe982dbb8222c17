"""What lies in a run's folder decides what is left to do: the stored recipes, the index, the footers."""

from __future__ import annotations

import json
from collections.abc import Collection

from pipeline.errors import PlanError
from pipeline.plan import Job, Plan, first_difference, recipe_json
from pipeline.stage import SourceIndex, SourceStage
from pipeline.store import Store
from pipeline.tables import arrow_schema


def prepare(plan: Plan, store: Store, rebuild: str | None) -> None:
    """Removes leftovers and jobs to redo; refuses a run whose recipes differ. Raises PlanError with field and values."""
    if rebuild and rebuild not in plan.jobs:
        raise PlanError(f"--rebuild {rebuild}: no such job; jobs: {', '.join(plan.jobs)}")
    redone = [
        name for name, job in plan.jobs.items()
        if _unmade(store, name, job) or (rebuild and (name == rebuild or rebuild in job.inputs))
    ]  # fmt: skip
    for name, job in plan.jobs.items():  # before anything is deleted
        if name not in redone:
            _check_recipe(store, name, job)
    for name in reversed(redone):  # a kill half-way leaves what fits together
        _forget(store, name)
    sweep(plan, store)
    for name, job in plan.jobs.items():
        if store.read_text(name, "job.json") is None:
            store.write_text(recipe_json(job), name, "job.json")


def sweep(plan: Plan, store: Store) -> None:
    """Deletes what killed writers left, while nobody writes."""
    if store.is_local:  # an object is whole or not there
        store.sweep([*_folders(store, plan.jobs), ""])


def _unmade(store: Store, name: str, job: Job) -> bool:
    """Whether nothing was ever made by the recipe that is stored, so that another may take its place: what a first start
    leaves that met a wrong address or model."""
    stored = store.read_text(name, "job.json")
    if stored is None or first_difference(json.loads(stored)["recipe"], json.loads(recipe_json(job))["recipe"]) is None:
        return False
    return not set(store.names(name)) - {"job.json", "index.json"}


def _folders(store: Store, jobs: Collection[str]) -> list[str]:
    """The folders of `jobs`; not the run's own files, such as run.json beside a job that is called run."""
    files = store.times()
    return [name for name in store.names() if name.split(".")[0] in jobs and name not in files]


def _forget(store: Store, name: str) -> None:
    """Deletes a job's folders: its shards, then its side tables, and the recipe last."""
    folders = _folders(store, (name,))
    for keep in ("job.json", ""):
        for folder in folders:
            store.remove(folder, keep)


def _check_recipe(store: Store, name: str, job: Job) -> None:
    stored = store.read_text(name, "job.json")
    if stored is None:
        if store.done(name):
            raise PlanError(
                f"{store.path(name)} has shards but no job.json, so nobody knows what made them; "
                f"use --rebuild {name} to redo them"
            )
        return
    new = json.loads(recipe_json(job))["recipe"]
    found = first_difference(json.loads(stored)["recipe"], new)
    if found:
        field_name, old, now = found
        raise PlanError(
            f"{store.base} was made with another recipe: job {name}, {field_name}: {old!r:.120} -> {now!r:.120}; "
            f"give the config a new name, or use --rebuild {name} to redo it and what follows"
        )
    _check_columns(store, name, job)


def _check_columns(store: Store, name: str, job: Job) -> None:
    """What another version of this program wrote is never gone on with in other columns."""
    if not (done := store.done(name)):
        return
    old, new = store.schema(name, min(done)).names, arrow_schema(job.table).names
    if old != new:
        found = ", ".join(sorted({*old} ^ {*new})) or "in another order"
        raise PlanError(
            f"{store.path(name)} has columns of another version of prefsynth ({found}); go on with that version, "
            f"give the config a new name, or use --rebuild {name} to redo it and what follows"
        )


def load_index(plan: Plan, store: Store) -> SourceIndex:
    """The source's index: as stored, or made now in one pass. Raises PlanError when the input changed under the run."""
    stage = plan.source.stage
    if not isinstance(stage, SourceStage):
        raise PlanError(f"job {plan.source.name} is no source")
    stored = store.read_text(plan.source.name, "index.json")
    if stored is None:
        index = stage.index(plan.config.shard_size)
        store.write_text(index.model_dump_json(), plan.source.name, "index.json")
        return index
    index = SourceIndex.model_validate_json(stored)
    if index.stamp != stage.stamp() and stage.index(plan.config.shard_size).content != index.content:
        raise PlanError(
            f"the input of job {plan.source.name} changed since {store.base} was begun; "
            f"give the config a new name, or use --rebuild {plan.source.name}"
        )
    return index
