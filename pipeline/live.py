"""Engines as workers hold them: opened at first use, opened again after they died."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, TypeVar

import numpy as np

from pipeline.engine import Completion, Engine, EngineConfig, Request, RewardRequest, ScoreRequest
from pipeline.errors import EngineDied

T = TypeVar("T")


class LiveEngine:
    """An `Engine` that owns another one. After EngineDied the next call opens a fresh one; the failed call still fails."""

    def __init__(self, config: EngineConfig) -> None:
        self.config = config
        self.opening_seconds = 0.0
        self._engine: Engine | None = None
        self._lock = asyncio.Lock()
        self._heard = 0.0
        self._under_way = 0  # answers asked for and not given

    async def open(self) -> Engine:
        """The living engine, started if need be. Raises EngineError."""
        if self._engine is None:
            async with self._lock:
                if self._engine is None:
                    started = time.monotonic()
                    self._engine = await self.config.open()
                    self.opening_seconds += time.monotonic() - started
        return self._engine

    async def _call(self, answers: int, call: Callable[[Engine], Awaitable[T]]) -> T:
        engine = self._engine or await self.open()
        self._under_way += answers
        try:
            answer = await call(engine)
            self._heard = time.monotonic()
            return answer
        except EngineDied:
            if self._engine is engine:  # the first of many calls that meet the dead engine
                self._engine = None
                await engine.close()
            raise
        finally:
            self._under_way -= answers

    @property
    def heard(self) -> float:
        """When it last answered or, where the engine knows, gave another sign of life; monotonic seconds."""
        return max(self._heard, float(getattr(self._engine, "heard", 0.0)))

    async def generate(self, requests: Sequence[Request]) -> list[list[Completion]]:
        """See Engine."""
        return await self._call(sum(r.sampling.n for r in requests), lambda engine: engine.generate(requests))

    async def score(self, requests: Sequence[ScoreRequest]) -> list[list[float]]:
        """See Engine."""
        return await self._call(len(requests), lambda engine: engine.score(requests))

    async def reward(self, requests: Sequence[RewardRequest]) -> list[list[float]]:
        """See Engine."""
        return await self._call(len(requests), lambda engine: engine.reward(requests))

    async def embed(self, texts: Sequence[str]) -> np.ndarray:
        """See Engine."""
        return await self._call(len(texts), lambda engine: engine.embed(texts))

    async def close(self) -> None:
        """Closes the engine if it is open."""
        if self._engine is not None:
            engine, self._engine = self._engine, None
            await engine.close()

    def stats(self) -> dict[str, float]:
        """Counters of the engine that lives now, the seconds spent opening engines, and how many answers are being made
        (running) or are asked for beyond the engine's batch (waiting)."""
        own = self._engine.stats() if self._engine else {}
        batch = self.config.batch()
        running = self._under_way if batch is None else min(self._under_way, batch)
        waiting = self._under_way - running
        return {**own, "opening_seconds": self.opening_seconds, "running": running, "waiting": waiting}


class CountedEngine:
    """An `Engine` that knows how much was asked of it: one stands between a shard and each engine it uses."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.requests = 0

    @property
    def heard(self) -> float:
        """When the engine last answered anybody, where it knows; monotonic seconds."""
        return float(getattr(self._engine, "heard", 0.0))

    def generate(self, requests: Sequence[Request]) -> Coroutine[Any, Any, list[list[Completion]]]:
        """See Engine."""
        self.requests += len(requests)
        return self._engine.generate(requests)

    def score(self, requests: Sequence[ScoreRequest]) -> Coroutine[Any, Any, list[list[float]]]:
        """See Engine."""
        self.requests += len(requests)
        return self._engine.score(requests)

    def reward(self, requests: Sequence[RewardRequest]) -> Coroutine[Any, Any, list[list[float]]]:
        """See Engine."""
        self.requests += len(requests)
        return self._engine.reward(requests)

    def embed(self, texts: Sequence[str]) -> Coroutine[Any, Any, np.ndarray]:
        """See Engine."""
        self.requests += len(texts)
        return self._engine.embed(texts)

    async def close(self) -> None:
        """See Engine."""
        await self._engine.close()

    def stats(self) -> dict[str, float]:
        """See Engine."""
        return self._engine.stats()
