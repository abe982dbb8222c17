"""Shards on a Ray cluster: one actor per engine replica, a shard runs inside an actor of its first engine.

Jobs without an engine are plain tasks. Actors restart for ever but their calls are never repeated by Ray: the driver
retries a shard on a replica that lives (spec engines §3), so work is never pinned to a dead one.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import ray
from ray.exceptions import RayActorError, RayError

from pipeline.engine import ROOT, EngineConfig
from pipeline.errors import EngineDied, EngineError, PlanError
from pipeline.live import LiveEngine
from pipeline.plan import Plan, make_plan
from pipeline.remote import Answerer, RemoteEngine
from pipeline.stage import SourceIndex
from pipeline.store import Store
from pipeline.worker import Outcome, Worker

QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_DEDUP_LOGS": "1", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}
Peers = Mapping[str, list[Any]]  # engine alias -> actor handles


@dataclass(frozen=True)
class Setup:
    """What a worker process needs to become one: the config as read, where the run lies, where the driver stood."""

    config: dict[str, Any]
    root: str
    index: SourceIndex
    folder: str

    def enter(self) -> tuple[Plan, Store]:
        """Stands where the driver stood (relative paths of the config) and checks the plan again."""
        with contextlib.suppress(OSError):
            os.chdir(self.folder)
        for path in (str(ROOT), self.folder):
            if path not in sys.path:
                sys.path.append(path)
        return make_plan(self.config), Store(self.root)


class Replica:
    """The actor: one engine and the shards that run inside its process."""

    def __init__(self, setup: Setup, alias: str) -> None:
        self.plan, self.store = setup.enter()
        self.setup, self.alias = setup, alias
        self.engine = LiveEngine(self.plan.engines[alias])
        self.answerer = Answerer(self.engine)
        self.worker: Worker | None = None

    async def open(self) -> None:
        """Starts the engine."""
        await self.engine.open()

    async def run(self, job: str, shard: int, peers: Peers) -> Outcome:
        """Runs a shard here; other engines are reached through `peers`."""
        if self.worker is None:
            others = {alias: RemoteEngine(handles) for alias, handles in peers.items() if alias != self.alias}
            self.worker = Worker(self.plan, self.store, {self.alias: self.engine, **others}, self.setup.index)
        return await self.worker.run(job, shard)

    async def answer(self, what: str, requests: list[Any]) -> list[Any]:
        """Answers a batch of another replica's requests; an answer may be an exception."""
        return await self.answerer.answer(what, requests)

    async def stats(self) -> dict[str, float]:
        """Counters of this replica's engine."""
        return self.engine.stats()

    async def close(self) -> None:
        """Closes the engine before the process goes."""
        await self.engine.close()


_worker: tuple[str, Worker] | None = None  # of this task process, which Ray uses again for the next task


def _run_task(setup: Setup, job: str, shard: int) -> Outcome:
    global _worker
    if _worker is None or _worker[0] != setup.root:
        plan, store = setup.enter()
        _worker = (setup.root, Worker(plan, store, {}, setup.index))
    return asyncio.run(_worker[1].run(job, shard))


@dataclass
class _Seat:
    """A replica as the driver sees it."""

    actor: Any
    busy: int = 0
    alive: bool = True


