"""What the benchmarks share: a figure, a run of the command line, and the CPU seconds of a whole process tree."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import psutil
import yaml

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Figure:
    """One number. `wanted` is a sentence; `beside`: what else was measured in the same run."""

    name: str
    value: float
    unit: str
    wanted: str
    beside: dict[str, Any] = field(default_factory=dict)


@dataclass
class Usage:
    """CPU seconds of a process and all its descendants, dead or alive, and samples of the first one's memory."""

    cpu_seconds: float = 0.0
    first_cpu: float = 0.0  # seconds of the first process alone
    rss_mb: list[float] = field(default_factory=list)


class Watch:
    """Samples a process tree until it ends. Short-lived grandchildren between two samples are counted by their parents."""

    def __init__(self, pid: int, every_s: float = 0.2) -> None:
        self._root = psutil.Process(pid)
        self._every = every_s
        self._seen: dict[tuple[int, float], float] = {}
        self._stop = threading.Event()
        self.usage = Usage()
        self._thread = threading.Thread(target=self._loop, daemon=True)
        self._thread.start()

    def _loop(self) -> None:
        while not self._stop.wait(self._every):
            self.sample()

    def sample(self) -> None:
        """One look at all processes."""
        try:
            tree = [self._root, *self._root.children(recursive=True)]
            self.usage.rss_mb.append(self._root.memory_info().rss / 2**20)
        except psutil.Error:
            return
        for process in tree:
            try:
                times = process.cpu_times()
                self._seen[(process.pid, process.create_time())] = times.user + times.system
            except psutil.Error:
                continue

    def end(self) -> Usage:
        """Stops sampling; the usage."""
        self._stop.set()
        self._thread.join()
        self.usage.cpu_seconds = sum(self._seen.values())
        self.usage.first_cpu = max([s for (pid, _), s in self._seen.items() if pid == self._root.pid], default=0.0)
        return self.usage


def synth(config: dict[str, Any], folder: Path, *arguments: str, watched: type[Watch] = Watch) -> Usage:
    """`prefsynth run` on a config in its own process. Raises CalledProcessError with its output."""
    command = _run_command({**config, "runs_dir": str(folder / "runs")}, folder, *arguments)
    return measured(command, folder / "output.txt", watched)


def measured(command: Sequence[str], log: Path, watched: type[Watch] = Watch) -> Usage:
    """A command in its own process, its output in `log`. Raises CalledProcessError with the end of that."""
    with log.open("w+", encoding="utf-8") as output:
        process = subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=subprocess.STDOUT)
        watch = watched(process.pid)
        code = process.wait()
        usage = watch.end()
        if code:
            output.seek(0)
            raise subprocess.CalledProcessError(code, process.args, output.read()[-2000:])
    return usage


def start_synth(config: dict[str, Any], folder: Path, output: IO[str], *arguments: str) -> subprocess.Popen[bytes]:
    """Starts `prefsynth run` on a config; what it says goes to `output`."""
    return subprocess.Popen(_run_command(config, folder, *arguments), cwd=ROOT, stdout=output, stderr=subprocess.STDOUT)


def _run_command(config: dict[str, Any], folder: Path, *arguments: str) -> list[str]:
    file = folder / f"{config['name']}.yaml"
    file.write_text(yaml.safe_dump(config), encoding="utf-8")
    return [sys.executable, "-m", "pipeline.cli", "run", str(file), "--plain", *arguments]


def events(folder: Path, name: str) -> list[dict[str, Any]]:
    """The log of a run made by `synth`."""
    text = (folder / "runs" / name / "log.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def word_problems(file: Path, n: int) -> None:
    """Writes n different short prompts with answers as JSONL."""
    with file.open("w", encoding="utf-8") as out:
        for i in range(n):
            bags, each = i % 7 + 1, i % 11 + 2
            text = f"Problem {i}: Ann has {i} apples and buys {bags} bags of {each} apples. How many has she now?"
            out.write(json.dumps({"prompt": text, "answer": str(i + bags * each)}) + "\n")
