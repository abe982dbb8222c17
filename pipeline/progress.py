"""Live progress: a table on a terminal, plain lines elsewhere, and a log of timings beside the run (never in its rows)."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.live import Live
from rich.table import Table

from pipeline.metrics import UNDER_WAY
from pipeline.plan import Plan
from pipeline.store import Store
from pipeline.totals import Totals
from pipeline.worker import Outcome

PLAIN_EVERY_S = 10.0
LINES = 2000  # of the log, to an object


class Progress:
    """Shows a run and keeps `log.jsonl`: one line per committed shard, per start and per end."""

    def __init__(self, plan: Plan, store: Store, plain: bool = False, quiet: bool = False) -> None:
        self.quiet = quiet
        self.plan, self.store = plan, store
        self.started = time.monotonic()
        self.console = Console(stderr=True, highlight=False)
        self.live = None if plain or not self.console.is_terminal else Live(console=self.console, refresh_per_second=4)
        self.engine_stats: dict[str, dict[str, float]] = {}
        self._seconds: dict[str, float] = dict.fromkeys(plan.jobs, 0.0)
        self._base: dict[str, tuple[int, int]] = {}
        self._working_since: float | None = None  # engines that load their models are no part of a rate
        self._printed = time.monotonic()
        self._log: Any = None
        self._lines: list[str] = []

    def __enter__(self) -> Progress:
        if self.store.is_local:
            self._log = open(self.store.path("log.jsonl"), "ab+")
            self._end_line()
        self._write({"event": "start", "wall": round(time.time(), 3)})
        if self.live:
            self.live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if self.live:
            self.live.stop()
        ended = {"event": "end", "seconds": round(time.monotonic() - self.started, 3), "engines": self.engine_stats}
        self._write({**ended, "error": str(error) if error else None})
        if self._log:
            with contextlib.suppress(OSError):
                self._log.close()
        else:
            self._leave_lines()

    def say(self, text: str) -> None:
        """One line to the reader."""
        if self.quiet:
            return
        if self.live:
            self.live.console.print(f"prefsynth: {text}", markup=False)
        else:
            print(f"prefsynth: {text}", file=sys.stderr, flush=True)

    def log(self, outcome: Outcome) -> None:
        """A shard was committed."""
        self._seconds[outcome.job] += outcome.seconds
        at = round(time.monotonic() - self.started, 3)
        self._write(
            {
                "event": "shard",
                "job": outcome.job,
                "shard": outcome.shard,
                "seconds": round(outcome.seconds, 3),
                "at": at,
                "rows": outcome.report["rows_in"],
                "tokens": outcome.report["tokens"],
                "requests": outcome.requests,
            }
        )

    def mark(self, event: str, **fields: Any) -> None:
        """Something happened that the log should know the moment of."""
        self._write({"event": event, "at": round(time.monotonic() - self.started, 3), **fields})

    def engines(self, stats: Mapping[str, Mapping[str, float]]) -> None:
        """Counters of engines that are about to be closed."""
        for alias, counters in stats.items():
            # one that was closed in an earlier phase tells little more than its name
            told = {name: n for name, n in counters.items() if name not in UNDER_WAY}
            self.engine_stats[alias] = {**self.engine_stats.get(alias, {}), **told}

    def tick(self, totals: Mapping[str, Totals], n_shards: int) -> None:
        """Redraws, or prints a line now and then."""
        self._working_since = self._working_since or time.monotonic()
        for name, t in totals.items():
            self._base.setdefault(name, (t.rows_in, t.tokens))
        if self.live:
            self.live.update(self._table(totals, n_shards))
        elif time.monotonic() - self._printed >= PLAIN_EVERY_S:
            self._printed = time.monotonic()
            parts = [
                f"{n} {t.shards}/{n_shards}" for n, t in totals.items() if t.shards < n_shards or not self._seconds[n]
            ]
            self.say(f"{self._elapsed():.0f} s: " + (", ".join(parts) or "all shards done"))

    def _elapsed(self) -> float:
        return time.monotonic() - self.started

    def _table(self, totals: Mapping[str, Totals], n_shards: int) -> Table:
        table = Table(
            title=f"{self.plan.config.name}  {self._elapsed():.0f} s",
            title_justify="left",
            box=SIMPLE_HEAD,
            padding=(0, 1, 0, 0),
        )
        for column in ("job", "shards", "rows in", "rows out", "rejects", "rows/s", "tokens/s", "left"):
            table.add_column(column, justify="left" if column == "job" else "right", no_wrap=column == "job")
        worked = max(time.monotonic() - (self._working_since or self.started), 1e-9)
        for name, t in totals.items():
            base = self._base[name]
            rate = (t.rows_in - base[0]) / worked
            tokens = (t.tokens - base[1]) / worked
            done_now = (t.rows_in - base[0]) or None
            rows_left = t.rows_in / max(t.shards, 1) * (n_shards - t.shards)
            left = "done" if t.shards == n_shards else f"{rows_left / rate:.0f} s" if done_now and rate else "–"
            table.add_row(
                name, f"{t.shards}/{n_shards}", str(t.rows_in), str(t.rows_out), str(t.rejected),
                f"{rate:.1f}", f"{tokens:.0f}" if t.tokens else "–", left,
            )  # fmt: skip
        return table

    def _end_line(self) -> None:
        """Ends the line that a killed driver left half written, so that the next one can be read."""
        if self._log.seek(0, os.SEEK_END):
            self._log.seek(-1, os.SEEK_END)
            if self._log.read(1) != b"\n":
                self._log.write(b"\n")

    def _write(self, event: dict[str, Any]) -> None:
        line = json.dumps(event, sort_keys=True) + "\n"
        if self._log:
            with contextlib.suppress(OSError):  # a full disk must be told of by the shard that does not fit
                self._log.write(line.encode())
                self._log.flush()
        else:
            self._lines.append(line)
            if len(self._lines) >= LINES:
                self._leave_lines()

    def _leave_lines(self) -> None:
        """Puts the log so far where nothing can be appended to a file: an object of its own."""
        if self._lines:
            with contextlib.suppress(OSError):  # the store is away: a shard will tell, and these lines wait
                self.store.write_text("".join(self._lines), f"log-{time.time_ns()}.jsonl")
                self._lines.clear()
