"""What the shards of a job add up to: the sums of the reports in their footers.

A long job's sums are kept beside its shards (`totals.json`), so that a start reads one listing and the footers of the
shards that came since. The footers stay the truth: sums count only while each shard they are of has the modification
time it had, and are taken anew otherwise.
"""

from __future__ import annotations

import contextlib
import itertools
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from pipeline import ids
from pipeline.errors import RunError
from pipeline.store import Report, Store

SUMS = "totals.json"
SUMMED = ("rows_in", "kept", "rejected", "rows_out", "tokens")
KEEP_EVERY = 2048  # shards of a job: reading so many footers takes a second on a disk, some seconds in an object store
READERS = 32  # footers that are asked of an object store at once: it answers each after milliseconds
DISK_READERS = 2  # of a disk: it answers at once, and more threads only wait for the interpreter


@dataclass
class Totals:
    """Sums of a job's shard reports; `done`: the numbers of those shards."""

    shards: int = 0
    rows_in: int = 0
    kept: int = 0
    rejected: int = 0
    rows_out: int = 0
    tokens: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    done: set[int] = field(default_factory=set)
    unkept: int = 0  # shards that came since the sums were last kept

    def add(self, shard: int, report: Report) -> None:
        """Adds one shard."""
        self.done.add(shard)
        self.shards += 1
        self.unkept += 1
        for name in SUMMED:
            setattr(self, name, getattr(self, name) + report[name])
        self.counts.update(report["counts"])

    def numbers(self) -> dict[str, int]:
        """The sums, without the ledger."""
        return {name: getattr(self, name) for name in ("shards", *SUMMED)}


def totals_of(store: Store, job: str) -> Totals:
    """The sums of a job as it lies."""
    times = _times(store, job)
    totals = _kept(store, job, times)
    for shard, report in reports(store, job, sorted(times.keys() - totals.done)):
        totals.add(shard, report)
    return totals


def all_totals(store: Store, jobs: Sequence[str]) -> dict[str, Totals]:
    """The sums of several jobs; an object store lists a thousand names at a time, so all are listed at once."""
    with ThreadPoolExecutor(1 if store.is_local else len(jobs)) as pool:
        return dict(zip(jobs, pool.map(lambda job: totals_of(store, job), jobs), strict=True))


def reports(store: Store, job: str, shards: Sequence[int]) -> Iterator[tuple[int, Report]]:
    """(shard, its report), many read at once. Raises RunError where a file is none of ours."""
    readers = DISK_READERS if store.is_local else READERS
    if len(shards) < READERS:
        yield from ((shard, store.report(job, shard)) for shard in shards)
        return
    with ThreadPoolExecutor(readers) as pool:
        yield from zip(shards, pool.map(lambda shard: store.report(job, shard), shards), strict=True)


def keep(store: Store, job: str, totals: Totals, least: int = KEEP_EVERY) -> None:
    """Leaves the sums beside the shards, where `least` shards or more came since they were last left there."""
    if totals.unkept < least:
        return
    stamp = _stamp(_times(store, job), totals.done)
    sums = {**totals.numbers(), "counts": totals.counts}
    data = {"sums": sums, "done": list(_ranges(totals.done)), "stamp": stamp}
    with contextlib.suppress(OSError, RunError):  # a full disk must be told of by the shard that does not fit
        store.write_text(json.dumps(data, sort_keys=True), job, SUMS)
        totals.unkept = 0


def _kept(store: Store, job: str, times: Mapping[int, float]) -> Totals:
    """What was kept, if it is still true; else nothing."""
    if len(times) < KEEP_EVERY or (text := store.read_text(job, SUMS)) is None:
        return Totals()
    data = json.loads(text)
    done = {shard for first, last in data["done"] for shard in range(first, last + 1)}
    if data["stamp"] != _stamp(times, done):
        return Totals()
    return Totals(**{**data["sums"], "counts": Counter(data["sums"]["counts"]), "done": done})


def _times(store: Store, job: str) -> dict[int, float]:
    """Shard -> when it was written, by one listing."""
    found = store.times(job).items()
    return {int(name[:-8]): at for name, at in found if name.endswith(".parquet") and name[:-8].isdigit()}


def _stamp(times: Mapping[int, float], shards: Iterable[int]) -> str:
    """Changes with any of the shards; a shard that is not there has no time."""
    return ids.content_hash("totals/1", [[shard, times.get(shard)] for shard in sorted(shards)])


def _ranges(shards: Iterable[int]) -> Iterator[tuple[int, int]]:
    """Ascending numbers as (first, last) of each unbroken run."""
    for _, run in itertools.groupby(enumerate(sorted(shards)), lambda each: each[1] - each[0]):
        numbers = [shard for _, shard in run]
        yield numbers[0], numbers[-1]
