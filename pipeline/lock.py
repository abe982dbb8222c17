"""One driver per run. On a disk the operating system keeps the lock; in an object store, a claim with a heartbeat does."""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from typing import TextIO

from pipeline.errors import PlanError
from pipeline.store import Store

LOCK = "lock"  # in the run's folder: the locked file, or the folder of claims
STALE_S = 60.0  # silence after which a claim counts as a dead driver's
BEAT_S = 10.0
LOOK_S = 2.0


@contextlib.contextmanager
def lock(store: Store) -> Iterator[TextIO | None]:
    """Holds the run while the block runs. Raises PlanError naming the driver that works on it.

    Yields the locked file on a disk: a process that inherits it holds the run, too, and may be named in it.
    """
    with _locked_file(store) if store.is_local else _claimed(store) as file:
        yield file


def is_locked(store: Store) -> bool:
    """Whether a driver works on the run at this moment; for an object store as far as this machine's clock is right."""
    if not store.is_local:
        return any(time.time() - written <= STALE_S for written in store.times(LOCK).values())
    if not store.exists(LOCK):
        return False
    with open(store.path(LOCK), encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return True
    return False


@contextlib.contextmanager
def _locked_file(store: Store) -> Iterator[TextIO]:
    """The lock goes with the process, however it dies."""
    os.makedirs(store.base, exist_ok=True)
    with open(store.path(LOCK), "a+", encoding="utf-8") as file:  # never removed: a lock on a removed file is none
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.seek(0)
            raise PlanError(
                f"another process ({file.read().strip() or 'unknown'}) works on {store.base}; wait or stop it"
            ) from None
        file.truncate(0)
        file.write(f"pid {os.getpid()}")
        file.flush()
        yield file


class Claim:
    """An object of this driver's own in the run, written again and again, because stores have no locks.

    Only the store's clock is used: a claim's age is the difference of two modification times. Whoever comes writes
    before it looks, so of two that come at once at least one sees the other (and both may give way); the store must
    list what was written, as S3, GCS and Azure do. A driver that was silent for longer than `STALE_S`, because its
    machine slept or the store was away, is as a new one: it gives way to any claim that is alive.

    Limits: until its next beat such a driver goes on beside the one that took over. Nothing is torn, for a shard is
    put whole; but where engines do not answer the same twice, a shard may be replaced after another was made from it.
    The claim of a killed driver lets others wait for `STALE_S`, and its few bytes stay.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._name = secrets.token_hex(8)
        self._written: float | None = None  # when the store last heard of us

    def take(self) -> str | None:
        """Claims the run, and waits for what becomes of the claims that are there: None once they have been silent for
        `STALE_S`, as a killed driver is, or who has the run, at its next beat."""
        seen: dict[str, float] = {}
        while living := self._beat()[1]:
            if beating := [name for name, written in living.items() if seen.setdefault(name, written) != written]:
                return self._who(beating)
            time.sleep(LOOK_S)
        return None

    def renew(self) -> str | None:
        """Writes the claim. Returns None while the run is this driver's, else who has it."""
        before = self._written
        now, living = self._beat()
        return None if before is not None and now - before <= STALE_S else self._who(living)

    def _beat(self) -> tuple[float, dict[str, float]]:
        """Writes the claim: when, by the store's clock, and the claims of others that were not silent for long before."""
        self._store.write_text(f"{socket.gethostname()}, pid {os.getpid()}", LOCK, self._name)
        times = self._store.times(LOCK)
        now = self._written = times.pop(self._name)
        return now, {name: written for name, written in times.items() if now - written <= STALE_S}

    def _who(self, living: Iterable[str]) -> str | None:
        return next((self._store.read_text(LOCK, name) or "unknown" for name in living), None)

    def keep(self, over: threading.Event) -> None:
        """Renews until `over`; asks the driver to stop, as SIGTERM does, when another one took the run."""
        while not over.wait(BEAT_S):
            with contextlib.suppress(OSError, KeyError):  # the store is away; the next beat finds out for how long
                if other := self.renew():
                    told = f"{other} took over {self._store.base} while this process was silent; stopping"
                    print(f"prefsynth: {told}", file=sys.stderr, flush=True)
                    os.kill(os.getpid(), signal.SIGTERM)
                    return

    def drop(self) -> None:
        """Takes the claim back."""
        with contextlib.suppress(OSError):
            self._store.fs.delete_file(self._store.path(LOCK, self._name))


@contextlib.contextmanager
def _claimed(store: Store) -> Iterator[None]:
    claim, over = Claim(store), threading.Event()
    thread = threading.Thread(target=claim.keep, args=(over,), name="claim", daemon=True)
    try:
        if other := claim.take():
            raise PlanError(f"another process ({other}) works on {store.base}; wait or stop it")
        thread.start()
        yield None
    finally:
        over.set()
        if thread.is_alive():
            thread.join()
        claim.drop()
