"""Tasks that end, told to one who waits for many."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any


class Ended:
    """What has ended, told once each: asyncio.wait would look at all that run each time one of them ends."""

    def __init__(self) -> None:
        self._found: set[asyncio.Future[Any]] = set()
        self._any = asyncio.Event()

    def note(self, task: asyncio.Future[Any]) -> None:
        """A task's done-callback."""
        self._found.add(task)
        self._any.set()

    async def some(self, patience_s: float) -> set[asyncio.Future[Any]]:
        """What ended since the last call, as soon as there is something; nothing after so many seconds."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._any.wait(), patience_s)
        found, self._found = self._found, set()
        self._any.clear()
        return found
