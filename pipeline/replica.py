"""What a process of a cluster runs: one engine with the shards inside it, or shards that need no engine.

Nothing here knows which cluster it is; the executor makes actors and tasks of it.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from pipeline.engine import ROOT, Engine
from pipeline.lifeline import end_with_starter
from pipeline.live import LiveEngine
from pipeline.plan import Plan, make_plan
from pipeline.remote import Answerer, RemoteEngine
from pipeline.stage import SourceIndex
from pipeline.store import Store
from pipeline.worker import Outcome, Worker

Peers = Mapping[str, list[Any]]  # engine alias -> actor handles


@dataclass(frozen=True)
class Setup:
    """What a worker process needs to become one: the config as read, where the run lies, where the driver stood."""

    config: dict[str, Any]
    root: str
    index: SourceIndex
    folder: str

    def enter(self) -> tuple[Plan, Store]:
        """Stands where the driver stood (relative paths of the config) and checks the plan again; ends with its node."""
        end_with_starter()
        with contextlib.suppress(OSError):
            os.chdir(self.folder)
        for path in (str(ROOT), self.folder):
            if path not in sys.path:
                sys.path.append(path)
        return make_plan(self.config), Store(self.root)


class Replica:
    """The actor: one engine and the shards that run inside its process.

    It becomes a worker at its first call, not in its constructor: what goes wrong reaches the driver as it was raised.
    """

    def __init__(self, setup: Setup, alias: str) -> None:
        self.setup, self.alias = setup, alias

    @cached_property
    def engine(self) -> LiveEngine:
        """This replica's engine."""
        return LiveEngine(self.place[0].engines[self.alias])

    @cached_property
    def place(self) -> tuple[Plan, Store]:
        """Plan and store, seen from here."""
        return self.setup.enter()

    @cached_property
    def engines(self) -> dict[str, Engine]:
        """This engine and, once a job has needed them, the others."""
        return {self.alias: self.engine}

    @cached_property
    def worker(self) -> Worker:
        """Runs the shards."""
        return Worker(*self.place, self.engines, self.setup.index)

    async def open(self) -> None:
        """Starts the engine."""
        await self.engine.open()

    async def run(self, job: str, shard: int, peers: Peers) -> Outcome:
        """Runs a shard here; other engines are reached through `peers`, or as before where they are not named."""
        self.engines.update({alias: RemoteEngine(handles) for alias, handles in peers.items()})
        return await self.worker.run(job, shard)

    async def answer(self, what: str, requests: list[Any]) -> list[Any]:
        """Answers a batch of another replica's requests; an answer may be an exception."""
        return await Answerer(self.engine).answer(what, requests)

    async def stats(self) -> dict[str, float]:
        """Counters of this replica's engine."""
        return self.engine.stats()

    async def close(self) -> None:
        """Closes the engine before the process goes."""
        await self.engine.close()


_worker: tuple[str, Worker] | None = None  # of this task process, which Ray uses again for the next task


def task_worker(root: str, fetch: Callable[[], Setup]) -> Worker:
    """This task process as a worker without engines. `fetch` is called once: the index of a long run weighs megabytes."""
    global _worker
    if _worker is None or _worker[0] != root:
        setup = fetch()
        plan, store = setup.enter()
        _worker = (root, Worker(plan, store, {}, setup.index))
    return _worker[1]
