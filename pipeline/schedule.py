"""Which (job, shard) may start next: a pure state machine over the plan, with a window of open shards.

Shard i of a job may start as soon as shard i of all its inputs is there. Lower shards go first, so work drains in order
and the driver holds only a window of shards, however long the data is.
"""

from __future__ import annotations

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
    """The units of one phase that are not done yet."""

    def __init__(self, plan: Plan, jobs: Sequence[str], done: Mapping[str, set[int]], n_shards: int) -> None:
        self.jobs = [plan.jobs[name] for name in jobs]
        self.n_shards = n_shards
        # one byte per unit: flat memory, however many shards there are
        self._done = {name: bytearray(n_shards) for name in plan.jobs}
        for name, shards in done.items():
            for shard in shards:
                self._done[name][shard] = 1
        self.left = Counter({j.name: n_shards - sum(self._done[j.name]) for j in self.jobs})
        self._open: list[int] = []
        self._next = 0
        self._running: set[Unit] = set()

    @property
    def over(self) -> bool:
        """Nothing is left to do."""
        return not any(self.left.values())

    def take(self, window: int, slots: Callable[[str | None], int]) -> list[Unit]:
        """Units to start now; they count as running from here on. `slots(lane)` bounds what runs on a lane at once."""
        self._refill(window)
        busy = Counter(lane_of(self._job(name)) for name, _ in self._running)
        taken: list[Unit] = []
        for shard in self._open:
            for job in self.jobs:
                unit = (job.name, shard)
                lane = lane_of(job)
                if self._ready(job, shard) and unit not in self._running and busy[lane] < slots(lane):
                    busy[lane] += 1
                    self._running.add(unit)
                    taken.append(unit)
        return taken

    def finished(self, unit: Unit) -> None:
        """A unit was committed."""
        self._running.discard(unit)
        self._done[unit[0]][unit[1]] = 1
        self.left[unit[0]] -= 1

    def failed(self, unit: Unit) -> None:
        """A unit failed and may be taken again."""
        self._running.discard(unit)

    def _job(self, name: str) -> Job:
        return next(j for j in self.jobs if j.name == name)

    def _ready(self, job: Job, shard: int) -> bool:
        return not self._done[job.name][shard] and all(self._done[i][shard] for i in job.inputs)

    def _refill(self, window: int) -> None:
        self._open = [s for s in self._open if not self._complete(s)]
        while len(self._open) < window and self._next < self.n_shards:
            if not self._complete(self._next):
                self._open.append(self._next)
            self._next += 1

    def _complete(self, shard: int) -> bool:
        return all(self._done[j.name][shard] for j in self.jobs)
