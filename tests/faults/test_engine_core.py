"""vLLM's own process, killed and told to stop: its shards are made again, and nothing half-said is kept."""

from __future__ import annotations

import functools
import importlib.util
import random
import signal
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from benchmarks import killing
from benchmarks.fault_configs import in_vllm
from benchmarks.killed_runs import KilledRuns
from pipeline.engine import ROOT

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(importlib.util.find_spec("vllm") is None, reason="vLLM is not installed"),
    pytest.mark.skipif(not (ROOT / "models/abacus/model.safetensors").is_file(), reason="models/abacus has no weights"),
]
N = 160
IDS = ("prompt_id", "candidate_id")  # an engine need not say the same twice


def more_than(n: int, job: Path) -> bool:
    """Whether a job has more than n shards."""
    return len(list(job.glob("*.parquet"))) > n


def test_an_engine_that_is_killed_and_a_job_that_is_stopped_lose_and_double_nothing(tmp_path: Path) -> None:
    """SIGKILL to the engine's process under work; then SIGTERM to every process, as Slurm sends it; then to the end."""
    runs = KilledRuns(tmp_path, in_vllm(tmp_path, N), random.Random(1), columns=IDS)
    runs.in_peace()
    candidates = runs.run / "generate"
    process = runs.start()
    assert killing.wait_for(functools.partial(more_than, 0, candidates), process, 600)
    core = runs.processes.doing("engine core")
    killing.send(signal.SIGKILL, core)
    assert killing.wait_for(lambda: set(runs.processes.doing("engine core")) - set(core), process, 600)  # another one
    assert killing.wait_for(
        functools.partial(more_than, len(list(candidates.glob("*.parquet"))), candidates), process, 600
    )
    killing.send(signal.SIGTERM, runs.processes.living())
    _, err = process.communicate(timeout=120)
    assert "retrying job generate" in err
    assert process.returncode == 5, err
    assert runs.processes.gone() == []
    process = runs.start()
    _, err = process.communicate(timeout=900)
    assert process.returncode == 0, err
    tables = [pq.read_table(file, partitioning=None) for file in candidates.glob("*.parquet")]
    said = [reason for table in tables for reason in table.column("finish_reason").to_pylist()]
    assert set(said) <= {"stop", "length"}
    assert len(said) == N * 4
    assert killing.lost_or_doubled(runs.calm, runs.run, IDS) == 0
    assert killing.leftovers(runs.run) == []
    assert killing.unreconciled(runs.run) == []
