"""From one YAML to a checked plan: jobs with their stages, inputs, engines, recipes and fingerprints.

Everything that can be known without data or a model is checked here, so that a wrong config costs a second and nothing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from pipeline import ids
from pipeline.catalogue import stage_class, stage_files
from pipeline.config import validate
from pipeline.engine import EngineConfig, engine_class
from pipeline.errors import PlanError
from pipeline.records import Record
from pipeline.stage import SourceStage, Stage, stage_name
from pipeline.tables import table_name

NAME = r"[A-Za-z0-9][A-Za-z0-9_-]*"  # of a job; a dot would read as a side table, a slash as another folder
FORMAT = 2  # of shards and recipes; raised when an older run can no longer be continued


class RunConfig(BaseModel):
    """The top level of a config. Only name, seed, shard_size, engines and jobs decide what rows come out."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    seed: int = 0
    shard_size: int = Field(128, ge=1)
    engines: dict[str, dict[str, Any]] = Field(default_factory=dict)
    jobs: list[dict[str, Any]] = Field(min_length=1)
    max_reject_rate: float = Field(0.05, ge=0, le=1)  # of the rows of any one job; above it the run stops
    runs_dir: str = "runs"
    executor: Literal["ray", "local"] = "ray"
    address: str | None = None  # of a Ray cluster to join (`auto`); none: start a local one
    schedule: Literal["auto", "pipelined", "staged"] = "auto"
    window: int | None = Field(None, ge=1)  # shards under way at a time; default: twice what engines can hold
    max_attempts: int = Field(3, ge=1)  # of a shard
    watchdog_s: float = Field(900, gt=0)  # silence of a shard after which it is failed


@dataclass(frozen=True)
class Job:
    """A stage placed in a plan. `inputs`: all jobs it is made from, the source first; `recipe`: all that decides its rows."""

    name: str
    stage: Stage
    inputs: tuple[str, ...]
    recipe: Mapping[str, Any]

    @cached_property
    def fingerprint(self) -> str:
        """Hash of the recipe."""
        return ids.content_hash("job/1", self.recipe)

    @property
    def table(self) -> type[Record]:
        """The record type of the job's own table."""
        return self.stage.makes()[0]


@dataclass(frozen=True)
class Plan:
    """A config that holds together."""

    config: RunConfig
    engines: Mapping[str, EngineConfig]
    jobs: Mapping[str, Job]

    @property
    def source(self) -> Job:
        """The job that reads the input."""
        return next(iter(self.jobs.values()))

    def makers(self, job: Job, cls: type[Record]) -> list[Job]:
        """Jobs among the inputs of `job` that make records of type `cls`, in plan order; not those replaced by another."""
        found = [self.jobs[name] for name in job.inputs if cls in self.jobs[name].stage.makes()]
        replaced = {name for maker in found if cls in maker.stage.replaces() for name in maker.inputs}
        return [maker for maker in found if maker.name not in replaced]


def make_plan(data: Mapping[str, Any], stored: Mapping[str, Mapping[str, Any]] | None = None) -> Plan:
    """A checked plan of a config's data. Raises PlanError: unknown key or stage, wrong type, broken chain, missing path.

    `stored`: recipes of jobs that were planned before, by name. They are taken as they are, so that a run can be looked
    at where its input, templates and models are not.
    """
    known = stored or {}
    config = validate(RunConfig, data, "config")
    engines = {alias: _engine(alias, fields) for alias, fields in config.engines.items()}
    jobs: dict[str, Job] = {}
    for number, fields in enumerate(config.jobs, 1):
        job = _job(engines, jobs, number, fields)
        jobs[job.name] = replace(job, recipe=known.get(job.name) or _recipe(config, engines, jobs, job))
    for alias in {alias for name, job in jobs.items() if name not in known for alias in job.stage.engines()}:
        engines[alias].check()
        if (silent := engines[alias].silence_s()) >= config.watchdog_s:
            raise PlanError(
                f"engine {alias}: a request may take timeout_s {silent:g}, but a shard is failed after watchdog_s "
                f"{config.watchdog_s:g} of silence; set watchdog_s above it"
            )
    used = {alias for job in jobs.values() for alias in job.stage.engines()}
    return Plan(config, {alias: engine for alias, engine in engines.items() if alias in used}, jobs)


def _engine(alias: str, fields: Any) -> EngineConfig:
    if not isinstance(fields, dict) or "kind" not in fields:
        raise PlanError(f"engine {alias} needs a kind: {{kind: vllm, model: …}}")
    return validate(engine_class(str(fields["kind"])), fields, f"engine {alias}")


