"""SIGKILL at any moment, then the same command again: the finished run equals an undisturbed one, byte by byte."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from benchmarks import killing
from benchmarks.fault_configs import every_kind_of_job
from pipeline.engine import ROOT

if TYPE_CHECKING:
    from tests.conftest import Site

ENGINES = {
    "policy": {"kind": "scripted", "function": "faults:slow", "resources": {"slots": 2}},
    "judge": {"kind": "scripted", "function": "faults:slow_judge", "resources": {"slots": 2}},
}
CURATION = [
    {"stage": "dedup", "template_prompts": None}, {"stage": "balance", "longer_chosen": None, "per_kind": 20},
    {"stage": "split"}, {"stage": "export"},
]  # fmt: skip


def killed_again_and_again(site: Site, config: str, seed: int, wanted: int) -> int:
    """Starts the run and kills it when it has made a random number of files more; returns how often it was killed.

    The driver alone, or all that it started too: what outlives it must end by itself.
    """
    draw, processes = random.Random(seed), killing.Processes(site.folder)
    for kills in range(6):
        before = files(site)
        more = draw.randint(1, max(2, wanted // 4))
        with site.start("run", config) as process:
            while process.poll() is None and files(site) < before + more:
                time.sleep(draw.random() * 0.004)
            if process.poll() is not None:
                return kills
            processes.living()
            if draw.random() < 0.5:
                process.kill()
            else:
                killing.kill_session(process)
            process.communicate()
        assert processes.gone() == []
    return 6


def files(site: Site) -> int:
    """How many Parquet files there are, finished or not."""
    return sum(".parquet" in f for _, _, names in os.walk(site.folder / "runs") for f in names)


@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.slow), pytest.param(3, marks=pytest.mark.slow)])
def test_a_killed_driver_loses_and_doubles_nothing(site: Site, seed: int) -> None:
    config = site.config(n=40, engines=ENGINES)
    config["jobs"] += CURATION
    whole = site.calm(config)
    path = site.save(config)
    assert killed_again_and_again(site, path, seed, len(whole)) > 0
    code, _, err = site.command("run", path)
    assert code == 0, err
    assert site.files() == whole
    assert site.leftovers() == []
    assert killing.unreconciled(site.folder / "runs/t") == []


def crashed(folder: Path, config: dict[str, Any], *how: str) -> dict[str, Any]:
    """What benchmarks.crash_points says of the config; its runs lie in `folder`."""
    (folder / "config.json").write_text(json.dumps(config))  # which is YAML
    command = [sys.executable, "-m", "benchmarks.crash_points", str(folder / "config.json"), *how]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("how", [
    ("each", "29"), ("again", "4", "6"),
    pytest.param(("each", "3"), marks=pytest.mark.slow), pytest.param(("again", "5", "40"), marks=pytest.mark.slow),
])  # fmt: skip
def test_a_driver_may_be_killed_before_any_file_operation(tmp_path: Path, how: tuple[str, ...]) -> None:
    found = crashed(tmp_path, every_kind_of_job(tmp_path), *how)
    assert found["wrong"] == []
    assert found["kills"] >= (int(how[-1]) if how[0] == "again" else found["operations"] // int(how[1]))
