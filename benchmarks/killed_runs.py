"""A config that is run once in peace, then under random kills: what was killed, and what the runs made differently."""

from __future__ import annotations

import random
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from benchmarks import killing


@dataclass
class KilledRuns:
    """Runs of a config in `folder`; `more` are arguments of the command. What differs is told in `wrong`.

    columns: where engines need not answer the same twice, the columns in which rows are compared; else bytes are.
    """

    folder: Path
    config: dict[str, Any]
    draw: random.Random
    more: Sequence[str] = ()
    columns: Sequence[str] | None = None
    calm_more: Sequence[str] = ("--executor", "local")
    beside: int = 0  # id of a process that holds a cluster, which outlives the runs
    kills: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    rows: int = 0  # lost or doubled
    runs: int = 0

    def __post_init__(self) -> None:
        self.processes = killing.Processes(self.folder)
        self.run = self.folder / "runs" / self.config["name"]
        self.calm = self.folder / "calm" / self.config["name"]

    def in_peace(self) -> float:
        """The run to compare with; its seconds."""
        began = time.monotonic()
        process = self._start("calm", self.calm_more)
        out, err = process.communicate()
        if process.returncode:
            raise subprocess.CalledProcessError(process.returncode, "the undisturbed run", out, err)
        self.processes.gone()
        return time.monotonic() - began

    def under_kills(self, roles: Sequence[str], pause_s: tuple[float, float], most: int) -> None:
        """One run from its beginning to its end; `most` times, after a random pause, a process of a random role dies.

        Whenever the driver is gone, the same command goes on.
        """
        left, ended = most, False
        while not ended:
            process = self.start()
            driver_hit = False
            while not driver_hit and self._waits(process, self.draw.uniform(*pause_s) if left else None):
                role = self.draw.choice(list(roles))
                victims = self._doing(role)
                if killing.strike(victims, self.draw) is None:
                    continue
                self.kills[role] += 1
                left -= 1
                driver_hit = role in ("driver", "raylet") and (role == "driver" or not self.beside)
                if driver_hit:
                    process.communicate()
            ended = process.returncode == 0
            if not ended and not driver_hit:
                self.wrong.append(f"run {self.runs} ended with exit code {process.returncode}: {self._told[-300:]}")
                ended = True
            self.wrong += [f"run {self.runs}: still there: {p}" for p in self._orphans()]
        self._check()

    def start(self) -> subprocess.Popen[str]:
        """The command that the kills are aimed at, for who kills by hand."""
        return self._start("runs", self.more)

    def _doing(self, role: str) -> list[Any]:
        """With a cluster beside, its first node is where the driver lives: that one stays."""
        found = self.processes.doing(role)
        return found[1:] if role == "raylet" and self.beside else found

    def _orphans(self) -> list[str]:
        return [] if self.beside else self.processes.gone()

    def _start(self, runs: str, more: Sequence[str]) -> subprocess.Popen[str]:
        file = self.folder / f"{runs}.yaml"
        file.write_text(yaml.safe_dump({**self.config, "runs_dir": str(self.folder / runs)}), encoding="utf-8")
        return killing.start(self.folder, "run", str(file), "--plain", *more)

    def _waits(self, process: subprocess.Popen[str], seconds: float | None) -> bool:
        """Whether the process still runs after so many seconds; None waits for its end."""
        try:
            _, self._told = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            return True
        return False

    def _check(self) -> None:
        """Compares the run that has ended with the calm one, and forgets it."""
        differ = killing.shards(self.run) != killing.shards(self.calm)
        if differ:
            rows = killing.lost_or_doubled(self.calm, self.run, self.columns)
            self.rows += rows
            if rows or self.columns is None:
                self.wrong.append(f"run {self.runs}: {rows} rows differ")
        found = {"left": killing.leftovers(self.run), "does not add up": killing.unreconciled(self.run)}
        self.wrong += [f"run {self.runs}: {what}: {each}" for what, all_of in found.items() for each in all_of]
        self.runs += 1
        shutil.rmtree(self.run)