def _job(engines: Mapping[str, EngineConfig], jobs: Mapping[str, Job], number: int, fields: Mapping[str, Any]) -> Job:
    """The job in its place, its recipe still to be written."""
    if "stage" not in fields:
        raise PlanError(f"job {number} names no stage; stages: {', '.join(stage_files())}")
    cls = stage_class(str(fields["stage"]))
    name = str(fields.get("name", str(fields["stage"]).rpartition(".")[2]))
    if not re.fullmatch(NAME, name):
        raise PlanError(f"job name {name!r} names a folder: letters, digits, _ and - only, a letter or digit first")
    stage = validate(cls, {k: v for k, v in fields.items() if k not in ("stage", "name", "from")}, f"job {name}")
    if name in jobs:
        raise PlanError(f"two jobs are called {name}; give one of them a name")
    if isinstance(stage, SourceStage) != (not jobs):
        raise PlanError(
            f"job {name}: a source must be the first job, and only the first ({fields['stage']} is job {number})"
        )
    inputs = _inputs(name, given := fields.get("from"), jobs)
    named = [given] if isinstance(given, str) else given or []
    tables = [{cls for i in those for cls in jobs[i].stage.makes()} for those in (named, inputs)]
    try:
        stage = stage.placed(*tables)
    except PlanError as error:
        raise PlanError(f"job {name}: {error}") from None
    _check_chain(name, stage, inputs, jobs)
    _check_engines(name, stage, engines)
    return Job(name, stage, inputs, {})


def _recipe(
    config: RunConfig, engines: Mapping[str, EngineConfig], jobs: Mapping[str, Job], job: Job
) -> Mapping[str, Any]:
    stage = job.stage
    stage.check()
    for template in stage.templates():
        template.check(type(stage).template_variables)
    return {
        "format": FORMAT,
        "stage": stage_name(type(stage)),
        "version": type(stage).version,
        "fields": stage.model_dump(mode="json", exclude=set(type(stage).not_identity)),
        "templates": {t.name: t.text for t in stage.templates()},
        "engines": {alias: engines[alias].identity() for alias in stage.engines()},
        "inputs": {i: jobs[i].fingerprint for i in job.inputs},
        "seed": config.seed,
        "shard_size": config.shard_size,
    }


def _inputs(name: str, given: Any, jobs: Mapping[str, Job]) -> tuple[str, ...]:
    """`from` names jobs; what they are made from comes along. Default: all jobs before this one."""
    if given is None:
        return tuple(jobs)
    wanted = [given] if isinstance(given, str) else given
    if not isinstance(wanted, list) or not wanted or not all(isinstance(item, str) for item in wanted):
        raise PlanError(f"job {name}: from is {given!r:.80}; it must be the name of a job or a list of names")
    for item in wanted:
        if item not in jobs:
            raise PlanError(
                f"job {name} is from {item!r}, which is no job before it; jobs before it: {', '.join(jobs) or 'none'}"
            )
    closed = {i for item in wanted for i in (item, *jobs[item].inputs)}
    return tuple(j for j in jobs if j in closed)


def _check_chain(name: str, stage: Stage, inputs: Sequence[str], jobs: Mapping[str, Job]) -> None:
    made = {cls for i in inputs for cls in jobs[i].stage.makes()}
    for cls in stage.needs():
        if cls not in made | stage.where_made:
            makers = [s for s in stage_files() if cls in _makes_of(s)]
            raise PlanError(
                f"job {name} needs {table_name(cls)}, which nothing upstream of it makes; "
                f"put one of these before it: {', '.join(makers) or 'none ships'}"
            )


def _makes_of(stage: str) -> tuple[type[Record], ...]:
    cls = stage_class(stage)
    return () if issubclass(cls, SourceStage) else cls.makes(cls.model_construct())


def _check_engines(name: str, stage: Stage, engines: Mapping[str, EngineConfig]) -> None:
    for alias in stage.engines():
        if alias not in engines:
            raise PlanError(f"job {name} uses engine {alias!r}; engines of this config: {', '.join(engines) or 'none'}")
        if missing := stage.capabilities(alias) - (able := engines[alias].capabilities()):
            raise PlanError(
                f"job {name} needs an engine that can {', '.join(sorted(missing))}; {alias} (kind {engines[alias].kind}) "
                f"can {', '.join(sorted(able))}"
            )


def first_difference(old: Any, new: Any, path: str = "") -> tuple[str, Any, Any] | None:
    """Where two recipes first differ: (field, old value, new value), or None."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted({*old, *new}):
            if found := first_difference(old.get(key), new.get(key), f"{path}.{key}" if path else str(key)):
                return found
        return None
    return None if old == new else (path, old, new)


def recipe_json(job: Job) -> str:
    """What is stored as job.json."""
    return json.dumps(
        {"fingerprint": job.fingerprint, "recipe": job.recipe}, indent=1, sort_keys=True, ensure_ascii=False
    )
