"""Asking an engine many questions, of which some may be refused and some may be the same."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Iterable, Mapping, Sequence
from typing import TypeVar

import msgspec

from pipeline.engine import Completion, Engine, Request
from pipeline.errors import Rejected
from pipeline.records import Status

Answer = Completion | Rejected
Q = TypeVar("Q")
A = TypeVar("A")
_REFUSALS: Mapping[str, Status] = {"bad_response": "parse_error", "no_answer": "timeout"}


async def answer_each(engine: Engine, requests: Sequence[Request]) -> list[Answer]:
    """The first completion of each request of one job, or why the engine can never answer it. Raises EngineError.

    Equal candidates make equal questions: what is to be answered greedily is asked once, and the others get the same
    answer with no tokens spent.
    """
    first: dict[Hashable, int] = {}
    places = [first.setdefault(_question(request), i) for i, request in enumerate(requests)]
    made = await ask_each(engine.generate, [requests[i] for i in first.values()])
    answers = {i: a if isinstance(a, Rejected) else a[0] for i, a in zip(first.values(), made, strict=True)}
    return [answers[place] if place == i else _again(answers[place]) for i, place in enumerate(places)]


def _question(request: Request) -> Hashable:
    """What decides a greedy answer where all else is the job's; a sampled one stands for itself."""
    greedy = request.sampling.temperature == 0
    return (request.messages, request.token_ids, request.assistant_prefix) if greedy else request.key


def _again(answer: Answer) -> Answer:
    return answer if isinstance(answer, Rejected) else msgspec.structs.replace(answer, n_prompt_tokens=0, n_tokens=0)


def refusal(why: Rejected) -> Status:
    """The status of a call that never got an answer: what an engine refuses is too long for it, unless it says otherwise."""
    return _REFUSALS.get(why.reason, "too_long")


async def ask_each(call: Callable[[Sequence[Q]], Awaitable[Iterable[A]]], requests: Sequence[Q]) -> list[A | Rejected]:
    """What an engine's method answers to each request, or why it never can. Raises EngineError.

    All are asked in one call; only when that is refused for the sake of one, each is asked alone.
    """
    if not requests:
        return []
    try:
        return list(await call(requests))
    except Rejected as refused:
        if len(requests) == 1:
            return [refused]
    alone = await asyncio.gather(*[ask_each(call, [request]) for request in requests])
    return [answer for answers in alone for answer in answers]
