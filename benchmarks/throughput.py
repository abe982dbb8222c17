"""Ours beside what a competent user would otherwise run: the same job on `ray.data` and on distilabel, in one call.

prompts -> generate 4 -> judge each -> best against worst -> Parquet, with the same canned answers. What is compared is
the CPU seconds of all processes from start to end, Ray's included; ours with fsync, ids, raw judge calls and resume.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from benchmarks import parts, schedules
from benchmarks.figures import Figure, measured, synth, word_problems
from benchmarks.peers.environment import peers_python

PROMPTS = 20_000


def run() -> list[Figure]:
    """Ours against the peers, the schedules against each other, and where the time goes."""
    return [*peers(), *schedules.run(), *parts.run()]


def peers() -> list[Figure]:
    """CPU seconds of the peers over those of ours. Raises ValueError when somebody made other pairs."""
    python = str(peers_python())
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source = str(folder / "prompts.jsonl")
        word_problems(Path(source), PROMPTS)
        seconds, made = {}, {}
        for executor in ("local", "ray"):
            seconds[executor] = synth(_config(executor, source), folder).cpu_seconds
            made[executor] = str(folder / "runs" / executor / "export")
        for peer, interpreter in (("ray_data", sys.executable), ("distilabel", python)):
            made[peer] = str(folder / f"{peer}.parquet")
            command = [interpreter, "-m", f"benchmarks.peers.on_{peer}", source, made[peer]]
            seconds[peer] = measured(command, folder / f"{peer}.txt").cpu_seconds
        _check_same({who: _pairs(where) for who, where in made.items()})
    return _figures(seconds)


def _figures(seconds: dict[str, float]) -> list[Figure]:
    beside: dict[str, Any] = {f"{who} CPU-s": round(s, 1) for who, s in seconds.items()} | {"prompts": PROMPTS}
    return [
        Figure(
            f"throughput_vs_{peer}", round(seconds[peer] / seconds["local"], 2), "ratio", wanted,
            beside | {"with ours on Ray": round(seconds[peer] / seconds["ray"], 2)},
        )
        for peer, wanted in (("distilabel", ">= 10"), ("ray_data", ">= 1.3"))
    ]  # fmt: skip


def _config(executor: str, source: str) -> dict[str, Any]:
    return {
        "name": executor,
        "shard_size": 512,
        "executor": executor,
        "engines": {
            "policy": {"kind": "scripted", "function": "benchmarks.canned:peers_policy"},
            "judge": {"kind": "scripted", "function": "benchmarks.canned:peers_judge"},
        },
        "jobs": [
            {"stage": "prompts", "path": source, "columns": {"prompt": "prompt"}},
            {"stage": "generate", "engine": "policy", "sampling": {"n": 4}},
            {"stage": "rate", "engine": "judge", "aspects": ["correctness"], "mode": "parsed"},
            {"stage": "pair_responses"},
            {"stage": "export", "format": "trl-dpo"},
        ],
    }


def _pairs(where: str) -> set[tuple[str, str, str]]:
    """(prompt, chosen, rejected) of every row."""
    files = sorted(map(str, Path(where).glob("*.parquet"))) or where  # an export has a card, too
    columns = pq.read_table(files, columns=["prompt", "chosen", "rejected"]).to_pydict().values()
    return {(_text(p), _text(c), _text(r)) for p, c, r in zip(*columns, strict=True)}


def _text(given: str | list[dict[str, str]]) -> str:
    """The text, or that of the last message."""
    return given if isinstance(given, str) else given[-1]["content"]


def _check_same(made: dict[str, set[tuple[str, str, str]]]) -> None:
    ours = made["local"]
    if other := [who for who, pairs in made.items() if pairs != ours or len(pairs) != PROMPTS]:
        raise ValueError(f"{', '.join(other)} made other pairs than ours in process: the comparison is void")
