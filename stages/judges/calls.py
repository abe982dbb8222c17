"""Asking an engine many questions, of which some may be refused and some may be the same."""

from __future__ import annotations

import asyncio
from collections.abc import Hashable, Sequence

import msgspec

from pipeline.engine import Completion, Engine, Request
from pipeline.errors import Rejected

Answer = Completion | Rejected


async def answer_each(engine: Engine, requests: Sequence[Request]) -> list[Answer]:
    """The first completion of each request of one job, or why the engine can never answer it. Raises EngineError.

    Equal candidates make equal questions: what is to be answered greedily is asked once, and the others get the same
    answer with no tokens spent.
    """
    first: dict[Hashable, int] = {}
    places = [first.setdefault(_question(request), i) for i, request in enumerate(requests)]
    answers = dict(zip(first.values(), await _ask(engine, [requests[i] for i in first.values()]), strict=True))
    return [answers[place] if place == i else _again(answers[place]) for i, place in enumerate(places)]


def _question(request: Request) -> Hashable:
    """What decides a greedy answer where all else is the job's; a sampled one stands for itself."""
    greedy = request.sampling.temperature == 0
    return (request.messages, request.token_ids, request.assistant_prefix) if greedy else request.key


def _again(answer: Answer) -> Answer:
    return answer if isinstance(answer, Rejected) else msgspec.structs.replace(answer, n_prompt_tokens=0, n_tokens=0)


async def _ask(engine: Engine, requests: Sequence[Request]) -> list[Answer]:
    """All are asked in one call; only when that is refused for the sake of one, each is asked alone."""
    if not requests:
        return []
    try:
        return [completions[0] for completions in await engine.generate(requests)]
    except Rejected as refused:
        if len(requests) == 1:
            return [refused]
    alone = await asyncio.gather(*[_ask(engine, [request]) for request in requests])
    return [answer for answers in alone for answer in answers]
