"""From 1 to 64 engine replicas on a Ray cluster of several nodes: requests a second, and who spends which CPU seconds.

Replicas are scripted (benchmarks/slow_answers.py says with which latencies) and, on a machine of two cores, eight of
them share a process: 64 Python processes would need the cores for themselves. Nodes are simulated: raylets of their own
on one machine.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import psutil

from benchmarks.figures import Figure, Usage, Watch, events, synth, word_problems
from benchmarks.slow_answers import IN_A_PROCESS, RATE, SLOWER

LADDER = (1, 8, 32, 64)
PER_PROCESS = 8
NODES = 4
SHARD = 128
SECONDS = 40  # of work for each step of the ladder
STEADY = (0.3, 0.85)  # the share of the shards between which is measured: neither the start nor the tail


def run() -> list[Figure]:
    """Requests a second as a share of 50 for each replica, in the middle of a run of two requests a prompt."""
    beside: dict[str, Any] = {}
    for replicas in LADDER:
        found = measure(replicas)
        beside |= {f"{replicas}: {what}": value for what, value in found.items()}
    return [
        Figure("replicas_64_efficiency", beside[f"{LADDER[-1]}: efficiency"], "of 3,200 requests/s", ">= 0.9", beside)
    ]


def measure(replicas: int, seconds: float = SECONDS, slower: float = 1) -> dict[str, float]:
    """Efficiency, requests/s and CPU seconds per 1,000 requests of one step of the ladder.

    slower: all latencies are so many times as long, and as many times fewer requests/s are the ideal.
    """
    processes = -(-replicas // PER_PROCESS)
    each = replicas // processes
    prompts = int(replicas * RATE * seconds / 2 / SHARD + 1) * SHARD
    with tempfile.TemporaryDirectory(prefix="r", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        word_problems(folder / "prompts.jsonl", prompts)
        with _environment(name, each, slower), _cluster() as address:
            synth(_config(folder, processes, each, address), folder, watched=ByRole)
        ends = sorted(e["at"] for e in events(folder, "replicas") if e["event"] == "shard" and e["job"] != "prompts")
    first, last = (int(len(ends) * share) for share in STEADY)
    rate = (last - first) * SHARD / (ends[last] - ends[first])
    cpu = {f"{role} CPU-s per 1,000": round(s / (2 * prompts / 1000), 3) for role, s in sorted(ByRole.seconds.items())}
    return {"efficiency": round(rate * slower / (replicas * RATE), 3), "requests/s": round(rate), **cpu}


class ByRole(Watch):
    """Sorts the CPU seconds of the driver and of the cluster's processes, which are no children of it, by what they are."""

    seconds: ClassVar[dict[str, float]] = {}  # of the last run

    def __init__(self, pid: int, every_s: float = 1.0) -> None:
        self._driver = pid
        self._by_process: dict[int, tuple[str, float]] = {}
        super().__init__(pid, every_s)

    def sample(self) -> None:
        """One look at all processes."""
        super().sample()
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if process.pid != os.getpid() and process.environ().get("RAY_TMPDIR") == os.environ["RAY_TMPDIR"]:
                    times = process.cpu_times()
                    self._by_process[process.pid] = (self._role(process), times.user + times.system)

    def _role(self, process: psutil.Process) -> str:
        title = " ".join(process.cmdline())
        if process.pid == self._driver:
            return "driver"
        if title.startswith("ray::"):
            return "replicas" if "Replica" in title else "tasks"
        return "Ray"

    def end(self) -> Usage:
        """Stops sampling."""
        usage = super().end()
        type(self).seconds.clear()
        for role, seconds in self._by_process.values():
            self.seconds[role] = self.seconds.get(role, 0.0) + seconds
        return usage


@contextlib.contextmanager
def _environment(folder: str, each: int, slower: float) -> Iterator[None]:
    wanted = {
        IN_A_PROCESS: str(each), SLOWER: str(slower), "RAY_TMPDIR": folder,
        "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0" * 64, "RAY_USAGE_STATS_ENABLED": "0",
    }  # fmt: skip
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextlib.contextmanager
def _cluster() -> Iterator[str]:
    """Address of a cluster of several nodes on this machine."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        for _ in range(NODES - 1):
            cluster.add_node(num_cpus=1)
        cluster.wait_for_nodes()
        yield cluster.address
    finally:
        cluster.shutdown()


def _config(folder: Path, processes: int, each: int, address: str) -> dict[str, Any]:
    resources = {"replicas": processes, "slots": 2 * each, "cpus": 0.25}
    engine = {"kind": "scripted", "resources": resources}
    return {
        "name": "replicas",
        "shard_size": SHARD,
        "executor": "ray",
        "address": address,
        "engines": {"policy": engine | {"function": "benchmarks.slow_answers:answer"}},
        "jobs": [
            {"stage": "prompts", "path": str(folder / "prompts.jsonl"), "columns": {"prompt": "prompt"}},
            {"stage": "generate", "engine": "policy", "sampling": {"n": 1}},
            {"stage": "rate", "engine": "policy", "aspects": ["correctness"]},
        ],
    }
