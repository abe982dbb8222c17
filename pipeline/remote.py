"""A second engine, reached through its replicas' handles: one event-loop tick of requests becomes one call.

Calls cost a millisecond, requests in a batch of 64 cost 30 µs (spec engines §2.3), so what is asked together travels
together.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from pipeline.engine import Completion, Engine, Request, RewardRequest, ScoreRequest
from pipeline.errors import EngineDied, PrefsynthError

BATCH = 64
PENALTY_S = 3.0  # about what Ray takes to restart a process


class Answerer:
    """The far side: answers a batch item by item, so that one bad request costs that request."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    async def answer(self, what: str, requests: Sequence[Any]) -> list[Any]:
        """`what`: generate, score, reward or embed. Each answer is a result or the PrefsynthError it failed with."""
        method = getattr(self.engine, what)
        answers = await asyncio.gather(*(method([r]) for r in requests), return_exceptions=True)
        for answer in answers:
            if isinstance(answer, BaseException) and not isinstance(answer, PrefsynthError):
                raise answer
        return [a if isinstance(a, BaseException) else a[0] for a in answers]


class RemoteEngine:
    """The near side: an `Engine` over actor handles. Batches go to the replica with the fewest requests under way."""

    def __init__(self, handles: Sequence[Any]) -> None:
        self._handles = list(handles)
        self.heard = 0.0  # when the last answers came; monotonic seconds
        self._load = [0] * len(self._handles)
        self._down_until = [0.0] * len(self._handles)
        self._waiting: dict[str, list[tuple[Any, asyncio.Future[Any]]]] = {}
        self._calls: set[asyncio.Task[None]] = set()

    async def generate(self, requests: Sequence[Request]) -> list[list[Completion]]:
        """See Engine."""
        return list(await asyncio.gather(*(self._ask("generate", r) for r in requests)))

    async def score(self, requests: Sequence[ScoreRequest]) -> list[list[float]]:
        """See Engine."""
        return list(await asyncio.gather(*(self._ask("score", r) for r in requests)))

    async def reward(self, requests: Sequence[RewardRequest]) -> list[list[float]]:
        """See Engine."""
        return list(await asyncio.gather(*(self._ask("reward", r) for r in requests)))

    async def embed(self, texts: Sequence[str]) -> np.ndarray:
        """See Engine."""
        return np.stack(await asyncio.gather(*(self._ask("embed", t) for t in texts)))

    async def close(self) -> None:
        """The replicas belong to the executor."""

    def stats(self) -> dict[str, float]:
        """Counted where the engine lives."""
        return {}

    def _ask(self, what: str, request: Any) -> asyncio.Future[Any]:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()
        waiting = self._waiting.setdefault(what, [])
        if not waiting:
            loop.call_soon(self._flush, what)
        waiting.append((request, future))
        return future

    def _flush(self, what: str) -> None:
        waiting, self._waiting[what] = self._waiting[what], []
        for start in range(0, len(waiting), BATCH):
            task = asyncio.get_running_loop().create_task(self._send(what, waiting[start : start + BATCH]))
            self._calls.add(task)
            task.add_done_callback(self._calls.discard)

    async def _seat(self) -> int:
        """The replica with the fewest requests under way, leaving out those that died a moment ago.

        When all did it waits, so that a shard does not use up its attempts while a process starts.
        """
        while True:
            now = time.monotonic()
            up = [seat for seat, until in enumerate(self._down_until) if until <= now]
            if up:
                return min(up, key=self._load.__getitem__)
            await asyncio.sleep(min(self._down_until) - now)

    async def _send(self, what: str, batch: list[tuple[Any, asyncio.Future[Any]]]) -> None:
        seat = await self._seat()
        self._load[seat] += len(batch)
        try:
            answers = await self._handles[seat].answer.remote(what, [request for request, _ in batch])
            self.heard = time.monotonic()
        except Exception as error:  # the replica's process or the way to it: every request of the batch fails alike
            cause = getattr(error, "cause", None)  # what the far side raised, when it was not the far side that died
            if not isinstance(cause, Exception):
                self._down_until[seat] = time.monotonic() + PENALTY_S
                cause = EngineDied(str(error).split("\n")[0])
            answers = [cause] * len(batch)
        finally:
            self._load[seat] -= len(batch)
        for (_, future), answer in zip(batch, answers, strict=True):
            if future.done():
                continue
            if isinstance(answer, Exception):
                future.set_exception(answer)
            else:
                future.set_result(answer)
