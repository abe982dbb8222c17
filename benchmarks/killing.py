"""A run as its enemy sees it: start it, find its processes by what they do, kill them, look at what is left.

All processes of a run are told by an environment variable that they inherit, and by who started whom: Ray's workers write
their titles over the environment that the kernel shows.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pyarrow.parquet as pq

from benchmarks.figures import ROOT
from pipeline.store import FOOTER

MARK = "FAULTS"  # names the folder that a run and its scripted functions share
GONE_S = 150.0  # for Ray's own processes to follow their driver: its agents call the dead for a minute
TITLES = {  # how a process shows what it is: the beginning of a word of its command line
    "worker": ("ray::run_task", "ray::_look", "ray::MapBatches"),
    "engine actor": ("ray::Replica",),
    "engine core": ("VLLM::EngineCore",),
    "raylet": ("raylet",),
    "driver": ("pipeline.cli",),
}


def start(folder: Path, *arguments: str, paths: Sequence[Path] = ()) -> subprocess.Popen[str]:
    """Starts `prefsynth ARGUMENTS` in a session of its own, marked with `folder`."""
    places = os.pathsep.join(map(str, (ROOT, *paths)))
    return subprocess.Popen(
        [sys.executable, "-m", "pipeline.cli", *arguments],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": places, MARK: str(folder)}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip


def kill_session(process: subprocess.Popen[str]) -> None:
    """The process and all that share its session are gone at once, as with a lost machine."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


@dataclass
class Processes:
    """Every process of the runs in `folder` that was ever seen, except this one and what it had started before."""

    folder: Path
    _seen: set[psutil.Process] = field(default_factory=set)
    _own: set[psutil.Process] = field(default_factory=set)

    def __post_init__(self) -> None:
        this = psutil.Process()
        self._own = {this, *this.children(recursive=True)}

    def living(self) -> list[psutil.Process]:
        """Those that live now, with what they started; oldest first."""
        self._seen |= {p for p in psutil.process_iter() if self._is_marked(p)}
        for process in list(self._seen):
            with contextlib.suppress(psutil.Error):
                self._seen.update(process.children(recursive=True))
        self._seen = {p for p in self._seen - self._own if lives(p)}
        return sorted(self._seen, key=lambda p: p.create_time())

    def _is_marked(self, process: psutil.Process) -> bool:
        try:
            return process.environ().get(MARK) == str(self.folder)
        except psutil.Error:
            return False

    def doing(self, role: str) -> list[psutil.Process]:
        """Living processes of a role of TITLES."""
        return [p for p in self.living() if role_of(p) == role]

    def gone(self, but: Sequence[int] = (), within_s: float = GONE_S) -> list[str]:
        """Waits for all to end, but those of the ids `but`; the command lines of those that did not."""
        deadline = time.monotonic() + within_s
        while left := [p for p in self.living() if p.pid not in but]:
            if time.monotonic() > deadline:
                return [" ".join(words_of(p)[:4]) for p in left]
            time.sleep(0.1)
        return []


def lives(process: psutil.Process) -> bool:
    """Whether it still does anything; what nobody has asked for its exit code does not."""
    with contextlib.suppress(psutil.Error):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def words_of(process: psutil.Process) -> list[str]:
    """A process's command line; empty when it is gone."""
    with contextlib.suppress(psutil.Error):
        return process.cmdline()
    return []


def role_of(process: psutil.Process) -> str | None:
    """What of TITLES a process is."""
    words = [word.rsplit("/", 1)[-1] for word in words_of(process)[:4]]
    return next((role for role, titles in TITLES.items() if any(w.startswith(titles) for w in words)), None)


def strike(found: Sequence[psutil.Process], draw: random.Random) -> psutil.Process | None:
    """SIGKILL to one of them; which it was, or None where none lives."""
    for process in draw.sample(list(found), len(found)):
        with contextlib.suppress(psutil.Error):
            process.kill()
            return process
    return None


def send(number: signal.Signals, found: Sequence[psutil.Process]) -> None:
    """A signal to each of them that lives, as Slurm sends it to all of a job."""
    for process in found:
        with contextlib.suppress(psutil.Error):
            process.send_signal(number)


def wait_for(what: Callable[[], object], process: subprocess.Popen[str], within_s: float) -> bool:
    """Whether `what` became true before the process ended or the time was up."""
    deadline = time.monotonic() + within_s
    while process.poll() is None and time.monotonic() < deadline:
        if what():
            return True
        time.sleep(0.005)
    return False


def shards(run: Path) -> dict[str, bytes]:
    """Path below a run's folder -> content."""
    return {str(p.relative_to(run)): p.read_bytes() for p in sorted(run.rglob("*.parquet"))}


def leftovers(run: Path) -> list[str]:
    """What killed writers left in a run's folder."""
    return [str(p.relative_to(run)) for pattern in ("*.tmp-*", "*.journal") for p in run.rglob(pattern)]


def lost_or_doubled(calm: Path, run: Path, columns: Sequence[str] | None = None) -> int:
    """Rows by which two runs differ, each difference counted once; of `columns` alone where they are given."""
    total = 0
    for job in sorted({p.parent.name for folder in (calm, run) for p in folder.glob("*/*.parquet")}):
        wanted, found = (_rows(folder / job, columns) for folder in (calm, run))
        total += ((wanted - found) + (found - wanted)).total()
    return total


def _rows(job: Path, columns: Sequence[str] | None) -> Counter[str]:
    return Counter(row for file in job.glob("*.parquet") for row in rows_of(file, columns))


def rows_of(file: Path, columns: Sequence[str] | None) -> list[str]:
    """The rows of a Parquet file as JSON, sorted; of `columns`, as far as it has them, or all."""
    table = pq.read_table(file, partitioning=None)
    table = table.select([c for c in table.column_names if columns is None or c in columns])
    return sorted(json.dumps(row, sort_keys=True, default=str) for row in table.to_pylist())


def unreconciled(run: Path) -> list[str]:
    """Shards whose footer does not say what they hold, or where rows + rejects are not what came in."""
    wrong = []
    for file in sorted(run.glob("*/*.parquet")):
        metadata = pq.read_metadata(file)
        if (said := (metadata.metadata or {}).get(FOOTER)) is None:
            continue  # a side table
        report = json.loads(said)
        if report["rows_in"] != report["kept"] + report["rejected"] or report["rows_out"] != metadata.num_rows:
            wrong.append(f"{file.parent.name}/{file.name}: {report}, {metadata.num_rows} rows")
    return wrong
