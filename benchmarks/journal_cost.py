"""What the journal of a search costs: the same search with and without it, in turns; engines that answer at once, the worst
case, and engines that take 20 ms."""

from __future__ import annotations

import statistics
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.fault_configs import SUMS, scripted, sums
from benchmarks.figures import Figure, events, synth

ROUNDS = 3
SIZES = {0.0: 400, 0.02: 100}  # pause of an engine in seconds -> trees


def run(rounds: int = ROUNDS) -> list[Figure]:
    """The share of throughput that the journal takes, fsync of shards included on both sides: median over rounds."""
    costs: dict[float, list[float]] = {delay_s: [] for delay_s in SIZES}
    for _ in range(rounds):
        for delay_s, trees in SIZES.items():
            without, with_it = (_seconds(trees, delay_s, journal) for journal in (False, True))
            costs[delay_s].append(1 - without / with_it)
    found = {delay_s: round(statistics.median(shares), 3) for delay_s, shares in costs.items()}
    beside = {"engines of 20 ms": found[0.02], "rounds": rounds, "spread": round(max(costs[0.0]) - min(costs[0.0]), 3)}
    return [Figure("journal_cost", found[0.0], "share of throughput", "<= 0.2", beside)]


def _seconds(trees: int, delay_s: float, journal: bool) -> float:
    """From the first request to the last commit."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sums(folder / "sums.jsonl", trees)
        config: dict[str, Any] = {
            "name": "journal", "shard_size": 50, "executor": "local",
            "engines": {alias: scripted(f"{SUMS}:{alias}", delay_s) for alias in ("policy", "critic")},
            "jobs": [
                {"stage": "prompts", "path": str(folder / "sums.jsonl"),
                 "columns": {"prompt": "prompt", "reference": "answer"}},
                {"stage": "search", "engine": "policy", "delimiters": ["\n"], "sims": 24, "journal": journal,
                 "self_eval": {"engine": "critic"}},
            ],
        }  # fmt: skip
        synth(config, folder)
        return float(
            sum(e["seconds"] for e in events(folder, "journal") if e["event"] == "shard" and e["job"] == "search")
        )
