"""Two engines that take time and no CPU: 16 requests at a time each, long tails, the same work for a prompt on both.

A token is a millisecond of a busy seat, so that the counters of a run say how busy its engines were.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict

from benchmarks.canned import peers_judge, peers_policy
from pipeline import ids
from pipeline.engine import Completion, Request

SEATS = 16
_seats: dict[str, asyncio.Semaphore] = defaultdict(lambda: asyncio.Semaphore(SEATS))  # of this process: of a replica


async def policy(request: Request) -> list[Completion]:
    """A second on average for the answers of one prompt."""
    busy = await _work("policy", request, 1000)
    return [_took(answer, busy if i == 0 else 0) for i, answer in enumerate(peers_policy(request))]


async def judge(request: Request) -> Completion:
    """A quarter of a second on average for one of the four answers."""
    return _took(peers_judge(request), await _work("judge", request, 250))


async def _work(engine: str, request: Request, mean_ms: int) -> int:
    """Exponential times with the given mean, cut at four times that, by the request alone."""
    milliseconds = round(min(4.0, ids.stream(request.key).expovariate(1.0)) * mean_ms)
    async with _seats[engine]:
        await asyncio.sleep(milliseconds / 1000)
    return milliseconds


def _took(answer: Completion, milliseconds: int) -> Completion:
    return Completion(answer.text, answer.finish_reason, answer.n_prompt_tokens, milliseconds)
