"""What the framework itself costs: prompts -> generate (4) -> rate (4 calls) -> pair -> export with free engines."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from benchmarks.figures import Figure, synth, word_problems

PROMPTS = 20_000


def run() -> list[Figure]:
    """Prompts per CPU second, all processes counted, from process start to end; durability (fsync) on."""
    rates = {executor: _measure(executor) for executor in ("local", "ray")}
    return [
        Figure(
            "framework_prompts_per_cpu_second",
            round(max(rates.values())),
            "prompts/CPU-s",
            ">= 2000",
            {f"{executor} executor": round(rate) for executor, rate in rates.items()} | {"prompts": PROMPTS},
        )
    ]


def _measure(executor: str) -> float:
    with tempfile.TemporaryDirectory() as name:
        usage = synth(config(executor, Path(name)), Path(name))
    return PROMPTS / usage.cpu_seconds


def config(executor: str, folder: Path) -> dict[str, Any]:
    """The run as a config; its prompts and shards lie in `folder`."""
    word_problems(folder / "prompts.jsonl", PROMPTS)
    return {
        "name": "framework",
        "runs_dir": str(folder / "runs"),
        "shard_size": 512,
        "executor": executor,
        "engines": {
            "policy": {"kind": "scripted", "function": "benchmarks.canned:policy"},
            "judge": {"kind": "scripted", "function": "benchmarks.canned:judge"},
        },
        "jobs": [
            {
                "stage": "prompts",
                "path": str(folder / "prompts.jsonl"),
                "columns": {"prompt": "prompt", "reference": "answer"},
            },
            {"stage": "generate", "engine": "policy", "sampling": {"n": 4}},
            {"stage": "rate", "engine": "judge", "aspects": ["correctness"]},
            {"stage": "pair_responses", "min_margin": 0.05},
            {"stage": "export", "format": "trl-dpo"},
        ],
    }
