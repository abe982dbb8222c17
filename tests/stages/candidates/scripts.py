"""What the tests of constructing stages share: a prompt, answers to it, and a run with an engine that is a function."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from pipeline import ids
from pipeline.engine import Completion, Request
from pipeline.errors import Rejected
from pipeline.records import Candidate, Judgment, Message, Prompt, Record, Reject
from pipeline.stage import Context, Example, Stage

QUESTION = "Write a haiku about the sea in autumn."
MESSAGES = (Message("user", QUESTION),)
PROMPT = Prompt(ids.prompt_id(MESSAGES), ids.prompt_id(MESSAGES), MESSAGES)
Function = Callable[[Request], str | Completion]


def answer(name: str, text: str | None = None, **fields: Any) -> Candidate:
    """A candidate of an upstream job."""
    return Candidate(PROMPT.prompt_id, name, f"answer {name}" if text is None else text, "generate", **fields)


def checked(name: str, outcome: bool) -> Judgment:
    """What a check found of a candidate."""
    return Judgment(PROMPT.prompt_id, f"verify/{name}", "verify", "tool", "v", (name,), "ok", float(outcome))


def rated(name: str, value: float) -> Judgment:
    """What a judge gave a candidate."""
    return Judgment(PROMPT.prompt_id, f"rate/{name}", "rate", "aspect", "j", (name,), "ok", value, aspect="good")


def cut(text: str) -> Completion:
    """An answer that ran into max_tokens."""
    return Completion(text, "length", 3, 2)


class Asked:
    """The engine: answers by `function`, keeps what it was asked."""

    def __init__(self, function: Function) -> None:
        self.function = function
        self.requests: list[Request] = []

    async def generate(self, requests: Sequence[Request]) -> list[list[Completion]]:
        """See Engine."""
        self.requests += requests
        answers = [self.function(request) for request in requests]
        return [[a if isinstance(a, Completion) else Completion(a, "stop", 3, 2)] for a in answers]


def run(
    stage: Stage, function: Function, candidates: Sequence[Candidate] = (), judgments: Sequence[Judgment] = (),
    prompt: Prompt = PROMPT,
) -> tuple[list[Any], list[Reject], dict[str, int]]:  # fmt: skip
    """What the stage made of the prompt, its rejects and its counts."""
    engine: Any = Asked(function)
    context = Context("job", "run", 7, "f", {"m": engine}, {"m": "org/m"}, {"m": "scripted"})
    example: Example[Any] = Example(prompt, candidates, judgments)
    rows: Sequence[Record] = asyncio.run(stage.process(example, context))
    made = [row for row in rows if not isinstance(row, Reject)]
    return made, [row for row in rows if isinstance(row, Reject)], context.counts


def refuse(request: Request) -> str:
    """An engine that can answer nothing."""
    raise Rejected("context_overflow", "too long for the context")
