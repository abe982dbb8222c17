"""A Python function as an engine: tests, fault injection, benchmarks of everything but the model."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, ClassVar

import msgspec
import numpy as np
from pydantic import Field

from pipeline.engine import Capability, Completion, EngineConfig, Request, RewardRequest, ScoreRequest, load_module
from pipeline.errors import EngineError, PlanError, PrefsynthError
from pipeline.records import Message

Answer = str | Completion
Answers = Answer | Sequence[Answer]


class Scripted(EngineConfig):
    """Answers come from `function`, given as "package.module:callable" and importable from the working directory.

    It takes a Request and returns the text or the Completion of one sample, or a list of `sampling.n` of them; it may
    be async. A function that answers a request for n samples with one is called again for each further sample, with
    `seed + i` and n = 1. Where texts of tokens are wanted and not given, each character is a token and its code point
    the id, so that a function can read a prompt of ids. `score` takes a ScoreRequest and returns numbers of its measure;
    `reward` takes a RewardRequest and returns a number or a list; `embed` takes a text and returns a vector. Raise
    `version` when a function begins to answer differently.
    """

    kind: str = "scripted"
    model: str = "scripted"
    function: str
    score: str | None = None
    reward: str | None = None
    embed: str | None = None
    version: str = ""
    delay_s: float = Field(0.0, ge=0)  # pause before each batch of answers
    context: int | None = Field(None, ge=1)  # what a plan takes for the context length, in tokens

    not_identity: ClassVar[frozenset[str]] = frozenset({"resources", "delay_s", "context"})

    def capabilities(self) -> frozenset[Capability]:
        """All that there is a function for."""
        more: set[Capability] = {"token_texts"}
        more |= {"score", "certainty"} if self.score else set()
        more |= {"reward"} if self.reward else set()
        return super().capabilities() | more | ({"embed"} if self.embed else set())

    def check(self) -> None:
        """Raises PlanError when a function cannot be imported."""
        for target in (self.function, self.score, self.reward, self.embed):
            if target is not None:
                load_function(target)

    async def open(self) -> ScriptedEngine:
        """Imports the functions. Raises PlanError when there is none."""
        return ScriptedEngine(self)


class ScriptedEngine:
    """Calls the functions; keeps nothing but counters."""

    def __init__(self, config: Scripted) -> None:
        self._name = config.function
        self._function = load_function(config.function)
        self._is_async = inspect.iscoroutinefunction(self._function)
        self._score = load_function(config.score) if config.score else None
        self._reward = load_function(config.reward) if config.reward else None
        self._embed = load_function(config.embed) if config.embed else None
        self._delay_s = config.delay_s
        self._requests = self._prompt_tokens = self._tokens = 0

    async def generate(self, requests: Sequence[Request]) -> list[list[Completion]]:
        """`sampling.n` completions for each request. Raises EngineError when the function fails or miscounts."""
        if self._delay_s:
            await asyncio.sleep(self._delay_s)
        try:
            if self._is_async:
                return list(await asyncio.gather(*[self._ask(request) for request in requests]))
            return [self._answers(request, self._function(request)) for request in requests]
        except PrefsynthError:  # how a function injects the failure it wants
            raise
        except Exception as error:
            raise EngineError(f"scripted function {self._name} raised {type(error).__name__}: {error}") from error

    async def score(self, requests: Sequence[ScoreRequest]) -> list[list[float]]:
        """What the configured score function returns. Raises PlanError when none is configured."""
        return [list(found) for found in await self._each("score", self._score, requests)]

    async def reward(self, requests: Sequence[RewardRequest]) -> list[list[float]]:
        """What the configured reward function returns. Raises PlanError when none is configured."""
        found = await self._each("reward", self._reward, requests)
        return [[float(one)] if isinstance(one, (int, float)) else list(one) for one in found]

    async def embed(self, texts: Sequence[str]) -> np.ndarray:
        """What the configured embed function returns, stacked. Raises PlanError when none is configured."""
        return np.asarray(await self._each("embed", self._embed, texts), dtype=np.float32)

    async def close(self) -> None:
        """Nothing to free."""

    def stats(self) -> dict[str, float]:
        """Counters since start; a token is a word."""
        return {"requests": self._requests, "prompt_tokens": self._prompt_tokens, "tokens": self._tokens}

    async def _each(self, what: str, function: Callable[..., Any] | None, requests: Sequence[Any]) -> list[Any]:
        """The function's answer to each. Raises PlanError without a function, EngineError when it fails."""
        if function is None:
            raise PlanError(f"scripted engine {self._name} has no {what} function; set {what}: package.module:callable")
        try:
            return [await _settled(function(request)) for request in requests]
        except PrefsynthError:
            raise
        except Exception as error:
            raise EngineError(f"scripted {what} of {self._name} raised {type(error).__name__}: {error}") from error

    async def _ask(self, request: Request) -> list[Completion]:
        answers = await self._function(request)
        if request.sampling.n > 1 and isinstance(answers, (str, Completion)):
            answers = [answers, *[await self._function(one) for one in _singles(request)]]
        return self._answers(request, answers)

    def _answers(self, request: Request, answers: Answers) -> list[Completion]:
        """One completion per sample, counted."""
        n = request.sampling.n
        if isinstance(answers, (str, Completion)):
            answers = [answers, *[self._function(one) for one in _singles(request)]] if n > 1 else (answers,)
        if len(answers) != n:
            raise EngineError(f"scripted function {self._name} gave {len(answers)} answers where {n} were asked")
        words = _words(request)
        made = [a if isinstance(a, Completion) else Completion(a, "stop", words, a.count(" ") + 1) for a in answers]
        if request.want_token_texts:
            made = [spelled(request, completion) for completion in made]
        self._requests += 1
        self._prompt_tokens += words
        for completion in made:
            self._tokens += completion.n_tokens
        return made


def load_function(target: str) -> Callable[..., Any]:
    """The callable at "package.module:name"; the working directory counts as importable. Raises PlanError."""
    module_name, colon, name = target.partition(":")
    if not (module_name and colon and name):
        raise PlanError(f"scripted function {target!r} must be written package.module:callable")
    found = getattr(load_module(module_name, f"scripted function {target!r}"), name, None)
    if not callable(found):
        raise PlanError(f"scripted function {target!r}: {module_name} has no callable {name!r}")
    return found  # type: ignore[no-any-return]


def spelled(request: Request, completion: Completion) -> Completion:
    """The completion with a token for each character, unless it says what its tokens are; and so the prompt."""
    prompt = request.token_ids
    if prompt is None:
        prompt = tuple(map(ord, written(request.messages or ())))
    if completion.token_texts is not None:
        return msgspec.structs.replace(completion, prompt_token_ids=prompt)
    letters = tuple(completion.text)
    return msgspec.structs.replace(
        completion, token_ids=tuple(map(ord, letters)), token_texts=letters, prompt_token_ids=prompt
    )


def written(messages: Sequence[Message]) -> str:
    """A conversation as such a prompt spells it: a line break behind every turn."""
    return "".join([f"{message.content}\n" for message in messages])


def _singles(request: Request) -> list[Request]:
    """The request once for each sample after the first."""
    one = request.sampling.model_copy(update={"n": 1})
    return [msgspec.structs.replace(request, sampling=one, seed=request.seed + i) for i in range(1, request.sampling.n)]


def _words(request: Request) -> int:
    if request.token_ids is not None:
        return len(request.token_ids)
    return sum([message.content.count(" ") + 1 for message in request.messages or ()])


async def _settled(value: Awaitable[Any] | Any) -> Any:
    return await value if inspect.isawaitable(value) else value
