"""`prefsynth run` with only `generate` against raw `vllm.LLM.generate`: same prompts, sampling and engine arguments.

Rounds alternate, so that a noisy machine is noisy for both; engine start is excluded on both sides.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.figures import ROOT, Figure, events, synth
from models.abacus.problems import make_problems
from pipeline.prompts import load_template
from pipeline.report import gather
from pipeline.tokenizer import load_tokenizer

PROMPTS, ROUNDS = 400, 3
SAMPLING = {"n": 4, "temperature": 1.0, "max_tokens": 96}
ENGINE = {"max_model_len": 1024, "max_num_seqs": 128}
# What our engine sets itself on a CPU; vLLM ends at seeded prompts that are prefilled in parts.
RAW = {"enable_chunked_prefill": False, "block_size": 32, "enforce_eager": True, "kv_cache_memory_bytes": 2**30}


def run() -> list[Figure]:
    """Median over rounds of ours / raw, in generated tokens per second."""
    problems = [p.text for p in make_problems(99, PROMPTS, "heldout")]
    tokenizer, template = load_tokenizer("models/abacus"), load_template("generate", "abacus")
    ids = [tokenizer.chat(template.render(prompt=p, principle="")) for p in problems]
    raw = _RawEngine(ids)
    ratios: dict[str, list[float]] = {"ray": [], "local": []}
    speeds: dict[str, list[float]] = {"raw": [], "raw without seeds": [], "ray": [], "local": []}
    try:
        for _ in range(ROUNDS):
            for executor in ("ray", "local"):
                speeds["raw"].append(raw.round(seeded=True))
                speeds[executor].append(_ours(problems, executor))
                ratios[executor].append(speeds[executor][-1] / speeds["raw"][-1])
            speeds["raw without seeds"].append(raw.round(seeded=False))
    finally:
        raw.close()
    beside: dict[str, Any] = {f"{k} tokens/s": round(statistics.median(v)) for k, v in speeds.items()}
    beside |= {f"ratio on {k}": round(statistics.median(v), 3) for k, v in ratios.items()}
    value = round(statistics.median(ratios["ray"]), 3)
    return [Figure("generate_vs_raw", value, "ratio", ">= 0.85, goal 0.95", beside)]


class _RawEngine:
    """The other process."""

    def __init__(self, prompts: list[list[int]]) -> None:
        command = [sys.executable, "-m", "benchmarks.raw_vllm"]
        self._process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        job = {"model": str(ROOT / "models/abacus"), "prompts": prompts, "engine": ENGINE | RAW, "sampling": SAMPLING}
        self._send(job)
        self._wait_for("ready")
        self.round(seeded=True)  # warm-up

    def round(self, seeded: bool) -> float:
        """Tokens per second of one pass over all prompts."""
        self._send({"seeded": seeded})
        found = json.loads(self._wait_for("round"))
        return float(found["tokens"] / found["seconds"])

    def close(self) -> None:
        """Lets the process end by itself: killed, it would leave vLLM's engine process behind, at work."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(timeout=60)

    def _send(self, data: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(data) + "\n")
        self._process.stdin.flush()

    def _wait_for(self, word: str) -> str:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith(word):
                return line.removeprefix(word).strip()
        raise RuntimeError("the raw vLLM process ended; run python -m benchmarks.raw_vllm to see why")


def _ours(problems: list[str], executor: str) -> float:
    """Tokens per second from the moment the engine is up to the last commit."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with (folder / "prompts.jsonl").open("w", encoding="utf-8") as file:
            file.writelines(json.dumps({"prompt": p}) + "\n" for p in problems)
        config = {
            "name": "generate",
            "shard_size": 100,
            "executor": executor,
            "engines": {"policy": {"kind": "vllm", "model": "models/abacus", **ENGINE, "resources": {"slots": 4}}},
            "jobs": [
                {"stage": "prompts", "path": str(folder / "prompts.jsonl"), "columns": {"prompt": "prompt"}},
                {"stage": "generate", "engine": "policy", "template": "abacus", "sampling": SAMPLING},
            ],
        }
        synth(config, folder)
        tokens = gather(str(folder / "runs" / "generate"))["jobs"]["generate"]["tokens"]
        log = events(folder, "generate")
    up = next(e["at"] for e in log if e["event"] == "engines_up")
    return float(tokens / (max(e["at"] for e in log if e["event"] == "shard") - up))
