"""Which (job, shard) may start next: a pure state machine over the plan, with a window of open shards.

Shard i of a job may start as soon as shard i of all its inputs is there. Lower shards go first, so work drains in order
and the driver holds only a window of shards, however long the data is.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from pipeline.dataset import DatasetStage
from pipeline.plan import Job, Plan

Unit = tuple[str, int]


def lane_of(job: Job) -> str | None:
    """The engine in whose place a job's shards run, or None."""
    return next(iter(job.stage.engines()), None)


def phases(plan: Plan, staged: bool) -> list[tuple[str, ...]]:
    """Groups of jobs that are worked off one after the other. A dataset stage is a group of its own, since it needs all
    that is before it; `staged`: jobs are also parted where the engines change."""
    groups: list[list[str]] = []
    current: frozenset[str] = frozenset()
    parted = True
    for name, job in plan.jobs.items():
        engines, alone = frozenset(job.stage.engines()), isinstance(job.stage, DatasetStage)
        if parted or alone or (staged and engines and current and engines != current):
            groups.append([])
            current = frozenset()
        groups[-1].append(name)
        current, parted = current or engines, alone
    return [tuple(g) for g in groups]


class Schedule:
    """The units of one phase that are not done yet. What may start next waits on a heap for each lane, so that a finished
    shard costs the same however wide the window is."""

    def __init__(self, plan: Plan, jobs: Sequence[str], done: Mapping[str, set[int]], n_shards: int) -> None:
        self.jobs = [plan.jobs[name] for name in jobs]
        self.n_shards = n_shards
        # one byte per unit: flat memory, however many shards there are
        self._done = {name: bytearray(n_shards) for name in plan.jobs}
        for name, shards in done.items():
            for shard in shards:
                self._done[name][shard] = 1
        self.left = Counter({j.name: n_shards - sum(self._done[j.name]) for j in self.jobs})
        self._lanes = {job.name: lane_of(job) for job in self.jobs}
        self._places = {job.name: place for place, job in enumerate(self.jobs)}
        self._open: set[int] = set()
        self._next = 0
        self._ready: dict[str | None, list[tuple[int, int]]] = {lane: [] for lane in self._lanes.values()}  # heaps
        self._busy: Counter[str | None] = Counter()

    @property
    def over(self) -> bool:
        """Nothing is left to do."""
        return not any(self.left.values())

    def take(self, window: int, slots: Callable[[str | None], int]) -> list[Unit]:
        """Units to start now; they count as running from here on. `slots(lane)` bounds what runs on a lane at once."""
        self._refill(window)
        taken: list[tuple[int, int]] = []
        for lane, ready in self._ready.items():
            free = min(len(ready), slots(lane) - self._busy[lane]) if ready else 0
            for _ in range(free):
                taken.append(heapq.heappop(ready))
                self._busy[lane] += 1
        return [(self.jobs[place].name, shard) for shard, place in sorted(taken)]

    def finished(self, unit: Unit) -> None:
        """A unit was committed."""
        name, shard = unit
        self._busy[self._lanes[name]] -= 1
        self._done[name][shard] = 1
        self.left[name] -= 1
        if self._complete(shard):
            self._open.discard(shard)
        for job in self.jobs:
            if name in job.inputs:
                self._offer(job, shard)

    def failed(self, unit: Unit) -> None:
        """A unit failed and may be taken again."""
        name, shard = unit
        self._busy[self._lanes[name]] -= 1
        heapq.heappush(self._ready[self._lanes[name]], (shard, self._places[name]))

    def _offer(self, job: Job, shard: int) -> None:
        """Puts a unit on its lane's heap once all that it needs is there."""
        if not self._done[job.name][shard] and all(self._done[i][shard] for i in job.inputs):
            heapq.heappush(self._ready[self._lanes[job.name]], (shard, self._places[job.name]))

    def _refill(self, window: int) -> None:
        while len(self._open) < window and self._next < self.n_shards:
            if not self._complete(self._next):
                self._open.add(self._next)
                for job in self.jobs:
                    self._offer(job, self._next)
            self._next += 1

    def _complete(self, shard: int) -> bool:
        return all(self._done[j.name][shard] for j in self.jobs)
