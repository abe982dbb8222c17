"""What answers. Stages build requests and name an engine by its alias; they never know which kind stands behind it.

An engine kind is one file `pipeline/engines/<kind>.py` with one `EngineConfig` subclass: its fields are the config, and
`open()` returns the live `Engine`.
"""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar, Literal, Protocol, runtime_checkable

import numpy as np
from msgspec import Struct
from msgspec.structs import force_setattr
from pydantic import BaseModel, ConfigDict, Field

from pipeline.errors import PlanError
from pipeline.records import Message, storable

ROOT = Path(__file__).resolve().parent.parent
# json: answers held to a schema; structured: to choices and regular expressions as well
# token_texts: the text of each token beside its id; certainty: `score` by the measure of that name
Capability = Literal[
    "generate", "labels", "json", "structured", "prefix", "token_ids", "token_texts", "score", "certainty", "embed",
    "reward",
]  # fmt: skip


class Sampling(BaseModel):
    """How to sample. The fields of a config's `sampling:` block; `seed` is derived by the stage, not configured."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    n: int = Field(1, ge=1, le=1024)
    temperature: float = Field(1.0, ge=0)
    top_p: float = Field(1.0, gt=0, le=1)
    top_k: int = Field(0, ge=0)  # 0: off
    min_p: float = Field(0.0, ge=0, le=1)
    repetition_penalty: float = Field(1.0, gt=0)
    max_tokens: int = Field(512, ge=1)
    stop: tuple[str, ...] = ()
    stop_token_ids: tuple[int, ...] = ()
    include_stop: bool = False  # keep the stop string in the text


class Request(Struct, frozen=True):
    """One prompt to complete n times.

    Either `messages` (the chat template is applied) or `token_ids`. `assistant_prefix` is text the answer begins with
    and is not repeated in the completion. `labels`: single-token answers whose log-probabilities are wanted where the
    last of them was sampled. `structured`: at most one of choice (list of str), json (schema) and regex.
    `key` identifies the request: the seed's and the recorded engine's handle.
    """

    sampling: Sampling
    key: str
    seed: int
    messages: tuple[Message, ...] | None = None
    token_ids: tuple[int, ...] | None = None
    assistant_prefix: str = ""
    labels: tuple[str, ...] = ()
    structured: dict[str, Any] | None = None
    want_token_ids: bool = False
    want_token_texts: bool = False  # token_texts, token_ids and the ids of the prompt, for who cuts answers at tokens


class Completion(Struct, frozen=True):
    """One answer. finish_reason: stop (ended by itself or at a stop string) | length | abort.

    `labels`: natural log-probability of each requested label (before any grammar mask) at the last position where one
    of them was sampled; None when none was sampled or the engine cannot tell. `mean_logp`: nats per token.
    `token_texts`: what each of `token_ids` adds to the text, which is then all of them, a stop string included;
    `token_logps`: log-probability of each, nats, where the engine is asked for any.
    """

    text: str
    finish_reason: str
    n_prompt_tokens: int
    n_tokens: int
    token_ids: tuple[int, ...] | None = None
    mean_logp: float | None = None
    labels: dict[str, float] | None = None
    model: str | None = None  # which model answered, where an engine has several (recorded)
    stop_reason: str | None = None
    token_texts: tuple[str, ...] | None = None
    token_logps: tuple[float, ...] | None = None
    prompt_token_ids: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        """The one place where text of models enters, whatever the engine."""
        if not self.text.isascii():
            force_setattr(self, "text", storable(self.text))
        if self.token_texts is not None:
            force_setattr(self, "token_texts", tuple([storable(text) for text in self.token_texts]))


class ScoreRequest(Struct, frozen=True):
    """A continuation whose tokens are to be measured, given chat messages or token ids.

    `whole_turn`: the text is all of the assistant's turn, which is tokenized as trainers do it, with what the chat
    template puts behind it. `measure`: logp, the natural log-probability of each token; certainty, by how many nats the
    distribution it was drawn from differs from the uniform one (pipeline/certainty.py).
    """

    continuation: str | tuple[int, ...]
    messages: tuple[Message, ...] | None = None
    token_ids: tuple[int, ...] | None = None
    whole_turn: bool = False
    measure: Literal["logp", "certainty"] = "logp"


class RewardRequest(Struct, frozen=True):
    """An answer for a reward model.

    Messages alone are a conversation that ends with the answer: it gets one score. With `steps` the messages end where
    the assistant begins to speak, and every step of its answer gets a score, read at the last token of the `step_tag`
    behind it, or of the step itself. Token ids get a score at each of `positions`, or one for all of them. `key`: the
    recorded engine's handle.
    """

    key: str
    messages: tuple[Message, ...] | None = None
    token_ids: tuple[int, ...] | None = None
    steps: tuple[str, ...] = ()
    step_tag: str = ""
    positions: tuple[int, ...] = ()


@runtime_checkable
class Engine(Protocol):
    """A living engine. Raises Rejected for a request that can never be answered (context overflow), else EngineError."""

    async def generate(self, requests: Sequence[Request]) -> list[list[Completion]]:
        """`sampling.n` completions for each request, in order."""
        ...

    async def score(self, requests: Sequence[ScoreRequest]) -> list[list[float]]:
        """What is asked of every continuation token, in order; nats."""
        ...

    async def reward(self, requests: Sequence[RewardRequest]) -> list[list[float]]:
        """For each request one score, or one for each step or position: the log-odds of "good", which have no bounds.

        That is the output of a model with one label, and the difference of the two outputs of a model with two.
        """
        ...

    async def embed(self, texts: Sequence[str]) -> np.ndarray:
        """Float32 array of shape (len(texts), dimension)."""
        ...

    async def close(self) -> None:
        """Frees what the engine holds."""
        ...

    def stats(self) -> dict[str, float]:
        """Counters since start: requests, prompt_tokens, tokens, and what the kind adds."""
        ...


class Resources(BaseModel):
    """Where replicas run; never part of a recipe. `slots`: shards that run inside one replica at a time."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    gpus: float = Field(0, ge=0)
    cpus: float = Field(1, ge=0)
    replicas: int = Field(1, ge=1)
    slots: int = Field(4, ge=1)
    tokens_per_s: float | None = Field(None, gt=0)  # of one replica, where known: `check` estimates time with it
    usd_per_hour: float | None = Field(None, ge=0)  # of one replica
    usd_per_million_tokens: float | None = Field(None, ge=0)


