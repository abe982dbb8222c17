"""Silence is an error: when no engine of a shard answers for a set time, say which, dump every stack, fail the shard."""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import io
import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any

from pipeline.errors import EngineError


def _stack(task: asyncio.Task[Any]) -> list[str]:
    """Where a task waits, outermost first. Task.get_stack shows the first frame alone."""
    frames = []
    waits: Any = task.get_coro()
    while frame := getattr(waits, "cr_frame", None):
        frames.append(f"{frame.f_code.co_qualname} ({frame.f_code.co_filename}:{frame.f_lineno})")
        waits = waits.cr_await
    return frames


class Watchdog:
    """Cancels the watched task when for `limit` seconds `alive()` was not called and nothing was `heard`.

    heard: when the engines of the shard last answered anybody, by the monotonic clock. An engine that is busy with other
    shards, or asks again after a time-out, is not silent.

    The event loop itself is watched too: were it blocked, no coroutine could tell, so the interpreter's own timer
    dumps the stacks to stderr after twice the limit.
    """

    def __init__(self, what: str, limit: float, heard: Callable[[], float] = lambda: 0.0) -> None:
        self.what = what
        self.limit = limit
        self._heard = heard
        self._last = time.monotonic()
        self._task: asyncio.Task[Any] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._barked = False

    def __enter__(self) -> Watchdog:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if self._timer:
            self._timer.cancel()
            with contextlib.suppress(io.UnsupportedOperation):
                faulthandler.cancel_dump_traceback_later()
        if self._barked:
            raise EngineError(f"{self.what}: nothing finished for {self.limit:g} s; stacks are in the log") from None

    def watch(self, task: asyncio.Task[Any] | None) -> None:
        """Starts the clock on `task`."""
        self._task = task
        self.alive()
        self._look()

    def alive(self) -> None:
        """Something finished."""
        self._last = time.monotonic()

    def _look(self) -> None:
        left = max(self._last, self._heard()) + self.limit - time.monotonic()
        if left <= 0:
            self._bark()
            return
        with contextlib.suppress(io.UnsupportedOperation):  # stderr without a file descriptor (test capture)
            faulthandler.dump_traceback_later(self.limit * 2)
        self._timer = asyncio.get_running_loop().call_later(min(left, self.limit) + 0.01, self._look)

    def _bark(self) -> None:
        self._barked = True
        print(f"watchdog: {self.what}: nothing finished for {self.limit:g} s", file=sys.stderr)
        for task in list(asyncio.all_tasks())[:50]:
            print(f"  {task.get_name()}: {' > '.join(_stack(task))}", file=sys.stderr)
        with contextlib.suppress(io.UnsupportedOperation):
            faulthandler.dump_traceback()
        if self._task:
            self._task.cancel()
