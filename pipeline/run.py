"""A plan executed into a directory; resumable for ever. The driver keeps no state that the files do not have."""

from __future__ import annotations

import asyncio
import functools
import json
import os
import secrets
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipeline import metrics, signals
from pipeline.dataset import Dataset, DatasetStage
from pipeline.decide import decide
from pipeline.ended import Ended
from pipeline.engine import EngineConfig
from pipeline.errors import EngineDied, EngineError, Interrupted, RunError
from pipeline.executor import Executor
from pipeline.finish import finish_job
from pipeline.live import LiveEngine
from pipeline.lock import lock
from pipeline.plan import Job, Plan, make_plan
from pipeline.progress import Progress
from pipeline.records import Reject
from pipeline.resume import load_index, prepare, sweep
from pipeline.schedule import Schedule, Unit, phases
from pipeline.stage import SourceIndex
from pipeline.store import Store
from pipeline.tables import table_name
from pipeline.totals import Totals, all_totals, keep
from pipeline.worker import Outcome

GRACE_S = 7.0  # to drain after a signal; the promise is 10, and stopping Ray takes one or two
MIN_ROWS = 200  # before a reject rate means anything, unless the job is complete


@dataclass
class Driver:
    """One execution of a plan."""

    plan: Plan
    data: dict[str, Any]  # the config as read; workers plan from it themselves
    store: Store
    index: SourceIndex
    totals: dict[str, Totals]
    progress: Progress
    make_engine: Callable[[str, EngineConfig], LiveEngine] | None = None  # other engines than the config's: previews
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    attempts: Counter[Unit] = field(default_factory=Counter)
    running: dict[asyncio.Future[Any], Unit] = field(default_factory=dict)

    async def run(self) -> None:
        """Works every unit that is not there yet. Raises Interrupted, RunError, EngineError or PlanError."""
        for job in self.plan.jobs.values():
            self._check_rejects(job)
        if all(totals.shards == len(self.index.slices) for totals in self.totals.values()):
            self._finish_jobs()
            return
        executor = self._executor()
        signals.take_over()
        try:
            staged, opened = self._staged(executor), set[str]()
            for names in phases(self.plan, staged):
                done = {name: totals.done for name, totals in self.totals.items()}
                schedule = Schedule(self.plan, names, done, len(self.index.slices))
                if schedule.over:
                    continue
                if isinstance(self.plan.jobs[names[0]].stage, DatasetStage):
                    self._decide(self.plan.jobs[names[0]], executor)
                    continue
                needed = {a for n in names if schedule.left[n] for a in self.plan.jobs[n].stage.engines()}
                if staged and needed:  # else an engine outlives the dataset stages between its jobs
                    await executor.close(sorted(opened - needed))
                    opened &= needed
                await self._open(executor, sorted(needed - opened))
                opened |= needed
                with signals.draining(self.stopping):
                    await self._work(schedule, executor)
                stats = await executor.stats()
                self._tell(executor, stats)
                self.progress.engines(stats)
        finally:
            await executor.stop()
        sweep(self.plan, self.store)  # after workers that were killed while others went on
        self._finish_jobs()

    async def _open(self, executor: Executor, engines: Sequence[str]) -> None:
        self.progress.say(f"starting engines: {', '.join(engines)}" if engines else "no further engines needed")
        await executor.open(engines)
        self.progress.mark("engines_up", engines=engines)

    def _decide(self, job: Job, executor: Executor) -> None:
        """A dataset stage, in this thread: a signal ends it at once, and nothing but the decision is lost."""
        self.progress.say(f"deciding: {job.name}")
        data = Dataset[Any](len(self.index.slices), functools.partial(executor.look, job.name))
        for outcome in decide(self.plan, job, self.store, data):
            self._book(outcome)

    def _executor(self) -> Executor:
        if self.plan.config.executor == "local":
            from pipeline.executors.local import LocalExecutor

            make = self.make_engine or (lambda _, config: LiveEngine(config))
            return LocalExecutor(self.plan, self.store, self.index, make)
        if not (self.plan.config.address or os.environ.get("RAY_ADDRESS")):
            _protect_own_cluster()
        from pipeline.executors.ray import RayExecutor  # Ray takes a second to import; the local executor needs none

        return RayExecutor(self.plan, self.data, self.store, self.index)

    def _staged(self, executor: Executor) -> bool:
        """Stage by stage when told to, or when not all engines fit on the accelerators at once."""
        wanted = sum(e.resources.gpus * e.resources.replicas for e in self.plan.engines.values())
        schedule = self.plan.config.schedule
        return schedule == "staged" or (schedule == "auto" and wanted > executor.gpus())

    async def _work(self, schedule: Schedule, executor: Executor) -> None:
        ended = Ended()
        quiet_since = time.monotonic()
        stop = asyncio.ensure_future(self.stopping.wait())
        stop.add_done_callback(ended.note)
        telling = asyncio.ensure_future(self._keep_telling(executor))
        lanes = (None, *self.plan.engines)
        try:
            while not schedule.over and not self.stopping.is_set():
                window = self.plan.config.window or 2 + 2 * sum(executor.slots(lane) for lane in lanes)
                for unit in schedule.take(window, executor.slots):
                    task = asyncio.ensure_future(executor.run(*unit))
                    self.running[task] = unit
                    task.add_done_callback(ended.note)
                # a lane without a living replica has no slots; look again soon
                done = await ended.some(1.0)
                if self.running:
                    quiet_since = time.monotonic()
                elif time.monotonic() - quiet_since > self.plan.config.watchdog_s:
                    raise EngineError(f"no replica of any engine came back within {self.plan.config.watchdog_s:g} s")
                for each in done & self.running.keys():
                    self._settle(schedule, self.running.pop(each), each)
                self.progress.tick(self.totals, len(self.index.slices))
            if self.running and self.stopping.is_set():
                await self._drain(schedule, self.running)
        finally:
            left: list[asyncio.Future[Any]] = [stop, telling, *self.running]
            self.running.clear()
            for each in left:
                each.cancel()
            await asyncio.gather(*left, return_exceptions=True)
        if not schedule.over:
            n = sum(schedule.left.values())
            raise Interrupted(f"stopped; {n} shards are left, run the same command again to go on")

    async def _keep_telling(self, executor: Executor) -> None:
        while True:
            await asyncio.sleep(metrics.EVERY_S)
            self._tell(executor, await executor.stats())

    def _tell(self, executor: Executor, stats: Mapping[str, Mapping[str, float]]) -> None:
        running = Counter(job for job, _ in self.running.values())
        samples = metrics.of_jobs(self.plan.config.name, self.totals, running, len(self.index.slices))
        samples += metrics.of_engines(self.plan.config.name, stats, executor.slots)
        metrics.leave(self.store, samples)
        executor.tell(samples)

    async def _drain(self, schedule: Schedule, running: dict[asyncio.Future[Any], Unit]) -> None:
        self.progress.say(f"stopping: {len(running)} shards under way have {GRACE_S:g} s to finish")
        done, _ = await asyncio.wait(running, timeout=GRACE_S)
        for task in done:
            unit = running.pop(task)
            if not isinstance(task.exception(), EngineError):
                self._settle(schedule, unit, task)

    def _settle(self, schedule: Schedule, unit: Unit, task: asyncio.Future[Outcome]) -> None:
        """Books a finished unit; a failed one goes back, until it has failed too often."""
        try:
            outcome = task.result()
        except EngineError as error:
            # a death may be another shard's fault or a node's: it costs a third of an attempt
            self.attempts[unit] += 1 if isinstance(error, EngineDied) else 3
            schedule.failed(unit)
            self.progress.say(f"retrying job {unit[0]}, shard {unit[1]}: {error}")
            if self.attempts[unit] >= 3 * self.plan.config.max_attempts:
                raise EngineError(
                    f"job {unit[0]}, shard {unit[1]} failed {self.attempts[unit] // 3} times: {error}"
                ) from None
            return
        schedule.finished(unit)
        self._book(outcome)
        self._check_rejects(self.plan.jobs[unit[0]])

    def _book(self, outcome: Outcome) -> None:
        totals = self.totals[outcome.job]
        totals.add(outcome.shard, outcome.report)
        keep(self.store, outcome.job, totals)
        self.progress.log(outcome)

    def _check_rejects(self, job: Job) -> None:
        totals, limit = self.totals[job.name], self.plan.config.max_reject_rate
        enough = totals.rows_in >= MIN_ROWS or totals.shards == len(self.index.slices)
        if enough and totals.rejected > limit * totals.rows_in:
            reasons = Counter({k.split(":", 2)[2]: n for k, n in totals.counts.items() if k.startswith("reject:")})
            often = ", ".join(f"{reason} {n}" for reason, n in reasons.most_common(3))
            raise RunError(
                f"job {job.name} rejected {totals.rejected} of {totals.rows_in} rows ({often}), above max_reject_rate "
                f"{limit:g}; see {self.store.path(f'{job.name}.{table_name(Reject)}')}, mend the input or raise the limit"
            )

    def _finish_jobs(self) -> None:
        for job in self.plan.jobs.values():
            finish_job(self.plan, self.store, job, self.totals, range(len(self.index.slices)))


def _protect_own_cluster() -> None:
    """A cluster we start takes orders from this process tree alone, by a token that lives as long as it does.

    Ray reads these when it is imported; without them it would write a token into the user's home.
    """
    if not any(name in os.environ for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")):
        os.environ.update(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=secrets.token_hex(32))


def execute(
    data: dict[str, Any],
    rebuild: str | None = None,
    plain: bool = False,
    make_engine: Callable[[str, EngineConfig], LiveEngine] | None = None,
    quiet: bool = False,
) -> Driver:
    """Plans and runs a config; blocks until done. Raises PrefsynthError; its exit_code is the process's."""
    plan = make_plan(data)
    store = Store(f"{plan.config.runs_dir}/{plan.config.name}")
    store.create()
    with signals.raising(), lock(store):
        prepare(plan, store, rebuild)
        store.write_text(json.dumps(data, indent=1, ensure_ascii=False), "run.json")  # for status, show, report
        index = load_index(plan, store)
        totals = all_totals(store, list(plan.jobs))
        with Progress(plan, store, plain, quiet) as progress:
            driver = Driver(plan, data, store, index, totals, progress, make_engine)
            for name in plan.jobs:
                keep(store, name, totals[name])
            asyncio.run(driver.run())
    return driver
