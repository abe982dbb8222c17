"""Kills of everything that a run is made of, at random moments: what survived, and how many rows were lost or doubled.

`make bench ARGS=faults`; `ARGS="faults:kills=400,seed=2"` kills more, at other moments. The same seed draws the same
processes and pauses; what a pause meets depends on the machine. About 20 minutes on two cores, most of them Ray's.
"""

from __future__ import annotations

import functools
import importlib.util
import json
import os
import random
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks import fault_configs, killing
from benchmarks.figures import ROOT, Figure
from benchmarks.killed_runs import KilledRuns
from benchmarks.nodes import add, nodes

KILLS = 210
EVERY = 2  # file operation of a fresh run that is the last one
IN_THE_OPEN, ON_RAY, NODES, IN_VLLM = 24, 24, 4, 8  # kills from outside; the others are before file operations


@dataclass
class Toll:
    """All kills so far, and what came of them."""

    kills: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    rows: int = 0

    def add(self, what: str, runs: KilledRuns) -> None:
        """The kills of these runs."""
        self.kills.update({f"{role}, {what}": n for role, n in runs.kills.items()})
        self.wrong += [f"{what}: {each}" for each in runs.wrong]
        self.rows += runs.rows


def run(kills: int = KILLS, seed: int = 1) -> list[Figure]:
    """faults_survived: kills after which the run ended as if nothing had been; faults_lost_or_doubled_rows."""
    toll = Toll()
    os.environ.pop("RAY_ADDRESS", None)
    again = functools.partial(_again, kills - IN_THE_OPEN - ON_RAY - NODES - IN_VLLM)
    parts: dict[str, Callable[[Toll, Path, random.Random], None]] = {
        "fresh runs": _fresh_runs, "again": again, "driver": _driver, "Ray": _ray, "nodes": _lost_nodes, "vLLM": _vllm,
    }  # fmt: skip
    for name, part in parts.items():
        with tempfile.TemporaryDirectory(prefix="faults-", ignore_cleanup_errors=True) as folder:
            part(toll, Path(folder), random.Random(f"{seed}|{name}"))
        print(f"{name}: {toll.kills.total()} kills, {len(toll.wrong)} wrong", file=sys.stderr, flush=True)
    for each in toll.wrong:
        print(each, file=sys.stderr)
    survived = toll.kills.total() - len(toll.wrong)
    beside = {**dict(sorted(toll.kills.items())), "seed": seed}
    return [
        Figure("faults_survived", survived, "kills", f">= 200, all {toll.kills.total()} of them", beside),
        Figure("faults_lost_or_doubled_rows", toll.rows, "rows", "0", {"kills": toll.kills.total()}),
    ]


def _before_operations(toll: Toll, folder: Path, how: str, *numbers: int) -> None:
    """Kills by benchmarks.crash_points."""
    config = fault_configs.every_kind_of_job(folder)
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")  # which is YAML
    command = [sys.executable, "-m", "benchmarks.crash_points", str(folder / "config.json"), how, *map(str, numbers)]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    found = json.loads(done.stdout)
    toll.kills["driver, before a file operation"] += found["kills"]
    toll.wrong += found["wrong"]
    toll.rows += found["rows"]


def _fresh_runs(toll: Toll, folder: Path, _: random.Random) -> None:
    _before_operations(toll, folder, "each", EVERY)


def _again(wanted: int, toll: Toll, folder: Path, draw: random.Random) -> None:
    """The same runs again and again, until there are `wanted` kills before file operations."""
    left = max(1, wanted - toll.kills.total())
    _before_operations(toll, folder, "again", draw.randrange(10_000), left)


def _driver(toll: Toll, folder: Path, draw: random.Random) -> None:
    """From outside, in the local executor, also while it starts."""
    runs = KilledRuns(folder, fault_configs.every_kind_of_job(folder, 60, delay_s=0.01), draw)
    seconds = runs.in_peace()
    while runs.kills.total() < IN_THE_OPEN:
        runs.under_kills(["driver"], (0.05, seconds), most=6)
    toll.add("local executor", runs)


def _ray(toll: Toll, folder: Path, draw: random.Random) -> None:
    """A cluster of the run's own."""
    runs = KilledRuns(folder, fault_configs.on_ray(folder), draw)
    runs.in_peace()
    for roles in (("worker", "engine actor"), ("driver", "raylet"), tuple(killing.TITLES)):
        runs.under_kills([r for r in roles if r != "engine core"], (0.3, 3.0), most=ON_RAY // 3)
    toll.add("Ray", runs)


def _lost_nodes(toll: Toll, folder: Path, draw: random.Random) -> None:
    """One of three nodes, again and again; a new one takes its place."""
    runs = KilledRuns(folder, fault_configs.on_ray(folder, replicas=3, cpus=1.5), draw, more=("--address", "auto"))
    runs.in_peace()
    with nodes(folder, 3) as cluster:
        runs.beside = cluster.pid
        while runs.kills.total() < NODES:
            before = runs.kills["raylet"]
            runs.under_kills(["raylet"], (3.0, 12.0), most=1)
            if runs.kills["raylet"] == before:
                break
            add(cluster)
    runs.wrong += [f"still there: {process}" for process in runs.processes.gone()]
    toll.add("one of three nodes", runs)


def _vllm(toll: Toll, folder: Path, draw: random.Random) -> None:
    """The embedded model; its answers need not be the same twice, so rows are compared by their ids."""
    if importlib.util.find_spec("vllm") is None:
        print("vLLM is not installed: its processes are not killed", file=sys.stderr)
        return
    for executor, roles in (("local", ["engine core", "driver"]), ("ray", ["engine core", "engine actor"])):
        config = fault_configs.in_vllm(folder, 120, executor)
        runs = KilledRuns(folder, config, draw, columns=("prompt_id", "candidate_id"))
        runs.in_peace()
        runs.under_kills(roles, (2.0, 20.0), most=IN_VLLM // 2)
        toll.add(f"vLLM, {executor} executor", runs)
