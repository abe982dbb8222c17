"""Everything in this process: laptops, tests, one GPU box without Ray."""

from __future__ import annotations

import glob
import os
from collections.abc import Callable, Iterable, Iterator, Sequence

from pipeline.dataset import Columns, Look
from pipeline.engine import EngineConfig
from pipeline.live import LiveEngine
from pipeline.metrics import Sample
from pipeline.plan import Plan
from pipeline.stage import SourceIndex
from pipeline.store import Store
from pipeline.worker import Outcome, Worker

MakeEngine = Callable[[str, EngineConfig], LiveEngine]


class LocalExecutor:
    """Shards are coroutines of the driver's event loop; engines live beside them."""

    def __init__(self, plan: Plan, store: Store, index: SourceIndex, make_engine: MakeEngine) -> None:
        self.engines = {alias: make_engine(alias, config) for alias, config in plan.engines.items()}
        self._slots = {alias: config.resources.slots for alias, config in plan.engines.items()}
        self._worker = Worker(plan, store, self.engines, index)
        self._n_shards = len(index.slices)

    async def open(self, engines: Iterable[str]) -> None:
        """See Executor."""
        for alias in engines:
            await self.engines[alias].open()

    def slots(self, lane: str | None) -> int:
        """Shards without an engine hold the loop, so one at a time."""
        return self._slots[lane] if lane else 1

    def gpus(self) -> float:
        """See Executor."""
        # In one process every engine begins at the first device, so only as many count as one engine takes.
        return min(_gpu_count(), max(e.config.resources.gpus for e in self.engines.values())) if self.engines else 0.0

    async def run(self, job: str, shard: int) -> Outcome:
        """See Executor."""
        return await self._worker.run(job, shard)

    def look(self, job: str, look: Look) -> Iterator[tuple[int, Columns]]:
        """See Executor."""
        return ((shard, look(self._worker.examples(job, shard))) for shard in range(self._n_shards))

    async def close(self, engines: Iterable[str]) -> None:
        """See Executor."""
        for alias in engines:
            await self.engines[alias].close()

    async def stop(self) -> None:
        """See Executor."""
        await self.close(self.engines)

    def tell(self, samples: Sequence[Sample]) -> None:
        """The file in the run's folder is all."""

    async def stats(self) -> dict[str, dict[str, float]]:
        """See Executor."""
        return {alias: engine.stats() for alias, engine in self.engines.items()}


def _gpu_count() -> float:
    """NVIDIA devices this process may see, without starting CUDA in it."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return float(len([d for d in visible.split(",") if d.strip()]))
    return float(len(glob.glob("/dev/nvidia[0-9]*")))
