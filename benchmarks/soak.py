"""Hours in small: the embedded model in vLLM on Ray, in peace and under random kills by turns, each going on where it was.

`make bench ARGS="soak:minutes=30"`. A third of the time is peace. Throughput is tokens of finished shards over all the
time after the first start, also that in which processes start again.
"""

from __future__ import annotations

import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import yaml

from benchmarks import killing
from benchmarks.fault_configs import in_vllm
from benchmarks.figures import Figure
from pipeline.store import Store

PROMPTS = 60_000  # more than fit in the time
ROUNDS = 2
ROLES = ("engine core", "engine core", "engine actor", "engine actor", "worker", "driver")
LOOK_S = 2.0


@dataclass
class Work:
    """A run that is worked on in stretches."""

    folder: Path
    name: str
    config: dict[str, Any]
    tokens: int = 0
    seconds: float = 0.0
    megabytes: list[float] = field(default_factory=list)  # of all its processes, every LOOK_S
    kills: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.run = self.folder / "runs" / self.name
        self.file = self.folder / f"{self.name}.yaml"
        runs = {"name": self.name, "runs_dir": str(self.folder / "runs")}
        self.file.write_text(yaml.safe_dump({**self.config, **runs}), encoding="utf-8")
        self.processes = killing.Processes(self.folder)

    def stretch(self, seconds: float, kills: tuple[random.Random, float] | None) -> None:
        """Works for so long, counted from when the engines are up. kills: who draws, and the mean pause between two."""
        ups, process = self._ups(), self._start()
        if not killing.wait_for(lambda: self._ups() > ups, process, 900):
            raise RuntimeError(f"the engines did not start: {process.communicate()[1][-500:]}")
        before, began = self._made(), time.monotonic()
        next_kill = began + self._pause(kills)
        while (now := time.monotonic()) < began + seconds:
            if process.poll() is not None:
                process.communicate()
                process = self._start()
            if kills and now > next_kill:
                self._kill(kills[0])
                next_kill = now + self._pause(kills)
            self.megabytes.append(sum(map(_megabytes, self.processes.living())))
            time.sleep(LOOK_S)
        process.terminate()
        _, err = process.communicate()
        if process.returncode != 5:
            self.wrong.append(f"{self.name} ended with exit code {process.returncode}: {err[-300:]}")
        self.seconds += time.monotonic() - began
        self.tokens += self._made() - before
        self.wrong += [f"{self.name}: still there: {p}" for p in self.processes.gone()]

    @staticmethod
    def _pause(kills: tuple[random.Random, float] | None) -> float:
        return kills[1] * kills[0].uniform(0.5, 1.5) if kills else 0.0

    def _start(self) -> subprocess.Popen[str]:
        return killing.start(self.folder, "run", str(self.file), "--plain")

    def _kill(self, draw: random.Random) -> None:
        role = draw.choice(ROLES)
        if killing.strike(self.processes.doing(role), draw):
            self.kills[role] += 1

    def _ups(self) -> int:
        log = self.run / "log.jsonl"
        return log.read_text(encoding="utf-8").count('"engines_up"') if log.exists() else 0

    def _made(self) -> int:
        """Tokens of all finished shards."""
        store = Store(str(self.run))
        return sum(store.report("generate", shard)["tokens"] for shard in store.done("generate"))


def _megabytes(process: psutil.Process) -> float:
    try:
        return float(process.memory_info().rss) / 2**20
    except psutil.Error:
        return 0.0


def run(minutes: int = 30, seed: int = 1, every_s: int = 240, rounds: int = ROUNDS) -> list[Figure]:
    """soak_throughput_ratio: under a kill every `every_s` seconds / in peace; soak_memory_growth: of all processes.

    Peace and kills take turns `rounds` times, so that a machine with other work is as noisy for both.
    """
    os.environ.pop("RAY_ADDRESS", None)
    draw = random.Random(seed)
    with tempfile.TemporaryDirectory(prefix="soak-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        config = in_vllm(folder, PROMPTS, "ray")
        config["engines"]["policy"]["resources"] |= {"replicas": 2, "cpus": 1}
        peace, war = Work(folder, "peace", config), Work(folder, "war", config)
        for _ in range(rounds):
            peace.stretch(minutes * 60 / 3 / rounds, None)
            war.stretch(minutes * 60 * 2 / 3 / rounds, (draw, every_s))
        wrong = [*peace.wrong, *war.wrong, *killing.unreconciled(war.run), *_unlike(peace.run, war.run)]
    for each in wrong:
        print(each, file=sys.stderr)
    rates = {work.name: work.tokens / work.seconds for work in (peace, war)}
    third = max(1, len(war.megabytes) // 3)
    early, late = statistics.median(war.megabytes[:third]), statistics.median(war.megabytes[-third:])
    beside = {f"tokens/s in {name}": round(rate) for name, rate in rates.items()}
    beside |= {**war.kills, "minutes": minutes, "seed": seed, "wrong": len(wrong)}
    memory = {"first third MB": round(early), "last third MB": round(late), "most MB": round(max(war.megabytes))}
    return [
        Figure("soak_throughput_ratio", round(rates["war"] / rates["peace"], 3), "ratio", ">= 0.8", beside),
        Figure("soak_memory_growth", round(late / early - 1, 3), "share", "flat: <= 0.05", memory),
    ]


def _unlike(peace: Path, war: Path) -> list[str]:
    """Shards that both runs have, where the prompts and answers are not as many and not of the same ids."""
    wrong = []
    for job in ("prompts", "generate"):
        both = sorted(set(Store(str(peace)).done(job)) & set(Store(str(war)).done(job)))
        for shard in both:
            rows = [_ids(run / job / Store.shard_file(shard)) for run in (peace, war)]
            wrong += [f"{job}, shard {shard} differs"] if rows[0] != rows[1] else []
    return wrong


def _ids(file: Path) -> list[str]:
    return killing.rows_of(file, ("prompt_id", "candidate_id"))
