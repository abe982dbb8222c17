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
from collections.abc import Iterator

from pipeline.errors import PlanError
from pipeline.store import Store

LOCK = "lock"  # in the run's folder: the locked file, or the folder of claims
STALE_S = 60.0  # silence after which a claim counts as a dead driver's
BEAT_S = 10.0


@contextlib.contextmanager
def lock(store: Store) -> Iterator[None]:
    """Holds the run while the block runs. Raises PlanError naming the driver that works on it."""
    with _locked_file(store) if store.is_local else _claimed(store):
        yield


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
def _locked_file(store: Store) -> Iterator[None]:
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
        yield


class Claim:
    """An object of this driver's own in the run, written again and again, because stores have no locks.

    Only the store's clock is used: a claim's age is the difference of two modification times. Whoever comes writes
    before it looks, so of two that come at once at least one sees the other (and both may give way); the store must
    list what was written, as S3, GCS and Azure do. A driver that was silent for longer than `STALE_S`, because its
    machine slept or the store was away, is as a new one: it gives way to any claim that is alive.

    Limits: until its next beat such a driver goes on beside the one that took over. Nothing is torn, for a shard is
    put whole; but where engines do not answer the same twice, a shard may be replaced after another was made from it.
    The claim of a killed driver keeps others out for `STALE_S`, and its few bytes stay.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._name = secrets.token_hex(8)
        self._written: float | None = None  # when the store last heard of us

    def renew(self) -> str | None:
        """Writes the claim. Returns None while the run is this driver's, else who has it."""
        self._store.write_text(f"{socket.gethostname()}, pid {os.getpid()}", LOCK, self._name)
        times = self._store.times(LOCK)
        before, self._written = self._written, times.pop(self._name)
        if before is not None and self._written - before <= STALE_S:
            return None
        living = [name for name, written in times.items() if self._written - written <= STALE_S]
        return self._store.read_text(LOCK, living[0]) or "unknown" if living else None

    def keep(self, over: threading.Event) -> None:
        """Renews until `over`; asks the driver to stop, as SIGTERM does, when another one took the run."""
        while not over.wait(BEAT_S):
            with contextlib.suppress(OSError):  # a store that is away; the next beat finds out how long it was
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
        if other := claim.renew():
            raise PlanError(
                f"another process ({other}) works on {store.base}; wait or stop it (killed, it counts as gone after "
                f"{STALE_S:g} s)"
            )
        thread.start()
        yield
    finally:
        over.set()
        if thread.is_alive():
            thread.join()
        claim.drop()
