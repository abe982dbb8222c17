"""Time from the command to a finished quickstart dataset, on a warm environment, with its breakdown."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from benchmarks.figures import Figure, events, synth
from pipeline.config import read_config


def run() -> list[Figure]:
    """Minutes of `prefsynth run quickstart` into an empty folder; beside it, when each job committed its last shard."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        started = time.monotonic()
        synth(read_config("quickstart"), folder)
        seconds = time.monotonic() - started
        log = events(folder, "quickstart")
    beside = {"engines up after s": round(next(e["at"] for e in log if e["event"] == "engines_up"), 1)}
    for event in log:
        if event["event"] == "shard":
            beside[f"{event['job']} done after s"] = round(event["at"], 1)
    return [Figure("quickstart_minutes", round(seconds / 60, 2), "minutes", "<= 4", beside)]
