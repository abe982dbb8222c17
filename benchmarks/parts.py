"""Where a second of a run goes: a sampler that books the CPU time of one process by part of the program.

    python -m benchmarks.parts CONFIG   (a run in this process; prints JSON: part -> CPU seconds)

Every few milliseconds of CPU time it looks which of our files is at work; time in a library counts for the file of ours
that called it. Unlike cProfile it does not make small functions look expensive.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from types import FrameType

import yaml

from benchmarks import framework
from benchmarks.figures import Figure

EVERY_S = 0.001  # of CPU time; the kernel rounds it up to its own tick
ROOT = f"{Path(__file__).resolve().parent.parent}{os.sep}"
PARTS = {  # the first prefix that fits
    "pipeline/store.py": "Parquet",
    "pipeline/tables.py": "Parquet",
    "pipeline/ids.py": "ids and seeds",
    "pipeline/prompts.py": "templates",
    "pipeline/worker.py": "worker",
    "pipeline/engines/": "engine",
    "benchmarks/": "engine",
    "pipeline/": "driver",
}


class Sampler:
    """Counts samples by part while it is open (main thread only, as signals are)."""

    def __init__(self) -> None:
        self.seen: Counter[str] = Counter()

    def __enter__(self) -> Sampler:
        signal.signal(signal.SIGPROF, self._sample)
        self._began = time.process_time()
        signal.setitimer(signal.ITIMER_PROF, EVERY_S, EVERY_S)
        return self

    def __exit__(self, *_: object) -> None:
        signal.setitimer(signal.ITIMER_PROF, 0)
        self.seconds = time.process_time() - self._began

    def _sample(self, _: int, frame: FrameType | None) -> None:
        self.seen[_part(frame)] += 1

    def parts(self) -> dict[str, float]:
        """CPU seconds by part, the largest first."""
        total = self.seen.total() or 1
        return {part: round(self.seconds * n / total, 3) for part, n in self.seen.most_common()}


def _part(frame: FrameType | None) -> str:
    while frame is not None:
        file = frame.f_code.co_filename
        if file == "<template>":
            return "templates"
        if file.startswith(ROOT) and not file.startswith(f"{ROOT}.venv"):
            return "imports" if frame.f_code.co_name == "<module>" else _named(file[len(ROOT) :])
        frame = frame.f_back
    return "other"


def _named(file: str) -> str:
    for prefix, part in PARTS.items():
        if file.startswith(prefix):
            return part
    return "/".join(file.split("/")[:2])  # stages/judges


def run() -> list[Figure]:
    """The framework's own run (benchmarks/framework.py) in one process, by part."""
    with tempfile.TemporaryDirectory() as name:
        config = Path(name) / "config.yaml"
        config.write_text(yaml.safe_dump(framework.config("local", Path(name))), encoding="utf-8")
        command = [sys.executable, "-m", "benchmarks.parts", str(config)]
        output = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout
    thousands = framework.PROMPTS / 1000
    seconds = {part: s / thousands for part, s in json.loads(output).items()}
    beside = {part: f"{s:.4f} ({s / sum(seconds.values()):.0%})" for part, s in seconds.items()}
    return [Figure("cpu_s_per_1000_prompts", round(sum(seconds.values()), 3), "CPU-s", "<= 0.5", beside)]


def main(config: str) -> None:
    """Runs `config` in this process and prints its parts."""
    with Sampler() as sampler:
        from pipeline.run import execute  # imports are a part

        execute(yaml.safe_load(Path(config).read_text(encoding="utf-8")), plain=True, quiet=True)
    print(json.dumps(sampler.parts()))


if __name__ == "__main__":
    main(*sys.argv[1:])
