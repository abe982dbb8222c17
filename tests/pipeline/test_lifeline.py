"""Processes that end with the one that started them."""

from __future__ import annotations

import os
import subprocess
import sys

import psutil

from benchmarks import killing
from pipeline.engine import ROOT

CHILD = "from pipeline.lifeline import end_with_starter; end_with_starter(); print('up', flush=True); input()"
STARTER = "import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', sys.argv[1]]); time.sleep(600)"


def test_a_process_ends_when_its_starter_is_killed_whoever_adopts_it() -> None:
    # its input stays open: nothing but the death tells it
    read, write = os.pipe()
    with subprocess.Popen(
        [sys.executable, "-c", STARTER, CHILD], cwd=ROOT, stdin=read, stdout=subprocess.PIPE, text=True
    ) as starter:
        assert starter.stdout is not None
        assert starter.stdout.readline() == "up\n"
        (child,) = psutil.Process(starter.pid).children()
        starter.kill()
        starter.wait()
        assert starter.stdout.read() == ""  # closed by the child's end
    assert not killing.lives(child)
    os.close(read)
    os.close(write)
