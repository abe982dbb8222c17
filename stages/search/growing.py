"""Drives one tree: its tickets are answered side by side, in whatever order the answers come."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from stages.search.machine import TreeSearch
from stages.search.tickets import Answer, Ticket


async def grow(search: TreeSearch, answer: Callable[[Ticket], Awaitable[Answer]]) -> None:
    """Drives a search to its end. Raises what `answer` raises."""
    under_way: dict[asyncio.Future[Answer], Ticket] = {}
    try:
        while search.status is None:
            for ticket in search.next_tickets():
                under_way[asyncio.ensure_future(answer(ticket))] = ticket
            done, _ = await asyncio.wait(under_way, return_when=asyncio.FIRST_COMPLETED)
            for future in done:
                search.deliver(under_way.pop(future), future.result())
    finally:
        for future in under_way:
            future.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)
