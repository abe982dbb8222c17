"""A training between two rounds that its driver is stopped in, or does not outlive."""

from __future__ import annotations

import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from benchmarks import killing
from pipeline.errors import PlanError
from pipeline.iterate import iterate

if TYPE_CHECKING:
    from tests.conftest import Site

TRAIN = """
import pathlib, subprocess, sys, time
_, data, to, ready = sys.argv
if not pathlib.Path(ready).exists():
    pathlib.Path(to).mkdir(exist_ok=True)
    (pathlib.Path(to) / "config.json").write_text("{}")
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    pathlib.Path(ready).write_text(str(child.pid))
    time.sleep(600)
pathlib.Path(to).mkdir(exist_ok=True)
(pathlib.Path(to) / "config.json").write_text('{"whole": true}')
"""


def started(site: Site) -> tuple[dict[str, Any], subprocess.Popen[str], list[psutil.Process]]:
    """A config, its driver, and the training with its child, at work for the first time."""
    config = site.config(n=6)
    script, ready = site.folder / "train.py", site.folder / "ready"
    script.write_text(TRAIN, encoding="utf-8")
    config["engines"]["policy"]["model"] = "first"
    config["jobs"].append({"stage": "export"})
    config["iterate"] = {"rounds": 1, "train": [sys.executable, str(script), "{data}", "{to}", str(ready)]}
    process = site.start("iterate", site.save(config))
    assert killing.wait_for(lambda: ready.exists() and ready.read_text(), process, 60)
    child = psutil.Process(int(ready.read_text()))
    training = child.parent()
    assert training is not None
    return config, process, [training, child]


def test_a_stop_ends_the_training_with_what_it_started_and_the_same_command_trains_again(site: Site) -> None:
    config, process, training = started(site)
    with process:
        process.terminate()
        _, err = process.communicate(timeout=60)
    assert process.returncode == 5, err
    assert not any(map(killing.lives, training))
    assert (iterate(config, quiet=True) / "config.json").read_text() == '{"whole": true}'


def test_a_training_that_outlives_its_killed_driver_keeps_the_next_one_away(site: Site) -> None:
    config, process, training = started(site)
    with process:
        process.kill()
        process.wait(60)  # its pipes stay open: the training holds them
    assert all(map(killing.lives, training))
    with pytest.raises(
        PlanError, match=rf"another process \(pid {process.pid}, training pid {training[0].pid}\) works"
    ):
        iterate(config, quiet=True)
    killing.send(signal.SIGKILL, training)
    psutil.wait_procs(training, timeout=30)
    assert iterate(config, quiet=True).is_dir()
