"""What vLLM's server answers beside the OpenAI protocol: rewards, and log-probabilities of given text."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from pipeline.engine import RewardRequest, ScoreRequest
from pipeline.errors import PlanError
from pipeline.openai_protocol import BadResponse, turns
from pipeline.rewards import at_positions, log_odds

Post = Callable[[str, dict[str, Any], Callable[[Any], Any]], Awaitable[Any]]  # path, body without the model, reader


async def reward(post: Post, request: RewardRequest) -> list[float]:
    """As Engine.reward. Steps are sent with a tag behind each, at which the server must read (its `step_tag_id`).

    Raises PlanError for steps without a tag.
    """
    path, body = _reward_call(request)
    found: list[float] = await post(path, body, functools.partial(_read_rewards, request))
    return found


def _reward_call(request: RewardRequest) -> tuple[str, dict[str, Any]]:
    body: dict[str, Any] = {"use_activation": False}
    if request.messages is None:
        return "/pooling" if request.positions else "/classify", body | {"input": list(request.token_ids or ())}
    said = turns(request.messages)
    if request.steps:
        if not request.step_tag:
            raise PlanError("a vLLM server reads steps at a tag behind each; set step_tag, or use kind vllm")
        said.append({"role": "assistant", "content": "".join([step + request.step_tag for step in request.steps])})
    return "/pooling" if request.steps else "/classify", body | {"messages": said, "add_generation_prompt": False}


def _read_rewards(request: RewardRequest, body: Any) -> list[float]:
    try:
        found = body["data"][0]
        if not request.steps and not request.positions:
            return [log_odds(found["probs"])]
        n_tokens = None if request.token_ids is None else len(request.token_ids)
        asked = request.positions or range(len(request.steps))
        if (rows := at_positions(found["data"], n_tokens, asked)) is None:
            raise BadResponse(f"{len(found['data'])} scores where {len(asked)} were asked")
        return [log_odds(row) for row in rows]
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise BadResponse(f"the response holds no rewards ({type(error).__name__}: {error})") from None


async def score(post: Post, request: ScoreRequest) -> list[float]:
    """Log-probabilities as Engine.score gives them; the server tokenizes. Raises PlanError for what it cannot do."""
    before, ids = await _tokens(post, request)
    start = next((i for i, (a, b) in enumerate(zip(before, ids, strict=False)) if a != b), min(len(before), len(ids)))
    if start == len(ids):
        return []
    body = {"prompt": ids, "max_tokens": 1, "temperature": 0.0, "prompt_logprobs": 0}
    found: list[float] = await post("/v1/completions", body, functools.partial(_read_logps, ids, start))
    return found


async def _tokens(post: Post, request: ScoreRequest) -> tuple[list[int], list[int]]:
    """Ids of what stands before the continuation, and of all."""
    given = request.continuation
    if request.measure != "logp" or (request.messages is None and isinstance(given, str)):
        raise PlanError("a vLLM server scores text after messages, and ids, by measure logp; use kind vllm for more")
    if request.messages is None:
        return list(request.token_ids or ()), [*(request.token_ids or ()), *map(int, given)]
    said = turns(request.messages)
    bodies: list[dict[str, Any]] = [{"messages": said, "add_generation_prompt": True}]
    if isinstance(given, str):
        ends = {"add_generation_prompt": False, "continue_final_message": not request.whole_turn}
        bodies.append({"messages": [*said, {"role": "assistant", "content": given}], **ends})
    before, *whole = await asyncio.gather(*[post("/tokenize", body, _read_tokens) for body in bodies])
    return before, whole[0] if whole else [*before, *map(int, given)]


def _read_tokens(body: Any) -> list[int]:
    try:
        return [int(token) for token in body["tokens"]]
    except (KeyError, TypeError, ValueError) as error:
        raise BadResponse(f"the response holds no tokens ({type(error).__name__}: {error})") from None


def _read_logps(ids: Sequence[int], start: int, body: Any) -> list[float]:
    try:
        rows = body["choices"][0]["prompt_logprobs"]
        return [float(rows[i][str(ids[i])]["logprob"]) for i in range(start, len(ids))]
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise BadResponse(f"the response holds no log-probabilities ({type(error).__name__}: {error})") from None
