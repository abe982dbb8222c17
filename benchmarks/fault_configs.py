"""Configs to be killed: scripted engines whose answers take a while, and the embedded model in vLLM."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from benchmarks.figures import word_problems

SUMS = "benchmarks.scripted_sums"


def scripted(function: str, delay_s: float = 0.0, **resources: Any) -> dict[str, Any]:
    """An engine that answers after `delay_s`."""
    return {"kind": "scripted", "function": function, "delay_s": delay_s, "resources": resources}


def sums(file: Path, n: int) -> None:
    """n prompts that scripted_sums can answer."""
    rows = [[i % 90 + 2, 3, 2 * i + 1, 9] for i in range(n)]
    lines = [json.dumps({"prompt": f"Add {' '.join(map(str, r))}", "answer": str(sum(r))}) for r in rows]
    file.write_text("\n".join(lines), encoding="utf-8")


def every_kind_of_job(folder: Path, n: int = 6, delay_s: float = 0.0) -> dict[str, Any]:
    """A source, jobs with and without engines, a search with its journal, a dataset stage, an export; three prompts to a
    shard."""
    sums(folder / "sums.jsonl", n)
    columns = {"prompt": "prompt", "reference": "answer"}
    return {
        "name": "every", "seed": 1, "shard_size": 3, "executor": "local",
        "engines": {
            "policy": scripted(f"{SUMS}:policy", delay_s, slots=2),
            "critic": scripted(f"{SUMS}:critic", delay_s),
            "judge": scripted("benchmarks.canned:judge", delay_s),
        },
        "jobs": [
            {"stage": "prompts", "path": str(folder / "sums.jsonl"), "columns": columns},
            {"stage": "search", "engine": "policy", "delimiters": ["\n"], "sims": 8, "self_eval": {"engine": "critic"}},
            {"stage": "pair_steps", "min_edit_chars": 1, "min_edit_share": 0.0},
            {"stage": "generate", "engine": "policy", "from": "prompts", "sampling": {"n": 2}},
            {"stage": "rate", "engine": "judge", "aspects": ["correctness"]},
            {"stage": "pair_responses", "min_margin": 0.05},
            {"stage": "split"},
            {"stage": "export", "format": "trl-dpo"},
        ],
    }  # fmt: skip


def on_ray(folder: Path, n: int = 160, replicas: int = 2, cpus: float = 0.5) -> dict[str, Any]:
    """Two engines in actors, jobs without an engine in tasks, a dataset stage through Ray Data."""
    config = every_kind_of_job(folder, n, delay_s=0.05)
    config |= {"name": "ray", "executor": "ray", "shard_size": 8}
    for alias, engine in config["engines"].items():
        engine["resources"] = {"slots": 2, "cpus": cpus if alias == "policy" else 0.1,
                               "replicas": replicas if alias == "policy" else 1}  # fmt: skip
    return config


def in_vllm(folder: Path, n: int, executor: str = "local") -> dict[str, Any]:
    """The embedded model in vLLM: four answers to each of n problems, checked and paired."""
    word_problems(folder / "problems.jsonl", n)
    engine = {"kind": "vllm", "model": "models/abacus", "max_model_len": 512, "max_num_seqs": 64,
              "cpu_kv_cache_gb": 0.25, "dtype": "float32", "resources": {"slots": 2}}  # fmt: skip
    columns = {"prompt": "prompt", "reference": "answer"}
    return {
        "name": "vllm", "seed": 1, "shard_size": 16, "executor": executor, "max_attempts": 20,
        "engines": {"policy": engine},
        "jobs": [
            {"stage": "prompts", "path": str(folder / "problems.jsonl"), "columns": columns},
            {"stage": "generate", "engine": "policy", "template": "abacus",
             "sampling": {"n": 4, "temperature": 1.0, "max_tokens": 96}},
            {"stage": "verify"},
            {"stage": "pair_responses"},
        ],
    }  # fmt: skip
