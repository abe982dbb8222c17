"""Where shards run. `executors/local.py`: in this process; `executors/ray.py`: on a Ray cluster."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

from pipeline.dataset import Columns, Look
from pipeline.metrics import Sample
from pipeline.worker import Outcome


class Executor(Protocol):
    """Runs shards. A lane is an engine alias, or None for jobs without an engine."""

    async def open(self, engines: Iterable[str]) -> None:
        """Starts engines (all replicas) and waits until they answer. Raises EngineError or PlanError."""
        ...

    def slots(self, lane: str | None) -> int:
        """How many shards may run on a lane at once."""
        ...

    def gpus(self) -> float:
        """Accelerators there are; infinite where engines share what the machine has."""
        ...

    async def run(self, job: str, shard: int) -> Outcome:
        """Runs one shard. Raises EngineError when it may be tried again elsewhere, any other error to stop the run."""
        ...

    def look(self, job: str, look: Look) -> Iterator[tuple[int, Columns]]:
        """(shard, what `look` notes of the examples of `job` there) for every shard, in any order."""
        ...

    async def close(self, engines: Iterable[str]) -> None:
        """Stops engines and frees their devices."""
        ...

    async def stop(self) -> None:
        """Stops everything that is left."""
        ...

    def tell(self, samples: Sequence[Sample]) -> None:
        """Hands the run's metrics to an exporter of its own, if it has one."""
        ...

    async def stats(self) -> dict[str, dict[str, float]]:
        """Counters per engine, summed over replicas."""
        ...