class EngineConfig(BaseModel):
    """The config of an engine; one subclass in each file of `pipeline/engines/`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: str
    model: str = ""
    family: str | None = None  # judges do not score candidates of their own family unless allowed
    resources: Resources = Resources()

    not_identity: ClassVar[frozenset[str]] = frozenset({"resources"})  # fields that never change an answer

    def capabilities(self) -> frozenset[Capability]:
        """What it can do as it is configured. Here: answer any Request, and nothing else."""
        return frozenset({"generate", "labels", "json", "structured", "prefix", "token_ids"})

    def check(self) -> None:
        """Raises PlanError for what can be seen without loading a model (a path that does not exist)."""

    def batch(self) -> int | None:
        """How many answers one replica works on at a time; None: not known."""
        return None

    def silence_s(self) -> float:
        """How long it may give no sign of life while all is well; the watchdog must wait longer. 0: not known."""
        return 0.0

    def identity(self) -> dict[str, Any]:
        """What goes into the recipe of the jobs that use this engine."""
        return self.model_dump(mode="json", exclude=set(self.not_identity))

    async def open(self) -> Engine:
        """Starts the engine. Raises EngineError."""
        raise PlanError(f"engine kind {self.kind} does not define open()")


@cache
def engine_kinds() -> tuple[str, ...]:
    """Names of the engine kinds that exist: the files of pipeline/engines/."""
    return tuple(sorted(p.stem for p in (ROOT / "pipeline" / "engines").glob("*.py") if p.stem != "__init__"))


def engine_class(kind: str) -> type[EngineConfig]:
    """The config class of `kind`. Raises PlanError with the kinds that exist."""
    if kind not in engine_kinds():
        raise PlanError(f"unknown engine kind {kind!r}; kinds: {', '.join(engine_kinds())}")
    module = importlib.import_module(f"pipeline.engines.{kind}")
    found = [
        c for _, c in inspect.getmembers(module, inspect.isclass)
        if issubclass(c, EngineConfig) and c.__module__ == module.__name__
    ]  # fmt: skip
    if len(found) != 1:
        raise PlanError(f"pipeline/engines/{kind}.py must hold one EngineConfig subclass, found {len(found)}")
    return found[0]


def resolve_path(path: str) -> Path:
    """A path as given from the working directory, else below the installation (models/abacus, configs/…)."""
    given = Path(path).expanduser()
    return given if given.exists() or given.is_absolute() or not (ROOT / given).exists() else ROOT / given


def load_module(name: str, what: str) -> ModuleType:
    """A module of the user's, importable from the working directory. Raises PlanError; `what` says what it was for."""
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.append(here)
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise PlanError(f"{what}: {error}; it must be importable from the working directory") from None
