"""Shards on a Ray cluster: one actor per engine replica, a shard runs inside an actor of its first engine.

Jobs without an engine are plain tasks. Actors restart for ever but their calls are never repeated by Ray: the driver
retries a shard on a replica that lives (spec engines §3), so work is never pinned to a dead one.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import ray
from ray.exceptions import ActorUnavailableError, RayError

from pipeline.dataset import Columns, Look
from pipeline.errors import EngineDied, EngineError
from pipeline.executors.ray_cluster import check_room, cluster, connect, first_line
from pipeline.executors.ray_data import look_at_shards
from pipeline.executors.ray_metrics import RayMetrics
from pipeline.metrics import Sample
from pipeline.plan import Plan
from pipeline.replica import Replica, Setup, task_worker
from pipeline.stage import SourceIndex
from pipeline.store import Store
from pipeline.worker import Outcome

REOPEN_S = 0.5
REOPEN_FOR_S = 300.0  # a replica whose process dies again and again before its engine is up


class ReplicaOnRay(Replica):
    """A replica that finds the others through Ray. Their handles lie in the object store: a thousand of them weigh more
    than the call they would come with, and are needed once for each time that an engine is opened."""

    def __init__(self, setup: Setup, alias: str) -> None:
        super().__init__(setup, alias)
        self._known: dict[str, Any] = {}

    async def run_with(self, job: str, shard: int, peers: Mapping[str, list[Any]]) -> Outcome:
        """Runs a shard; `peers`: engine alias -> a reference to its actors' handles, in a list."""
        news = {alias: reference for alias, (reference,) in peers.items() if self._known.get(alias) != reference}
        handles = {alias: await reference for alias, reference in news.items()}
        first = {alias: found for alias, found in handles.items() if self._known.get(alias) != news[alias]}
        self._known |= news  # another shard may have come first while this one waited
        return await self.run(job, shard, first)


@dataclass
class _Seat:
    """A replica as the driver sees it."""

    actor: Any
    busy: int = 0
    alive: bool = True


class RayExecutor:
    """See the module's text. `data` is the config as read: workers build the plan themselves, none travels pickled."""

    def __init__(self, plan: Plan, data: dict[str, Any], store: Store, index: SourceIndex) -> None:
        self.plan, self._root = plan, store.root
        self._seats: dict[str, list[_Seat]] = {}
        self._handles: dict[str, Any] = {}  # alias -> where the handles of its seats lie
        self._watchers: set[asyncio.Task[None]] = set()
        self._metrics = RayMetrics()
        try:
            connect(plan.config.address, plan.engines.values())
        except SystemExit:  # what ray.init makes of a SIGTERM
            raise KeyboardInterrupt from None
        self._cpus = max(1, int(cluster().get("CPU", 1)))
        self._n_shards = len(index.slices)
        # in a list, so that Ray leaves it alone: a task process takes it once, not a task
        self._setup = [ray.put(Setup(data, store.root, index, os.getcwd()))]
        # A replica reads no source. What it is made of travels by value: an object could be lost before a restart.
        no_index = SourceIndex(rows=0, content="", stamp="", slices=())
        self._replica_setup = Setup(data, store.root, no_index, os.getcwd())
        self._task = ray.remote(num_cpus=0, max_retries=0)(run_task).remote

    async def open(self, engines: Iterable[str]) -> None:
        """See Executor."""
        if not (wanted := list(engines)):
            return
        check_room({alias: self.plan.engines[alias].resources for alias in (*self._seats, *wanted)})
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
            actor = ray.remote(ReplicaOnRay).options(**options)
            self._seats[alias] = [_Seat(actor.remote(self._replica_setup, alias)) for _ in range(resources.replicas)]
            self._handles[alias] = ray.put([seat.actor for seat in self._seats[alias]])
        try:
            await asyncio.gather(*(self._opened(self._seats[alias]) for alias in wanted))
        except RayError as error:
            raise _cause(error, f"an engine of {', '.join(wanted)} did not start") from None

    async def _opened(self, seats: Sequence[_Seat]) -> None:
        """Opens the replicas of an engine. Those whose process or node was lost meanwhile come later, if one is there."""
        until = time.monotonic() + REOPEN_FOR_S
        while True:
            up = await asyncio.gather(*map(_opened, seats))
            if any(up):
                for seat in (seat for seat, is_up in zip(seats, up, strict=True) if not is_up):
                    self._revive(seat)
                return
            if time.monotonic() > until:
                raise EngineDied(f"no replica of an engine was up within {REOPEN_FOR_S:g} s: their processes die")
            await asyncio.sleep(REOPEN_S)

    def slots(self, lane: str | None) -> int:
        """Slots of the replicas that live; tasks: one per CPU."""
        if lane is None:
            return self._cpus
        alive = sum(seat.alive for seat in self._seats.get(lane, ()))
        return alive * self.plan.engines[lane].resources.slots

    def gpus(self) -> float:
        """See Executor."""
        return float(cluster().get("GPU", 0))

    async def run(self, job: str, shard: int) -> Outcome:
        """See Executor."""
        aliases = self.plan.jobs[job].stage.engines()
        if not aliases:
            return await self._guard(self._task(self._setup, self._root, job, shard), job, shard)
        living = [seat for seat in self._seats[aliases[0]] if seat.alive]
        if not living:
            raise EngineDied(f"job {job}, shard {shard}: no replica of engine {aliases[0]} lives at the moment")
        seat = min(living, key=lambda s: s.busy)
        peers = {alias: [self._handles[alias]] for alias in aliases[1:]}
        seat.busy += 1
        try:
            return await self._guard(seat.actor.run_with.remote(job, shard, peers), job, shard)
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
        return look_at_shards((self._root, self._setup), job, look, self._n_shards, self._cpus)

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
                await asyncio.sleep(REOPEN_S)
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
        for alias, seats in list(self._seats.items()):
            total = totals.setdefault(alias, {})
            asked = (asyncio.wait_for(seat.actor.stats.remote(), 5) for seat in seats)
            for told in await asyncio.gather(*asked, return_exceptions=True):
                if isinstance(told, BaseException):
                    continue  # a replica that is dead or too busy to answer
                for name, value in told.items():
                    total[name] = total.get(name, 0) + value
        return totals

    def tell(self, samples: Sequence[Sample]) -> None:
        """See Executor."""
        self._metrics.send(samples)


async def _opened(seat: _Seat) -> bool:
    """Opens a replica; False where its process or node was lost meanwhile. Raises what the engine raised."""
    try:
        await seat.actor.open.remote()
    except ActorUnavailableError:
        return False
    return True


def run_task(setup: list[Any], root: str, job: str, shard: int) -> Outcome:
    """One shard of a job without an engine."""
    return asyncio.run(task_worker(root, lambda: ray.get(setup[0])).run(job, shard))


def _cause(error: RayError, died: str) -> Exception:
    """What the worker raised, or EngineDied when it was the worker that died."""
    cause = getattr(error, "cause", None)
    return cause if isinstance(cause, Exception) else EngineDied(f"{died} ({first_line(error)})")
