"""A run in an object store that refuses puts, breaks off, is slow, and lists late."""

from __future__ import annotations

import random
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from pipeline import cli, files
from tests.conftest import objects
from tests.faults.proxy import Asked, Fault, Reply, proxied

if TYPE_CHECKING:
    from tests.conftest import Site

ROOT = "s3://bucket/runs/t"
pytestmark = pytest.mark.slow  # the server takes seconds to start


@pytest.fixture
def remote(site: Site, s3_bucket: str) -> dict[str, Any]:
    """A config whose runs lie in an empty bucket."""
    return site.config(n=12, runs_dir="s3://bucket/runs")


def through(proxy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """From here on the store is reached through the proxy."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", proxy)


@pytest.mark.parametrize("seed", [1, 2])
def test_puts_and_reads_that_fail_in_passing_are_repeated(
    site: Site, remote: dict[str, Any], s3_bucket: str, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    whole = site.calm(remote)
    draw, lock = random.Random(seed), threading.Lock()

    def plan(asked: Asked) -> Fault | None:
        with lock:
            bad = draw.random() < (0.3 if asked.method == "PUT" else 0.1)
            return draw.choice([Fault(500), Fault(503), Fault(cut=0)]) if bad else None

    with proxied(s3_bucket, plan) as store:
        through(store.url, monkeypatch)
        site.run(remote)
        assert len(store.faults) > 10
    through(s3_bucket, monkeypatch)
    assert objects(ROOT) == whole


def test_a_store_that_takes_nothing_more_stops_the_run_which_goes_on_later(
    site: Site,
    remote: dict[str, Any],
    s3_bucket: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(files, "S3_ATTEMPTS", 3)
    whole = site.calm(remote)
    path = site.save(remote)
    puts: list[str] = []

    def plan(asked: Asked) -> Fault | None:
        puts.extend([asked.path] if asked.method == "PUT" and ".parquet" in asked.path else [])
        return Fault(503) if len(puts) > 5 and asked.method == "PUT" else None

    with proxied(s3_bucket, plan) as store:
        through(store.url, monkeypatch)
        assert cli.main(["run", path]) == 3
    told = capsys.readouterr().err.splitlines()
    assert told[-1].startswith("prefsynth: ")
    assert "503" in told[-1] or "SERVICE_UNAVAILABLE" in told[-1] or "SLOW_DOWN" in told[-1], told[-1]
    through(s3_bucket, monkeypatch)
    finished = objects(ROOT)
    assert 0 < len(finished) < len(whole)
    assert cli.main(["run", path]) == 0
    assert objects(ROOT) == whole


def test_shards_that_are_listed_late_are_found_and_not_made_again(
    site: Site, remote: dict[str, Any], s3_bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The engine answers otherwise the second time: shards made from each other must fit."""
    remote["engines"]["policy"]["function"] = "faults:never_the_same"
    site.run({**remote, "jobs": remote["jobs"][:3]})
    whole = objects(ROOT)
    puts: list[str] = []

    def late(reply: Reply) -> Reply:
        """The listing as it was before the second shard was put."""
        kept = b"".join(part for part in _parts(reply.body) if b"00001.parquet" not in part)
        return Reply(reply.status, reply.headers, kept)

    def plan(asked: Asked) -> Fault | None:
        puts.extend([asked.path] if asked.method == "PUT" else [])
        return Fault(change=late) if asked.method == "GET" and "list-type=2" in asked.path else None

    with proxied(s3_bucket, plan) as store:
        through(store.url, monkeypatch)
        site.run(remote)
        assert store.faults
    through(s3_bucket, monkeypatch)
    found = objects(ROOT)
    assert {name: found[name] for name in whole} == whole
    assert not [p for p in puts if "00001.parquet" in p and "/pair_responses" not in p]
    assert {name for name in found if name.startswith("pair_responses/")} == {
        f"pair_responses/{i:05d}.parquet" for i in range(3)
    }


def _parts(listing: bytes) -> list[bytes]:
    """A listing, cut before each entry and behind the last one."""
    start, *entries = listing.split(b"<Contents>")
    if not entries:
        return [start]
    last, end = entries[-1].split(b"</Contents>")
    return [start, *(b"<Contents>" + e for e in entries[:-1]), b"<Contents>" + last + b"</Contents>", end]


def test_a_slow_store_makes_a_slow_run_and_the_same_one(
    site: Site, remote: dict[str, Any], s3_bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = site.calm(remote)

    def slowly(reply: Reply) -> Reply:
        time.sleep(0.05)
        return reply

    with proxied(s3_bucket, lambda _: Fault(change=slowly)) as store:
        through(store.url, monkeypatch)
        site.run(remote)
    through(s3_bucket, monkeypatch)
    assert objects(ROOT) == whole
