"""Sums of a job's shards: kept beside them, believed only while they are of the files that lie there."""

from __future__ import annotations

import itertools
import json
import os
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline import totals
from pipeline.store import Store
from pipeline.totals import SUMS, Totals, totals_of

if TYPE_CHECKING:
    from tests.conftest import Site

Reads = Callable[[], list[int]]


@pytest.fixture
def store(site: Site, monkeypatch: pytest.MonkeyPatch) -> Store:
    """A finished run of six shards whose sums were kept after four."""
    monkeypatch.setattr(totals, "KEEP_EVERY", 4)
    monkeypatch.setattr(totals.keep, "__defaults__", (4,))
    return site.run(site.config()).store


@pytest.fixture
def reads(store: Store, monkeypatch: pytest.MonkeyPatch) -> Reads:
    """The shards whose footers were read since the last call."""
    read: list[int] = []
    report = Store.report

    def noted(self: Store, job: str, shard: int) -> dict[str, object]:
        read.append(shard)
        return report(self, job, shard)

    monkeypatch.setattr(Store, "report", noted)

    def those() -> list[int]:
        found = sorted(read)
        read.clear()
        return found

    return those


def summed(store: Store) -> Totals:
    made = Totals()
    for shard in range(6):
        made.add(shard, store.report("generate", shard))
    return made


def test_a_start_reads_the_footers_that_came_since_the_sums_were_kept(store: Store, reads: Reads) -> None:
    found = totals_of(store, "generate")
    assert len(reads()) == 2
    whole = summed(store)
    assert (found.numbers(), found.counts, found.done) == (whole.numbers(), whole.counts, set(range(6)))


def test_sums_are_taken_anew_when_a_shard_was_written_again_or_is_gone(store: Store, reads: Reads) -> None:
    kept = json.loads(store.read_text("generate", SUMS) or "")["done"]
    shard = kept[0][0]
    path = store.path("generate", store.shard_file(shard))
    os.utime(path, ns=(1, 1))
    assert totals_of(store, "generate").numbers() == summed(store).numbers()
    reads()
    os.unlink(path)
    assert totals_of(store, "generate").done == set(range(6)) - {shard}
    assert reads() == sorted(set(range(6)) - {shard})


def test_sums_of_a_short_job_are_not_kept(site: Site) -> None:
    store = site.run(site.config()).store
    assert store.read_text("generate", SUMS) is None


def test_a_rebuilt_job_has_new_sums(site: Site, store: Store) -> None:
    before = totals_of(store, "generate")
    site.run(site.config(), rebuild="generate")
    assert totals_of(store, "generate") == before


def test_many_footers_are_read_at_once_and_told_in_order(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    one_by_one = list(totals.reports(store, "generate", range(6)))
    monkeypatch.setattr(totals, "READERS", 2)
    assert list(totals.reports(store, "generate", range(6))) == one_by_one


@given(st.sets(st.integers(0, 60)))
def test_ranges_hold_every_number_once(shards: set[int]) -> None:
    ranges = list(totals._ranges(shards))
    assert [n for first, last in ranges for n in range(first, last + 1)] == sorted(shards)
    assert all(later[0] > earlier[1] + 1 for earlier, later in itertools.pairwise(ranges))


def asked(site: Site, name: str, n: int, monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """What a start asks of the store, of a run that has all its shards but one."""
    config = site.config(name=name, jobs=[{**site.config()["jobs"][0], "path": str(site.prompts(n))}])
    store = site.run(config).store
    os.unlink(store.path("prompts", store.shard_file(0)))
    site.run(config)
    os.unlink(store.path("prompts", store.shard_file(0)))
    calls: Counter[str] = Counter()
    with monkeypatch.context() as patch:
        for method in ("_list", "exists", "report", "read", "_put"):
            original = getattr(Store, method)

            def counted(self: Store, *given: object, method: str = method, original: Any = original) -> Any:
                calls[method] += 1
                return original(self, *given)

            patch.setattr(Store, method, counted)
        site.run(config)
    return calls


def test_a_start_asks_no_more_of_the_store_for_a_long_run_than_for_a_short_one(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(totals, "KEEP_EVERY", 4)
    monkeypatch.setattr(totals.keep, "__defaults__", (4,))
    short, long = (asked(site, name, n, monkeypatch) for name, n in (("short", 32), ("long", 320)))
    assert short == long
