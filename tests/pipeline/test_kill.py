"""SIGKILL at any moment, then the same command again: the finished run equals an undisturbed one, byte by byte."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq
import pytest

if TYPE_CHECKING:
    from tests.conftest import Site

ENGINES = {
    "policy": {"kind": "scripted", "function": "faults:slow", "resources": {"slots": 2}},
    "judge": {"kind": "scripted", "function": "faults:slow_judge", "resources": {"slots": 2}},
}


def undisturbed(site: Site, config: dict[str, Any]) -> dict[str, bytes]:
    """Shards of the same run, elsewhere."""
    site.run({**config, "runs_dir": str(site.folder / "calm"), "executor": "local"})
    folder = site.folder / "calm/t"
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*.parquet"))}


def rows_of(site: Site, job: str, key: str) -> Counter[str]:
    """How often each row of a job is there."""
    files = (site.folder / "runs/t" / job).glob("*.parquet")
    return Counter(value for file in files for value in pq.read_table(file).column(key).to_pylist())


def kill(process: subprocess.Popen[str]) -> None:
    """The process and all that share its session are gone at once, as with a lost machine."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def killed_again_and_again(site: Site, config: str, seed: int, wanted: int) -> int:
    """Starts the run and kills it when it has made a random number of files more; returns how often it was killed."""
    draw = random.Random(seed)
    kills = 0
    while kills < 6:
        before = len(site.files(kind="*.parquet*"))
        more = draw.randint(1, max(2, wanted // 4))
        with site.start("run", config) as process:
            while process.poll() is None and len(os_files(site)) < before + more:
                time.sleep(draw.random() * 0.004)
            if process.poll() is not None:
                return kills
            kill(process)
        kills += 1
    return kills


def os_files(site: Site) -> list[str]:
    """Names of all Parquet files, finished or not."""
    return [f for _, _, files in os.walk(site.folder / "runs") for f in files if ".parquet" in f]


CURATION = [
    {"stage": "dedup", "template_prompts": None}, {"stage": "balance", "longer_chosen": None, "per_kind": 20},
    {"stage": "split"}, {"stage": "export"},
]  # fmt: skip


@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.slow), pytest.param(3, marks=pytest.mark.slow)])
def test_a_killed_driver_loses_and_doubles_nothing(site: Site, seed: int) -> None:
    config = site.config(n=40, engines=ENGINES)
    config["jobs"] += CURATION
    whole = undisturbed(site, config)
    path = site.save(config)
    assert killed_again_and_again(site, path, seed, len(whole)) > 0
    code, _, err = site.command("run", path)
    assert code == 0, err
    assert site.files() == whole
    assert site.leftovers() == []
    assert set(rows_of(site, "generate", "candidate_id").values()) == {1}
    assert set(rows_of(site, "rate", "judgment_key").values()) == {1}
