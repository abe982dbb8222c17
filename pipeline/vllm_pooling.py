"""vLLM with a model that reads and does not write: reward models and embedding models."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import numpy as np

from pipeline.chat import ChatEncoder
from pipeline.engine import Completion, Request, RewardRequest, ScoreRequest
from pipeline.errors import EngineError, PlanError
from pipeline.rewards import at_positions, log_odds
from pipeline.vllm_arguments import check_length
from pipeline.vllm_calls import Calls


class PoolingEngine:
    """An `Engine` of kind vllm with `task: reward` or `task: embed`."""

    def __init__(self, calls: Calls, chat: ChatEncoder, tasks: Sequence[str]) -> None:
        from vllm import PoolingParams

        self._calls, self._chat, self._tasks, self._params = calls, chat, frozenset(tasks), PoolingParams

    async def generate(self, requests: Sequence[Request]) -> list[list[Completion]]:
        """Raises PlanError."""
        raise PlanError(f"{self._calls.model} was started to read; give generate an engine with task: generate")

    async def score(self, requests: Sequence[ScoreRequest]) -> list[list[float]]:
        """Raises PlanError."""
        raise PlanError(f"{self._calls.model} was started to read; give score an engine with task: generate")

    async def reward(self, requests: Sequence[RewardRequest]) -> list[list[float]]:
        """See Engine. Raises Rejected (context_overflow, prompt_too_short) and EngineError."""
        return list(await asyncio.gather(*[self._reward(request) for request in requests]))

    async def embed(self, texts: Sequence[str]) -> np.ndarray:
        """See Engine; of length 1 where the model's config does not say otherwise. Raises Rejected and EngineError."""
        if "embed" not in self._tasks:
            raise PlanError(f"{self._calls.model} gives no embeddings; set task: embed for a model that does")
        params = self._params(task="embed")
        rows = await asyncio.gather(*[self._ask(self._chat.encode_alone(text), params) for text in texts])
        return np.asarray(rows, dtype=np.float32)

    async def close(self) -> None:
        """Ends the engine's process."""
        self._calls.close()

    def stats(self) -> dict[str, float]:
        """Counters since start; tokens stays 0."""
        return dict(self._calls.stats)

    async def _reward(self, request: RewardRequest) -> list[float]:
        ids, positions = self._tokens(request)
        if "classify" in self._tasks and not positions:
            return [log_odds(await self._ask(ids, self._params(task="classify", use_activation=False)))]
        if "token_classify" not in self._tasks:
            raise PlanError(f"{self._calls.model} has no reward head; use a sequence or token classification model")
        rows = await self._ask(ids, self._params(task="token_classify", use_activation=False))
        found = at_positions(rows, len(ids), positions or [len(ids) - 1])
        if found is None:
            raise EngineError(f"{self._calls.model} scored {len(rows)} of {len(ids)} tokens, not {len(positions)}")
        return [log_odds(row) for row in found]

    def _tokens(self, request: RewardRequest) -> tuple[list[int], list[int]]:
        """Token ids, and the positions of those to read; none: the answer as a whole."""
        if request.messages is None:
            return list(request.token_ids or ()), list(request.positions)
        if not request.steps:
            return self._chat.whole(request.messages), []
        ids, positions, tag = self._chat(request.messages), [], self._chat.encode(request.step_tag)
        for step in request.steps:
            ids += [*self._chat.encode_text(step), *tag]
            positions.append(len(ids) - 1)
        return ids, positions

    async def _ask(self, ids: list[int], params: Any) -> Any:
        """What the model puts out, as nested lists of floats."""
        check_length(len(ids), 0, self._calls.context, self._calls.shortest)
        return (await self._calls.ask(ids, params)).outputs.data.float().tolist()
