"""Runs one (job, shard): read shard i upstream, hand each example to the stage, commit what came out.

The only place that turns failures into data: `Rejected` becomes a row of rejects; anything else fails the shard whole.
"""

from __future__ import annotations

import asyncio
import gc
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from pipeline.dataset import Verdict, Verdicts
from pipeline.engine import Engine
from pipeline.errors import EngineError, PlanError, Rejected
from pipeline.journal import Journal, JournaledEngine
from pipeline.live import CountedEngine
from pipeline.plan import Job, Plan
from pipeline.records import Candidate, Judgment, Prompt, Rationale, Record, Reject
from pipeline.stage import FIELD_OF, Context, Example, Slice, SourceIndex, SourceStage
from pipeline.store import JOURNAL, Report, Store
from pipeline.tree import Tree
from pipeline.watchdog import Watchdog

R = TypeVar("R", bound=Record)
KEPT_SHARDS = 24  # tables kept decoded in memory, so that the next job of a shard need not read them again


@dataclass
class Outcome:
    """A committed shard as the driver sees it: its counts, and how long it took (which the shard does not store)."""

    job: str
    shard: int
    report: Report
    seconds: float
    requests: int = 0  # asked of engines


@dataclass
class Worker:
    """Runs shards of one plan in this process. `engines` are those that can be reached from here, by alias."""

    plan: Plan
    store: Store
    engines: Mapping[str, Engine]
    index: SourceIndex
    _kept: OrderedDict[tuple[str, type[Record], int], list[Any]] = field(default_factory=OrderedDict)

    def __post_init__(self) -> None:
        """Rows hold no cycles and live until their shard is committed: looking for cycles among them cost a tenth."""
        gc.set_threshold(100_000, 50, 100)

    async def run(self, job_name: str, shard: int) -> Outcome:
        """Processes and commits one shard. Raises EngineError (retry), RunError or PlanError (stop)."""
        started = time.monotonic()
        job = self.plan.jobs[job_name]
        if not self.store.is_local and self.store.exists(job_name, self.store.shard_file(shard)):
            # The store listed it late. Made again it might be another, and later jobs have used this one.
            return Outcome(job_name, shard, self.store.report(job_name, shard), 0.0)
        ctx = self._context(job)
        asked = [engine for engine in ctx.engines.values() if isinstance(engine, CountedEngine)]
        journal = None
        if isinstance(job.stage, SourceStage):
            rows, size = self._read_source(job, job.stage, shard)
        else:
            examples = self.examples(job_name, shard)
            journal = self._journal(job, shard, ctx)
            with Watchdog(f"job {job.name}, shard {shard}, engine {', '.join(job.stage.engines()) or 'none'}",
                          self.plan.config.watchdog_s, lambda: max((e.heard for e in asked), default=0.0)) as dog:  # fmt: skip
                ctx.alive = dog.alive
                try:
                    rows = await self._process(job, shard, examples, ctx, dog)
                except BaseException:
                    if journal is not None:
                        journal.close()
                    raise
            size = len(examples)
        report = self._commit(job, shard, rows, size, ctx)
        if journal is not None:
            journal.close(delete=True)
        requests = sum(engine.requests for engine in asked)
        return Outcome(job_name, shard, report, time.monotonic() - started, requests)

    def _context(self, job: Job) -> Context:
        configs = {alias: self.plan.engines[alias] for alias in job.stage.engines()}
        return Context(
            job=job.name,
            run=self.plan.config.name,
            run_seed=self.plan.config.seed,
            fingerprint=job.fingerprint,
            engines={alias: CountedEngine(self.engines[alias]) for alias in configs},
            engine_models={alias: c.model for alias, c in configs.items()},
            engine_kinds={alias: c.kind for alias, c in configs.items()},
            engine_families={alias: c.family for alias, c in configs.items()},
        )

    def _journal(self, job: Job, shard: int, ctx: Context) -> Journal | None:
        """The shard's journal, with the engines of `ctx` behind it: where the stage asks for one, or (None) one can be."""
        wanted = getattr(job.stage, "journal", False)
        if wanted is False or (wanted is None and not self.store.is_local):
            return None
        if not self.store.is_local:
            raise PlanError(f"job {job.name}: journal: true needs a runs_dir on a disk, {self.store.root} is none")
        journal = Journal(self.store.path(job.name, f"{shard:05d}{JOURNAL}"))
        ctx.journal = journal
        ctx.engines = {alias: JournaledEngine(alias, engine, journal) for alias, engine in ctx.engines.items()}
        return journal

    def _read_source(self, job: Job, stage: SourceStage, shard: int) -> tuple[list[Record], int]:
        start, stop, offset = self.index.slices[shard]
        rows = list(stage.read(Slice(start, stop, offset), self.index.duplicates, job.name))
        return rows, stop - start

    def examples(self, job_name: str, shard: int) -> list[Example[Any]]:
        """One example per prompt that no upstream job rejected or dropped, in the order of the source."""
        job = self.plan.jobs[job_name]
        lost = {
            r.prompt_id for name in job.inputs[1:] for r in self._load(self.plan.jobs[name], Reject, shard)
            if r.subject == "prompt"
        }  # fmt: skip
        verdicts = Verdicts(v for maker in self.plan.makers(job, Verdict) for v in self._load(maker, Verdict, shard))
        asked = [*self._load(self.plan.source, Prompt, shard), *self._probes(job, shard)]
        prompts = [verdicts.apply(p) for p in asked if p.prompt_id not in lost]
        examples: dict[str, Example[Any]] = {
            p.prompt_id: Example(p, cluster=verdicts.cluster(p.prompt_id), budget=verdicts.budget(p.prompt_id))
            for p in prompts if p is not None
        }  # fmt: skip
        for cls in job.stage.needs():
            grouped: dict[str, list[Any]] = {prompt_id: [] for prompt_id in examples}
            for maker in self.plan.makers(job, cls):
                for row in self._load(maker, cls, shard):
                    if row.prompt_id in grouped and (seen := verdicts.apply(row)) is not None:
                        grouped[row.prompt_id].append(seen)
            for prompt_id, rows in grouped.items():
                setattr(examples[prompt_id], FIELD_OF[cls], rows)
        return list(examples.values())

    def _probes(self, job: Job, shard: int) -> list[Prompt]:
        """Planted prompts: only judging jobs and those that meet them see any."""
        if job.stage.planted != "meets" and job.stage.makes()[:1] != (Judgment,):
            return []
        planted = [maker for maker in self.plan.makers(job, Prompt) if maker.stage.planted == "makes"]
        return [prompt for maker in planted for prompt in self._load(maker, Prompt, shard)]

    def _load(self, job: Job, cls: type[R], shard: int) -> list[R]:
        key = (job.name, cls, shard)
        if key not in self._kept:
            self._keep(key, self.store.read(job.name, cls, shard, main=cls is job.table))
        return self._kept[key]

    def _keep(self, key: tuple[str, type[Record], int], rows: Sequence[Record]) -> None:
        self._kept[key] = list(rows)
        while len(self._kept) > KEPT_SHARDS:
            self._kept.popitem(last=False)

    async def _process(
        self, job: Job, shard: int, examples: Sequence[Example[Any]], ctx: Context, dog: Watchdog
    ) -> list[Record]:  # fmt: skip
        if not job.stage.engines():  # nothing to wait for: no task per example
            return [row for e in examples for row in await self._one(job, e, ctx, dog)]
        seats = asyncio.Semaphore(job.stage.at_once(self._batch(job)) or len(examples) or 1)

        async def seated(example: Example[Any]) -> Sequence[Record]:
            async with seats:
                return await self._one(job, example, ctx, dog)

        try:
            async with asyncio.TaskGroup() as group:
                dog.watch(asyncio.current_task())
                tasks = [group.create_task(seated(example)) for example in examples]
        except ExceptionGroup as failures:
            error = _first(failures)
            if isinstance(error, EngineError):  # a death stays one: the driver counts it less
                raise type(error)(f"job {job.name}, shard {shard}: {error}") from failures
            raise error from None
        return [row for task in tasks for row in task.result()]

    def _batch(self, job: Job) -> int | None:
        """What one of the shards that share the first engine may fill of its batch."""
        config = self.plan.engines[job.stage.engines()[0]]
        return None if (batch := config.batch()) is None else -(-batch // config.resources.slots)

    async def _one(self, job: Job, example: Example[Any], ctx: Context, dog: Watchdog) -> Sequence[Record]:
        try:
            rows = await job.stage.process(example, ctx)
        except Rejected as why:
            prompt_id = example.prompt.prompt_id
            rows = [Reject(prompt_id, job.name, "prompt", why.reason, why.detail, subject_id=prompt_id)]
        except (EngineError, asyncio.CancelledError):
            raise
        except Exception as error:  # a bug of ours or of an engine: say where, fail the shard
            error.add_note(f"while job {job.name} processed prompt {example.prompt.prompt_id}")
            raise
        dog.alive()
        return rows

    def _commit(self, job: Job, shard: int, rows: Sequence[Record], size: int, ctx: Context) -> Report:
        made: tuple[type[Record], ...] = (*job.stage.makes(), Reject)
        tables: dict[type[Record], list[Record]] = {cls: [] for cls in made}
        for row in rows:
            tables[type(row)].append(row)
            if isinstance(row, (Judgment, Rationale)):
                ctx.count(f"status:{row.status}")
        subject = "row" if isinstance(job.stage, SourceStage) else "prompt"
        rejected = [r for r in tables[Reject] if isinstance(r, Reject) and r.subject == subject]
        for reject in tables[Reject]:
            if isinstance(reject, Reject):
                ctx.count(f"reject:{reject.subject}:{reject.reason}")
        report: Report = {
            "rows_in": size,
            "kept": size - len(rejected),
            "rejected": len(rejected),
            "rows_out": len(tables[job.table]),
            "tokens": _total(rows),
            "counts": dict(sorted(ctx.counts.items())),
        }
        if self.store.exists(job.name, self.store.shard_file(shard)):
            # Made meanwhile by a worker that was given up and lived on; later jobs may have used what it made.
            return self.store.report(job.name, shard)
        self.store.write(job.name, shard, tables, report)
        for cls, kept in tables.items():
            self._keep((job.name, cls, shard), kept)
        return report


def _first(failures: ExceptionGroup[Exception]) -> Exception:
    """The failure to report: a bug before an engine that failed, which it may have caused."""
    engine, other = failures.split(EngineError)
    error: Exception = other or engine or failures
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return error


def _total(rows: Sequence[Record]) -> int:
    """Tokens that engines generated for these rows, as far as rows say."""
    total = 0
    for row in rows:
        if isinstance(row, (Candidate, Rationale)):
            total += row.n_tokens or 0
        elif isinstance(row, Judgment):
            total += row.n_out or 0
        elif isinstance(row, Tree):
            total += row.gen_tokens + row.eval_tokens
    return total
