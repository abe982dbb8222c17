"""The driver's memory over a long run: it must not grow with the data."""

from __future__ import annotations

import tempfile
from pathlib import Path

from benchmarks.figures import Figure, synth, word_problems

PROMPTS = 1_000_000


def run(prompts: int = PROMPTS) -> list[Figure]:
    """Resident memory of the driver at a tenth, the middle and the end of a run on Ray; growth from tenth to end."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        word_problems(folder / "prompts.jsonl", prompts)
        config = {
            "name": "memory",
            "shard_size": 1024,
            "executor": "ray",
            "engines": {"policy": {"kind": "scripted", "function": "benchmarks.canned:policy"}},
            "jobs": [
                {"stage": "prompts", "path": str(folder / "prompts.jsonl"), "columns": {"prompt": "prompt"}},
                {"stage": "generate", "engine": "policy", "sampling": {"n": 1}},
            ],
        }
        usage = synth(config, folder)
    rss = usage.rss_mb
    start, middle, end = (round(rss[int(len(rss) * at)], 1) for at in (0.1, 0.5, 0.98))
    beside = {"start MB": start, "middle MB": middle, "end MB": end, "prompts": prompts, "peak MB": round(max(rss), 1)}
    return [Figure("driver_memory_growth_mb", round(end - start, 1), "MB", "flat", beside)]
