"""One driver per run, also where the run lies in a store that has no locks."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline import lock as locks
from pipeline.errors import PlanError
from pipeline.lock import LOCK, STALE_S, Claim, is_locked, lock
from pipeline.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A folder that is taken for an object store: its clock can be set."""
    (tmp_path / LOCK).mkdir()
    store = Store(str(tmp_path))
    store.is_local = False
    return store


def silent(store: Store, seconds: float) -> None:
    """All claims there are were last renewed so long ago."""
    for name in store.names(LOCK):
        then = time.time() - seconds
        os.utime(store.path(LOCK, name), (then, then))


def test_the_second_driver_is_refused_by_name_and_may_start_when_the_first_has_ended(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locks, "BEAT_S", 0.01)
    monkeypatch.setattr(locks, "LOOK_S", 0.01)
    with lock(store):
        assert is_locked(store)
        told = rf"another process \(.*, pid {os.getpid()}\) works on .*; wait or stop it"
        with pytest.raises(PlanError, match=told), lock(store):
            pytest.fail("two drivers")
        assert len(store.names(LOCK)) == 1
    assert not is_locked(store)
    with lock(store):
        pass
    assert store.names(LOCK) == []


def test_the_claim_of_a_killed_driver_is_waited_out(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    Claim(store).renew()
    silent(store, STALE_S - 5)
    looks: list[float] = []

    def later(seconds: float) -> None:
        """At the third look it has been silent for long enough."""
        looks.append(seconds)
        if len(looks) == 3:
            monkeypatch.setattr(locks, "STALE_S", STALE_S - 10)

    monkeypatch.setattr("pipeline.lock.time.sleep", later)
    with lock(store):
        assert is_locked(store)
    assert looks == [locks.LOOK_S] * 3


def test_of_two_that_start_at_once_at_most_one_goes_on(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both write before either looks: the worst order there is."""
    both = threading.Barrier(2)
    write = Store.write_text

    def written(self: Store, text: str, *parts: str) -> None:
        write(self, text, *parts)
        both.wait()

    monkeypatch.setattr(Store, "write_text", written)
    found: list[str | None] = []
    drivers = [threading.Thread(target=lambda: found.append(Claim(store).renew())) for _ in range(2)]
    for each in drivers:
        each.start()
    for each in drivers:
        each.join()
    assert len(found) == 2
    assert found.count(None) <= 1


def test_a_driver_that_was_silent_for_too_long_gives_way_and_one_that_was_not_stays(store: Store) -> None:
    first = Claim(store)
    assert first.renew() is None
    Claim(store).renew()  # refused, and killed before it took its claim back
    assert first.renew() is None
    first._written = time.time() - STALE_S - 5
    assert first.renew() is not None


def test_a_driver_that_was_silent_while_nobody_came_goes_on(store: Store) -> None:
    first = Claim(store)
    first.renew()
    first._written = time.time() - STALE_S - 5
    assert first.renew() is None


def test_beats_go_on_through_an_outage_and_ask_to_stop_when_the_run_is_lost(
    store: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(locks, "BEAT_S", 0.001)
    claim, told = Claim(store), threading.Event()

    def outage() -> str | None:
        raise OSError("no route to host")

    answers: list[Callable[[], str | None]] = [outage, lambda: None, outage, lambda: "host b, pid 7"]
    monkeypatch.setattr(claim, "renew", lambda: answers.pop(0)())
    before = signal.signal(signal.SIGTERM, lambda *_: told.set())
    try:
        claim.keep(threading.Event())
        assert told.wait(5)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert answers == []
    assert "host b, pid 7 took over" in capsys.readouterr().err
