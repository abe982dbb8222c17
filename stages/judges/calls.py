"""Asking an engine many questions of which some may be refused."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from pipeline.engine import Completion, Engine, Request
from pipeline.errors import Rejected


async def answer_each(engine: Engine, requests: Sequence[Request]) -> list[Completion | Rejected]:
    """The first completion of each request, or why the engine can never answer it. Raises EngineError.

    All are asked in one call; only when that is refused for the sake of one, each is asked alone.
    """
    if not requests:
        return []
    try:
        return [completions[0] for completions in await engine.generate(requests)]
    except Rejected as refused:
        if len(requests) == 1:
            return [refused]
    alone = await asyncio.gather(*[answer_each(engine, [request]) for request in requests])
    return [answer for answers in alone for answer in answers]