class RayExecutor:
    """See the module's text. `data` is the config as read: workers build the plan themselves, nothing of it travels pickled."""

    def __init__(self, plan: Plan, data: dict[str, Any], store: Store, index: SourceIndex) -> None:
        self.plan = plan
        self._seats: dict[str, list[_Seat]] = {}
        self._watchers: set[asyncio.Task[None]] = set()
        _connect(plan.config.address, plan.engines.values())
        self._cpus = max(1, int(_cluster().get("CPU", 1)))
        self._setup = ray.put(Setup(data, store.root, index, os.getcwd()))
        self._task = ray.remote(num_cpus=0, max_retries=0)(_run_task)

    async def open(self, engines: Iterable[str]) -> None:
        """See Executor."""
        wanted = list(engines)
        for alias in wanted:
            resources = self.plan.engines[alias].resources
            options = {
                "num_gpus": resources.gpus,
                "num_cpus": resources.cpus,
                "max_restarts": -1,
                "max_task_retries": 0,
                # shards, batches of other replicas, and the driver's questions, all at once
                "max_concurrency": resources.slots + 64,
            }
            actor = ray.remote(Replica).options(**options)
            self._seats[alias] = [_Seat(actor.remote(self._setup, alias)) for _ in range(resources.replicas)]
        try:
            await asyncio.gather(*(seat.actor.open.remote() for alias in wanted for seat in self._seats[alias]))
        except RayActorError as error:
            raise EngineError(f"an engine of {', '.join(wanted)} did not start: {_first_line(error)}") from None

    def slots(self, lane: str | None) -> int:
        """Slots of the replicas that live; tasks: one per CPU."""
        if lane is None:
            return self._cpus
        alive = sum(seat.alive for seat in self._seats.get(lane, ()))
        return alive * self.plan.engines[lane].resources.slots

    def gpus(self) -> float:
        """See Executor."""
        return float(_cluster().get("GPU", 0))

    async def run(self, job: str, shard: int) -> Outcome:
        """See Executor."""
        aliases = self.plan.jobs[job].stage.engines()
        if not aliases:
            return await self._guard(self._task.remote(self._setup, job, shard), job, shard)
        living = [seat for seat in self._seats[aliases[0]] if seat.alive]
        if not living:
            raise EngineDied(f"job {job}, shard {shard}: no replica of engine {aliases[0]} lives at the moment")
        seat = min(living, key=lambda s: s.busy)
        peers = {alias: [s.actor for s in self._seats[alias]] for alias in aliases[1:]}
        seat.busy += 1
        try:
            return await self._guard(seat.actor.run.remote(job, shard, peers), job, shard)
        except EngineDied:
            self._revive(seat)
            raise
        finally:
            seat.busy -= 1

    @staticmethod
    async def _guard(call: Any, job: str, shard: int) -> Outcome:
        try:
            outcome: Outcome = await call
        except asyncio.CancelledError:
            ray.cancel(call, force=False)
            raise
        except RayError as error:
            cause = getattr(error, "cause", None)  # what the worker raised, when it was not the worker that died
            if isinstance(cause, Exception):
                raise cause from None
            raise EngineDied(f"job {job}, shard {shard}: a worker process died ({_first_line(error)})") from None
        return outcome

    def _revive(self, seat: _Seat) -> None:
        """Takes a replica out until it answers again; Ray restarts its process meanwhile."""
        if seat.alive:
            seat.alive = False
            task = asyncio.get_running_loop().create_task(self._wait_for(seat))
            self._watchers.add(task)
            task.add_done_callback(self._watchers.discard)

    @staticmethod
    async def _wait_for(seat: _Seat) -> None:
        while True:
            try:
                await seat.actor.open.remote()
            except (RayError, EngineError):
                await asyncio.sleep(0.5)
            else:
                seat.alive = True
                return

    async def close(self, engines: Iterable[str]) -> None:
        """See Executor."""
        for alias in engines:
            for seat in self._seats.pop(alias, []):
                with contextlib.suppress(RayError, TimeoutError):
                    await asyncio.wait_for(seat.actor.close.remote(), 10)
                ray.kill(seat.actor)

    async def stop(self) -> None:
        """See Executor."""
        for task in self._watchers:
            task.cancel()
        await self.close(list(self._seats))
        ray.shutdown()

    async def stats(self) -> dict[str, dict[str, float]]:
        """See Executor."""
        totals: dict[str, dict[str, float]] = {}
        for alias, seats in self._seats.items():
            total = totals.setdefault(alias, {})
            for seat in seats:
                with contextlib.suppress(RayError, TimeoutError):
                    for name, value in (await asyncio.wait_for(seat.actor.stats.remote(), 5)).items():
                        total[name] = total.get(name, 0) + value
        return totals


def _connect(address: str | None, engines: Iterable[EngineConfig]) -> None:
    """Joins a cluster, or starts one here that has the CPUs the engines ask for, so that nothing waits for ever."""
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    needed = [config.resources for config in engines]
    if not ray.is_initialized():
        options: dict[str, Any] = {"logging_level": "warning", "include_dashboard": False}
        if address:
            options = {"logging_level": "warning", "address": address}
        else:
            os.environ.setdefault("RAY_AUTH_MODE", "token")  # explicit: the default differs between Ray's own commands
            options["num_cpus"] = max(os.cpu_count() or 1, int(sum(r.cpus * r.replicas for r in needed)) + 1)
        ray.init(**options)
    total = _cluster()
    for resources in needed:
        if resources.gpus > total.get("GPU", 0) or resources.cpus > total.get("CPU", 0):
            raise PlanError(
                f"an engine asks for {resources.gpus:g} GPUs and {resources.cpus:g} CPUs; the cluster has "
                f"{total.get('GPU', 0):g} and {total.get('CPU', 0):g}; change resources or join another with --address"
            )


def _cluster() -> dict[str, float]:
    return dict(ray.cluster_resources())  # type: ignore[no-untyped-call]


def _first_line(error: BaseException) -> str:
    return str(error).strip().split("\n")[0]
