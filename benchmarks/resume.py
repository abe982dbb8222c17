"""How long a half-done run of ten million prompts takes to start again, and what its driver weighs then.

The half that is done is made in bulk: a few shards of each job come from a real run, and their bytes are committed under
every number, by the store itself. What a start does is the same: it lists, reads footers, checks recipes and the index.
"""

from __future__ import annotations

import itertools
import signal
import tempfile
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow as pa

from benchmarks.figures import Figure, Watch, start_synth, word_problems
from pipeline.plan import make_plan
from pipeline.resume import load_index, prepare
from pipeline.run import execute
from pipeline.store import Store

PROMPTS = 10_000_000
SHARD = 1024
PATTERNS = 4  # shards that are made for real
WAIT_S = 600


def run(prompts: int = PROMPTS, shard_size: int = SHARD) -> list[Figure]:
    """Seconds from the start of the command to the first shard it commits, on Ray, half of all shards being there."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        word_problems(folder / "prompts.jsonl", prompts)
        made = half_done(folder, _config(folder, shard_size), f"{folder}/runs")
        found = {executor: start_again(_config(folder, shard_size), folder, executor) for executor in ("ray", "local")}
    beside = {"prompts": prompts, "files there": made["files"], "index pass s": made["index_seconds"]}
    for executor, each in found.items():
        beside |= {f"{executor} {what}": value for what, value in each.items()}
    return [Figure("resume_10m_seconds", found["ray"]["seconds"], "s", "<= 30", beside)]


def _config(folder: Path, shard_size: int) -> dict[str, Any]:
    return {
        "name": "resume",
        "shard_size": shard_size,
        "engines": {
            "policy": {"kind": "scripted", "function": "benchmarks.canned:policy"},
            "judge": {"kind": "scripted", "function": "benchmarks.canned:judge"},
        },
        "jobs": [
            {"stage": "prompts", "path": str(folder / "prompts.jsonl"), "columns": {"prompt": "prompt"}},
            {"stage": "generate", "engine": "policy", "sampling": {"n": 2}},
            {"stage": "rate", "engine": "judge", "aspects": ["correctness"]},
            {"stage": "pair_responses", "min_margin": 0.05},
        ],
    }


def half_done(folder: Path, config: dict[str, Any], runs_dir: str) -> dict[str, Any]:
    """Leaves a run in `runs_dir` of which the first half of the shards of every job is there."""
    patterns = _patterns(folder, config)
    plan = make_plan({**config, "runs_dir": runs_dir})
    store = Store(f"{runs_dir}/{config['name']}")
    store.create()
    prepare(plan, store, None)
    began = time.monotonic()
    shards = len(load_index(plan, store).slices) // 2
    index_seconds = round(time.monotonic() - began, 1)

    def commit(shard: int) -> None:
        for job, files in patterns.items():
            store._put(files[shard % PATTERNS], job, store.shard_file(shard))

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(commit, range(shards)))
    return {"files": shards * len(patterns), "index_seconds": index_seconds}


def _patterns(folder: Path, config: dict[str, Any]) -> Mapping[str, list[pa.Buffer]]:
    """The first shards of each table, side tables first, from a real run of them."""
    few = folder / "few.jsonl"
    with (folder / "prompts.jsonl").open(encoding="utf-8") as lines:
        few.write_text("".join(itertools.islice(lines, PATTERNS * config["shard_size"])), encoding="utf-8")
    source, *rest = config["jobs"]
    jobs = [source | {"path": str(few)}, *rest]
    root = folder / "patterns"
    execute({**config, "jobs": jobs, "executor": "local", "runs_dir": str(root)}, plain=True, quiet=True)
    found: dict[str, list[pa.Buffer]] = {}
    for table in sorted((root / config["name"]).iterdir(), key=lambda path: "." not in path.name):
        files = sorted(table.glob("*.parquet")) if table.is_dir() else []
        if len(files) == PATTERNS:
            found[table.name] = [pa.py_buffer(file.read_bytes()) for file in files]
    return found


def start_again(config: dict[str, Any], folder: Path, executor: str, runs_dir: str | None = None) -> dict[str, float]:
    """Starts the run, waits for the first shard it commits, and stops it. Raises RuntimeError when none comes."""
    runs_dir = runs_dir or f"{folder}/runs"
    log = folder / f"{executor}.txt"
    began = time.monotonic()
    with log.open("w+", encoding="utf-8") as output:
        process = start_synth({**config, "executor": executor, "runs_dir": runs_dir}, folder, output)
        watch = Watch(process.pid)
        first = _first_commit(Store(f"{runs_dir}/{config['name']}"), config, began, process.poll)
        process.send_signal(signal.SIGTERM)
        process.wait(60)
        usage = watch.end()
        if first is None or process.returncode != 5:
            output.seek(0)
            raise RuntimeError(f"exit code {process.returncode}: {output.read()[-2000:]}")
    return {"seconds": round(first, 1), "peak MB": round(max(usage.rss_mb)), "driver CPU s": round(usage.first_cpu, 1)}


def _first_commit(store: Store, config: dict[str, Any], began: float, ended: Callable[[], int | None]) -> float | None:
    """Seconds until the source's next shard is there."""
    source = config["jobs"][0]["stage"]
    there = len(store.done(source))
    shard = next(i for i in itertools.count(there) if not store.exists(source, store.shard_file(i)))
    while time.monotonic() - began < WAIT_S and ended() is None:
        if store.exists(source, store.shard_file(shard)):
            return time.monotonic() - began
        time.sleep(0.05)
    return None
