"""What a driver itself spends on a unit of work, with the cluster taken away.

The driver is the real one, with its schedule, totals, log, metrics and sums; its executor commits nothing and answers
after a while with the report of a shard. What Ray costs the driver for each call comes on top (`replicas` measures both).
"""

from __future__ import annotations

import asyncio
import random
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import psutil

from benchmarks.figures import Figure, word_problems
from pipeline.dataset import Columns, Look
from pipeline.executor import Executor
from pipeline.metrics import Sample
from pipeline.plan import Plan, make_plan
from pipeline.progress import Progress
from pipeline.resume import prepare
from pipeline.run import Driver
from pipeline.stage import SourceIndex
from pipeline.store import Report, Store
from pipeline.totals import Totals
from pipeline.worker import Outcome

PROMPTS, SHARD = 10_000_000, 1024
REPLICAS = (1, 64, 1000)
SLOTS = 4
UNITS_A_SECOND = 2000  # a thousand replicas with a shard every half-second


def run(prompts: int = PROMPTS) -> list[Figure]:
    """CPU seconds of the driver per 1,000 units (a job's shard) beside 1,000 replicas, and how its memory grows."""
    beside: dict[str, Any] = {"prompts": prompts, "shard_size": SHARD}
    for replicas in REPLICAS:
        found = measure(prompts, replicas)
        beside |= {f"{replicas} replicas: {what}": value for what, value in found.items()}
    value = beside[f"{REPLICAS[-1]} replicas: CPU-s per 1,000 units"]
    return [Figure("driver_cpu_s_per_1000_units", value, "CPU-s", "<= 0.5", beside)]


def measure(prompts: int, replicas: int) -> dict[str, float]:
    """One whole run of four jobs, driven with nothing behind the driver."""
    with tempfile.TemporaryDirectory() as folder:
        word_problems(Path(folder) / "prompts.jsonl", 1)  # nobody reads it
        plan = make_plan(_config(folder, replicas))
        store = Store(f"{folder}/load")
        store.create()
        prepare(plan, store, None)
        slices = tuple((start, min(start + SHARD, prompts), 0) for start in range(0, prompts, SHARD))
        index = SourceIndex(rows=prompts, content="", stamp="", slices=slices)
        totals = {name: Totals() for name in plan.jobs}
        process, began = psutil.Process(), time.process_time()
        before = process.memory_info().rss
        with Progress(plan, store, plain=True, quiet=True) as progress:
            asyncio.run(Unhindered(plan, {}, store, index, totals, progress).run())
        units = len(slices) * len(plan.jobs)
        grown = (process.memory_info().rss - before) / 2**20
    return {
        "CPU-s per 1,000 units": round((time.process_time() - began) / units * 1000, 3),
        "MB grown": round(grown, 1),
    }


class Unhindered(Driver):
    """A driver whose executor does nothing."""

    def _executor(self) -> Executor:
        return Nothing(self.plan)


class Nothing:
    """An `Executor` that only waits. The reports it gives are those of a shard."""

    def __init__(self, plan: Plan) -> None:
        self._random = random.Random(1)
        self._slots = {alias: e.resources.slots * e.resources.replicas for alias, e in plan.engines.items()}

    async def open(self, engines: Iterable[str]) -> None:
        """Nothing to start."""

    def slots(self, lane: str | None) -> int:
        """Slots of the replicas; tasks: as many as there are replicas."""
        return self._slots[lane] if lane else max(self._slots.values())

    def gpus(self) -> float:
        """As many as are asked for."""
        return float("inf")

    async def run(self, job: str, shard: int) -> Outcome:
        """Ends when a cluster would that does UNITS_A_SECOND, so that units end one by one."""
        await asyncio.sleep(self._random.uniform(0, 2) * sum(self._slots.values()) / UNITS_A_SECOND)
        report: Report = {"rows_in": SHARD, "kept": SHARD, "rejected": 0, "rows_out": SHARD, "tokens": 60 * SHARD}
        return Outcome(job, shard, {**report, "counts": {"kept": SHARD, "status:ok": SHARD}}, 1.0)

    def look(self, job: str, look: Look) -> Iterator[tuple[int, Columns]]:
        """No dataset stage here."""
        return iter(())

    async def close(self, engines: Iterable[str]) -> None:
        """Nothing to stop."""

    async def stop(self) -> None:
        """Nothing to stop."""

    def tell(self, samples: Sequence[Sample]) -> None:
        """Nobody listens."""

    async def stats(self) -> dict[str, dict[str, float]]:
        """Nothing was counted."""
        return {}


def _config(folder: str, replicas: int) -> dict[str, Any]:
    resources = {"replicas": replicas, "slots": SLOTS}
    return {
        "name": "load",
        "shard_size": SHARD,
        "runs_dir": folder,
        "engines": {
            "policy": {"kind": "scripted", "function": "benchmarks.canned:policy", "resources": resources},
            "judge": {"kind": "scripted", "function": "benchmarks.canned:judge", "resources": resources},
        },
        "jobs": [
            {"stage": "prompts", "path": f"{folder}/prompts.jsonl", "columns": {"prompt": "prompt"}},
            {"stage": "generate", "engine": "policy", "sampling": {"n": 2}},
            {"stage": "rate", "engine": "judge", "aspects": ["correctness"]},
            {"stage": "pair_responses", "min_margin": 0.05},
        ],
    }
