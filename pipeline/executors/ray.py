"""Shards on a Ray cluster: one actor per engine replica, a shard runs inside an actor of its first engine.

Jobs without an engine are plain tasks. Actors restart for ever but their calls are never repeated by Ray: the driver
retries a shard on a replica that lives (spec engines §3), so work is never pinned to a dead one.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import socket
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import ray
from ray.exceptions import RayError

from pipeline.dataset import Columns, Look
from pipeline.engine import EngineConfig, Resources
from pipeline.errors import EngineDied, EngineError, PlanError
from pipeline.executors.ray_data import look_at_shards
from pipeline.plan import Plan
from pipeline.replica import Replica, Setup, run_task
from pipeline.stage import SourceIndex
from pipeline.store import Store
from pipeline.worker import Outcome

ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DEDUP_LOGS": "1",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    # Of a cluster we start: else a process that is idle for a second ends, and to start the next one costs another.
    "RAY_idle_worker_killing_time_threshold_ms": "60000",
}


@dataclass
class _Seat:
    """A replica as the driver sees it."""

    actor: Any
    busy: int = 0
    alive: bool = True


class RayExecutor:
    """See the module's text. `data` is the config as read: workers build the plan themselves, none travels pickled."""

    def __init__(self, plan: Plan, data: dict[str, Any], store: Store, index: SourceIndex) -> None:
        self.plan = plan
        self._seats: dict[str, list[_Seat]] = {}
        self._watchers: set[asyncio.Task[None]] = set()
        try:
            _connect(plan.config.address, plan.engines.values())
        except SystemExit:  # what ray.init makes of a SIGTERM
            raise KeyboardInterrupt from None
        self._cpus = max(1, int(_cluster().get("CPU", 1)))
        self._n_shards = len(index.slices)
        self._setup = ray.put(Setup(data, store.root, index, os.getcwd()))
        # A replica reads no source. What it is made of travels by value: an object could be lost before a restart.
        no_index = SourceIndex(rows=0, content="", stamp="", slices=())
        self._replica_setup = Setup(data, store.root, no_index, os.getcwd())
        self._task = ray.remote(num_cpus=0, max_retries=0)(run_task)

    async def open(self, engines: Iterable[str]) -> None:
        """See Executor."""
        wanted = list(engines)
        _check_room({alias: self.plan.engines[alias].resources for alias in wanted})
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
            self._seats[alias] = [_Seat(actor.remote(self._replica_setup, alias)) for _ in range(resources.replicas)]
        try:
            await asyncio.gather(*(seat.actor.open.remote() for alias in wanted for seat in self._seats[alias]))
        except RayError as error:
            raise _cause(error, f"an engine of {', '.join(wanted)} did not start") from None

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
            raise _cause(error, f"job {job}, shard {shard}: a worker process died") from None
        return outcome

    def look(self, job: str, look: Look) -> Iterator[tuple[int, Columns]]:
        """See Executor; through Ray Data."""
        return look_at_shards(self._setup, job, look, self._n_shards, self._cpus)

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

    async def close(self, engines: Iterable[str], patience_s: float = 10) -> None:
        """See Executor."""
        seats = [seat for alias in engines for seat in self._seats.pop(alias, [])]
        if seats:
            calls = [asyncio.ensure_future(seat.actor.close.remote()) for seat in seats if seat.alive]
            await asyncio.gather(*(asyncio.wait_for(call, patience_s) for call in calls), return_exceptions=True)
        for seat in seats:
            ray.kill(seat.actor)

    async def stop(self) -> None:
        """See Executor. Hurries: after a signal there are seconds, and a killed engine frees its device too."""
        for task in self._watchers:
            task.cancel()
        await self.close(list(self._seats), patience_s=1)
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
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    # What workers print stays in Ray's session folder: a run's terminal is for its own progress.
    wanted = bool(os.environ.get("PREFSYNTH_WORKER_LOGS"))
    options: dict[str, Any] = {"logging_level": "error", "log_to_driver": wanted}
    address = address or os.environ.get("RAY_ADDRESS") or "local"  # never a cluster that merely happens to run here
    if address == "local":
        needed = sum(config.resources.cpus * config.resources.replicas for config in engines)
        options |= {"include_dashboard": False, "num_cpus": max(os.cpu_count() or 1, math.ceil(needed) + 1)}
    if not ray.is_initialized():
        _check_reachable(address)
        try:
            ray.init(address=address, **options)
        except (ConnectionError, ValueError) as error:
            raise PlanError(f"no Ray cluster at {address!r}: {_first_line(error)}") from None
        except Exception as error:  # Ray's own time-outs are plain Exceptions
            raise EngineError(f"Ray did not start: {_first_line(error)}; run the same command again") from None


def _check_reachable(address: str) -> None:
    """Raises PlanError when nobody listens at host:port; Ray would ask again for many minutes."""
    host, colon, port = address.rpartition(":")
    if colon and port.isdigit() and "/" not in host:
        try:
            socket.create_connection((host, int(port)), timeout=10).close()
        except OSError as error:
            raise PlanError(f"no Ray cluster at {address!r}: {error}") from None


def _check_room(wanted: Mapping[str, Resources]) -> None:
    """Raises PlanError when engines that must live at the same time ask for more than the cluster has."""
    total = _cluster()
    for what, unit in (("gpus", "GPU"), ("cpus", "CPU")):
        asked = {alias: getattr(r, what) * r.replicas for alias, r in wanted.items()}
        if sum(asked.values()) > total.get(unit, 0):
            each = ", ".join(f"{alias} {n:g}" for alias, n in asked.items() if n)
            raise PlanError(
                f"engines ask for {sum(asked.values()):g} {unit}s ({each}), the cluster has {total.get(unit, 0):g}; "
                "change resources, set schedule: staged, or join a larger cluster with --address"
            )


def _cluster() -> dict[str, float]:
    return dict(ray.cluster_resources())


def _cause(error: RayError, died: str) -> Exception:
    """What the worker raised, or EngineDied when it was the worker that died."""
    cause = getattr(error, "cause", None)
    return cause if isinstance(cause, Exception) else EngineDied(f"{died} ({_first_line(error)})")


def _first_line(error: BaseException) -> str:
    return str(error).strip().split("\n")[0]
