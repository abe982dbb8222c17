"""What a search costs beside its engines: 10,000 trees with scripted answers, from process start to end."""

from __future__ import annotations

import json
import random
import tempfile
import time
from pathlib import Path

from benchmarks.figures import Figure, synth
from pipeline.store import Store
from pipeline.tree import Tree

TREES, SHARD = 10_000, 250


def run() -> list[Figure]:
    """CPU seconds of everything (scripted answers included) per 1,000 expansions; trees per second and peak memory."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        draw = random.Random(3)
        rows = [[draw.randrange(2, 99) for _ in range(6)] for _ in range(TREES)]
        lines = [json.dumps({"prompt": f"Add {' '.join(map(str, r))}", "answer": str(sum(r))}) for r in rows]
        (folder / "sums.jsonl").write_text("\n".join(dict.fromkeys(lines)), encoding="utf-8")
        started = time.monotonic()
        usage = synth(_config(folder / "sums.jsonl"), folder)
        seconds = time.monotonic() - started
        store = Store(str(folder / "runs" / "cost"))
        trees = [t for s in sorted(store.done("search")) for t in store.read("search", Tree, s, main=True)]
    sims = sum(tree.n_sims for tree in trees)
    beside = {
        "trees": len(trees), "expansions": sims, "nodes": sum(tree.n_nodes for tree in trees),
        "trees/s": round(len(trees) / seconds), "peak MB": round(max(usage.rss_mb)),
    }  # fmt: skip
    cost = usage.cpu_seconds / (sims / 1000)
    return [Figure("search_cpu_s_per_1000_expansions", round(cost, 3), "CPU-s", "<= 1.0", beside)]


def _config(file: Path) -> dict[str, object]:
    scripted = {
        name: {"kind": "scripted", "function": f"benchmarks.scripted_sums:{name}"} for name in ("policy", "critic")
    }
    return {
        "name": "cost", "shard_size": SHARD, "executor": "local", "engines": scripted,
        "jobs": [
            {"stage": "prompts", "path": str(file), "columns": {"prompt": "prompt", "reference": "answer"}},
            {
                "stage": "search", "engine": "policy", "delimiters": ["\n"], "sims": 24,
                "self_eval": {"engine": "critic"},
            },
        ],
    }  # fmt: skip
