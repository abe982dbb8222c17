"""Kills a run just before one of its file operations, whichever is wanted: the moments that a random kill never meets.

A process that has imported everything forks a driver for each kill, so that a kill costs a tenth of a second:
`python -m benchmarks.crash_points CONFIG each EVERY` kills a fresh run before every EVERY-th operation and runs it to the
end; `… again SEED KILLS` kills the same run again and again, a few operations further each time, run after run, until
KILLS are reached. Prints a JSON line of what differs from the undisturbed run: {"kills", "operations", "rows", "wrong"}.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from benchmarks.killing import leftovers, lost_or_doubled, shards, unreconciled
from pipeline import cli

OPERATIONS = {"open", "os.rename", "os.remove", "os.truncate", "os.mkdir", "os.rmdir"}
WIDEST = 30  # operations between two kills of the same run


def _imported_first() -> None:
    import pipeline.executors.local
    import pipeline.report
    import pipeline.run  # noqa: F401


@dataclass
class Driver:
    """Runs a config in forked processes."""

    config: dict[str, Any]
    folder: Path
    wrong: list[str] = field(default_factory=list)
    kills: int = 0
    rows: int = 0  # lost or doubled

    def __post_init__(self) -> None:
        """The run that nothing disturbs."""
        self.run = self.folder / "runs" / self.config["name"]
        self.operations = self._run("calm", None)
        self.calm = shards(self.folder / "calm" / self.config["name"])

    def go(self, at: int | None) -> bool:
        """Runs it; whether it was killed before operation `at`."""
        if self._run("runs", at) >= 0:
            return False
        self.kills += 1
        return True

    def check(self, when: str) -> None:
        """Notes what is not as in the undisturbed run, and begins anew."""
        differ = shards(self.run) != self.calm
        self.rows += lost_or_doubled(self.folder / "calm" / self.config["name"], self.run) if differ else 0
        found = {
            "rows": ["differ"] if differ else [],
            "leftovers": leftovers(self.run),
            "counts": unreconciled(self.run),
        }
        self.wrong += [f"{when}: {what}: {each}" for what, all_of in found.items() for each in all_of]
        shutil.rmtree(self.run)

    def _run(self, runs: str, at: int | None) -> int:
        """How many file operations it took; -1 when it was killed."""
        file = self.folder / f"{runs}.yaml"
        file.write_text(yaml.safe_dump({**self.config, "runs_dir": str(self.folder / runs)}), encoding="utf-8")
        told, tell = os.pipe()
        if not (child := os.fork()):
            _as_driver(file, at, tell)
        os.close(tell)
        with os.fdopen(told) as pipe:
            count = pipe.read()
        _, status = os.waitpid(child, 0)
        if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
            return -1
        if os.waitstatus_to_exitcode(status):
            self.wrong.append(f"exit code {os.waitstatus_to_exitcode(status)}, see {self.folder / 'output.txt'}")
        return int(count or 0)


def _as_driver(file: Path, at: int | None, tell: int) -> None:
    """The forked process: never returns."""
    count = 0
    runs = file.with_suffix("")

    def before(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal count
        if event in OPERATIONS and str(arguments[0]).startswith(str(runs)):
            if count == at:
                os.kill(os.getpid(), signal.SIGKILL)
            count += 1

    with (file.parent / "output.txt").open("a") as output:
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)
    sys.addaudithook(before)
    code = 1
    try:
        code = cli.main(["run", str(file), "--plain"])
    finally:
        os.write(tell, str(count).encode())
        os._exit(code)


def each(driver: Driver, every: int) -> None:
    """A fresh run is killed before operation 0, `every`, 2 `every` …, and run to its end."""
    for at in range(0, driver.operations, every):
        driver.go(at)
        driver.go(None)
        driver.check(f"killed before operation {at}")


def again(driver: Driver, draw: random.Random, kills: int) -> None:
    """The same run is killed again and again, until so many kills."""
    while driver.kills < kills:
        before = driver.kills
        while driver.go(draw.randint(0, WIDEST) if driver.kills < kills else None):
            pass
        driver.check(f"kills {before} to {driver.kills}")


def main(file: str, how: str, *numbers: str) -> None:
    """See the module's text. The config's runs lie beside it."""
    _imported_first()
    driver = Driver(yaml.safe_load(Path(file).read_text(encoding="utf-8")), Path(file).resolve().parent)
    given = [int(n) for n in numbers]
    if how == "each":
        each(driver, *given)
    else:
        again(driver, random.Random(given[0]), given[1])
    print(
        json.dumps({"kills": driver.kills, "operations": driver.operations, "rows": driver.rows, "wrong": driver.wrong})
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
