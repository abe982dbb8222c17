"""How busy two engines are kept: pipelined against staged, one against two replicas, by shard size and window."""

from __future__ import annotations

import asyncio
import logging
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import ray

from benchmarks.figures import Figure, events, synth, word_problems
from benchmarks.scripted_latency import SEATS
from pipeline import remote
from pipeline.engine import Request, Sampling
from pipeline.engines.scripted import Scripted, ScriptedEngine
from pipeline.records import Message
from pipeline.remote import Answerer

PROMPTS = 240
MANY = 960  # of replicas: with few shards each, filling and draining count most


class Timing(NamedTuple):
    """Seconds from engines up to the last shard, and the share of that in which the seats of each engine were taken."""

    wall: float
    busy: dict[str, float]

    def __str__(self) -> str:
        return f"{self.wall:.1f} s, " + ", ".join(f"{name} {share:.2f}" for name, share in self.busy.items())


def run() -> list[Figure]:
    """The wall times compared, and the tables beside them."""
    with tempfile.TemporaryDirectory() as name:
        for n in (PROMPTS, MANY):
            word_problems(Path(name) / f"{n}.jsonl", n)
        pipelined, staged = (_timed(Path(name), schedule=s) for s in ("pipelined", "staged"))
        shards = {f"shard_size {n}": str(_timed(Path(name), shard_size=n)) for n in (4, 40, 120)}
        windows = {f"window {n}": str(_timed(Path(name), window=n)) for n in (1, 2, 4)}
        one, two = (_timed(Path(name), executor="ray", replicas=n, prompts=MANY) for n in (1, 2))
    return [
        Figure("pipelined_vs_staged_wall", round(staged.wall / pipelined.wall, 2), "ratio", ">= 1.5",
               {"pipelined": str(pipelined), "staged": str(staged), **shards, **windows}),
        Figure("replicas_2_vs_1", round(one.wall / two.wall, 2), "ratio", ">= 1.8", {"1": str(one), "2": str(two)}),
        _coalescing(),
    ]  # fmt: skip


def _timed(
    folder: Path,
    schedule: str = "pipelined",
    executor: str = "local",
    replicas: int = 1,
    prompts: int = PROMPTS,
    **settings: Any,
) -> Timing:
    config = {
        "name": f"{schedule}-{executor}-{replicas}-"
        + "-".join(f"{k}{v}".replace("_", "") for k, v in settings.items()),
        "shard_size": 12,
        "schedule": schedule,
        "executor": executor,
        **settings,
        "engines": {alias: _engine(alias, replicas) for alias in ("policy", "judge")},
        "jobs": [
            {"stage": "prompts", "path": str(folder / f"{prompts}.jsonl"), "columns": {"prompt": "prompt"}},
            {"stage": "generate", "engine": "policy", "sampling": {"n": 4}},
            {"stage": "rate", "engine": "judge", "aspects": ["correctness"], "mode": "parsed"},
            {"stage": "pair_responses"},
        ],
    }
    synth(config, folder)
    log = events(folder, str(config["name"]))
    began = next(e["at"] for e in log if e["event"] == "engines_up")
    wall = max(e["at"] for e in log if e["event"] == "shard") - began
    seats = 1000 * SEATS * replicas * wall  # in milliseconds, as the engines' tokens
    return Timing(wall, {alias: counts["tokens"] / seats for alias, counts in log[-1]["engines"].items()})


def _engine(alias: str, replicas: int) -> dict[str, Any]:
    function = f"benchmarks.scripted_latency:{alias}"
    return {"kind": "scripted", "function": function, "resources": {"cpus": 0.1, "replicas": replicas}}


class _Far:
    """Another replica, as an actor."""

    def __init__(self) -> None:
        self._answerer = Answerer(ScriptedEngine(Scripted(function="benchmarks.canned:peers_policy")))

    async def answer(self, what: str, requests: list[Any]) -> list[Any]:
        """See Answerer."""
        return await self._answerer.answer(what, requests)


def _coalescing(n: int = 4096) -> Figure:
    """Requests of one event-loop tick, asked of another replica: in calls of 64, and each in one of its own."""
    ray.init(num_cpus=1, include_dashboard=False, logging_level=logging.ERROR, log_to_driver=False)
    try:
        far = ray.remote(_Far).options(max_concurrency=1000).remote()
        rates = {batch: n / asyncio.run(_seconds(far, n, batch)) for batch in (64, 8, 1)}
    finally:
        ray.shutdown()
    return Figure(
        "coalescing_64_vs_1", round(rates[64] / rates[1], 1), "ratio", "",
        {f"requests/s in calls of {batch}": round(rate) for batch, rate in rates.items()},
    )  # fmt: skip


async def _seconds(far: Any, n: int, batch: int) -> float:
    asked = [Request(Sampling(), str(i), i, messages=(Message("user", f"Problem {i}"),)) for i in range(n)]
    engine = remote.RemoteEngine([far])
    kept, remote.BATCH = remote.BATCH, batch
    try:
        await engine.generate(asked[:64])  # the actor is up
        began = time.perf_counter()
        await engine.generate(asked)
        return time.perf_counter() - began
    finally:
        remote.BATCH = kept
