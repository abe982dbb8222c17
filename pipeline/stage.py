"""A stage: one kind of work. A frozen pydantic model whose fields are its config and whose `process` is its code.

Type hints are the contract: `process(self, example: Example[Candidate | Judgment], ctx) -> list[Pair | Reject]` says
that the stage reads candidates and judgments and makes pairs. The first type made is the job's table.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Generic, Literal, Self, TypeVar

from msgspec.msgpack import Decoder
from pydantic import BaseModel, ConfigDict

from pipeline import ids
from pipeline.engine import Engine
from pipeline.errors import PlanError
from pipeline.journal import Journal
from pipeline.pair import Pair
from pipeline.prompts import Template, load_template
from pipeline.records import Candidate, Embedding, Judgment, Prompt, Rationale, Record, Reject
from pipeline.tree import Node, Ranking, Thumb, Trace, Tree

R = TypeVar("R")
T = TypeVar("T")
PROBE = "probe"  # the split of planted prompts, whose better candidate is known; no pair is made of them


@dataclass(slots=True)
class Example(Generic[R]):
    """One prompt and all that upstream jobs learned about it. `R` names the tables a stage needs; only those are filled."""

    prompt: Prompt
    candidates: Sequence[Candidate] = ()
    judgments: Sequence[Judgment] = ()
    rationales: Sequence[Rationale] = ()
    pairs: Sequence[Pair] = ()
    trees: Sequence[Tree] = ()
    nodes: Sequence[Node] = ()
    traces: Sequence[Trace] = ()
    rankings: Sequence[Ranking] = ()
    thumbs: Sequence[Thumb] = ()
    embeddings: Sequence[Embedding] = ()
    cluster: str | None = None  # of near-duplicate prompts, where a dataset stage found them
    budget: int | None = None  # further comparisons that a dataset stage holds the prompt worth


FIELD_OF: Mapping[type[Record], str] = {
    Candidate: "candidates", Judgment: "judgments", Rationale: "rationales", Pair: "pairs", Tree: "trees", Node: "nodes",
    Trace: "traces", Ranking: "rankings", Thumb: "thumbs", Embedding: "embeddings",
}  # fmt: skip


@dataclass(slots=True)
class Context:
    """What a stage may use besides its example: engines by alias, seeds, and a ledger of counts for the report."""

    job: str
    run: str
    run_seed: int
    fingerprint: str
    engines: Mapping[str, Engine]
    engine_models: Mapping[str, str] = field(default_factory=dict)  # alias -> model name, for the rows
    engine_kinds: Mapping[str, str] = field(default_factory=dict)  # alias -> engine kind
    engine_families: Mapping[str, str | None] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    journal: Journal | None = None  # of stages that ask for one
    alive: Callable[[], None] = lambda: None  # told by stages whose examples take long: the watchdog waits anew

    def seed(self, prompt_id: str, purpose: str, attempt: int = 0) -> int:
        """A sampling seed that depends on nothing but what it is for."""
        return ids.seed(self.run_seed, self.job, prompt_id, purpose, attempt)

    async def once(self, name: str, shape: Decoder[T], ask: Callable[[], Awaitable[T]]) -> T:
        """What `ask` gives; where there is a journal, what it gave before the shard was interrupted."""
        if self.journal is None:
            return await ask()
        if (kept := self.journal.find(name)) is not None:
            return shape.decode(kept)
        answer = await ask()
        self.journal.add(name, answer)
        return answer

    def count(self, what: str, n: int = 1) -> None:
        """Adds to a named counter of the shard's report (the gate's ledger: `kept`, `refused:tie`, …)."""
        self.counts[what] = self.counts.get(what, 0) + n


class Stage(BaseModel):
    """Base of all stages; see the module's text. `version` rises when the code would answer differently."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: ClassVar[int] = 1
    template_variables: ClassVar[frozenset[str]] = frozenset()  # what its templates may use
    not_identity: ClassVar[frozenset[str]] = frozenset()  # fields that never change a row
    planted: ClassVar[Literal["", "makes", "meets"]] = ""  # its prompts are probes; it meets them as judging stages do
    where_made: ClassVar[frozenset[type[Record]]] = frozenset()  # tables it reads, but can do without

    async def process(self, example: Any, ctx: Context) -> Sequence[Record]:
        """The new records made of one example. Raises Rejected when it cannot be processed."""
        raise PlanError(f"stage {type(self).__name__} has no process()")

    def needs(self) -> tuple[type[Record], ...]:
        """Record types it reads beside the prompt, from the hint `example: Example[…]`."""
        hint = typing.get_type_hints(type(self).process).get("example")
        return tables_in(hint)

    def makes(self) -> tuple[type[Record], ...]:
        """Record types it makes, from the return hint; the first is the job's table."""
        hint = typing.get_type_hints(type(self).process)["return"]
        return tuple(t for t in _record_types(typing.get_args(hint)[0]) if t is not Reject)

    def replaces(self) -> tuple[type[Record], ...]:
        """Record types whose rows stand in for those it was made from: later jobs see them instead of the old ones."""
        return ()

    def engines(self) -> tuple[str, ...]:
        """Engine aliases it uses; the first is where its shards run."""
        alias = getattr(self, "engine", None)
        return (alias,) if alias else ()

    def capabilities(self, alias: str) -> frozenset[str]:
        """What its engine `alias` must be able to do."""
        return frozenset({"generate"})

    def at_once(self, batch: int | None) -> int | None:
        """Examples of a shard that are under way at a time, each begun the moment one ends; None: all.

        batch: how many answers the first engine works on at a time for one shard, where that is known.
        """
        return None

    def templates(self) -> tuple[Template, ...]:
        """The templates it uses; their full texts are part of the recipe."""
        name = getattr(self, "template", None)
        return (load_template(stage_name(type(self)), name),) if name else ()

    def check(self) -> None:
        """Raises PlanError for what can be seen without data or models."""

    def placed(self, named: Collection[type[Record]], made: Collection[type[Record]]) -> Self:
        """The stage as it is in its place: `named` are the tables of the jobs that `from` names, `made` all upstream of it.
        Raises PlanError where it cannot choose between them."""
        return self

    def finish(self, summary: Summary) -> dict[str, str]:
        """Text files (name -> content) to leave beside the shards when the job is complete: a dataset card, a manifest."""
        return {}


@dataclass(frozen=True, slots=True)
class Summary:
    """A finished job for `finish`: its shards, and what it and all that it is made from (in order, itself last) did."""

    run: str
    job: str
    shards: Mapping[str, int]  # file -> rows
    counts: Mapping[str, Mapping[str, int]]  # job -> its counters, rows_in and rows_out
    recipes: Mapping[str, Mapping[str, Any]]  # job -> recipe
    first_rows: tuple[dict[str, Any], ...]
    read: Callable[[], list[Any]] = list  # all rows of the job's table, as records: for what looks at the whole of them

    @property
    def rows(self) -> int:
        """Rows of all shards."""
        return sum(self.shards.values())


@dataclass(frozen=True, slots=True)
class Slice:
    """Rows [start, stop) of a source, and the byte offset of `start` where that helps."""

    start: int
    stop: int
    offset: int = 0


class SourceIndex(BaseModel):
    """What one pass over the input found; written once per run beside the shards, so that later shards need no pass."""

    model_config = ConfigDict(frozen=True)

    rows: int
    content: str  # hash of the input's bytes or dataset fingerprint
    stamp: str  # cheap identity (size, mtime): equal stamp = no need to hash again
    slices: tuple[tuple[int, int, int], ...]
    duplicates: dict[int, int] = {}  # number of a row that repeats a prompt -> of the first row that has it


class SourceStage(Stage):
    """A stage that reads input instead of examples; the first job of a plan."""

    def index(self, shard_size: int) -> SourceIndex:
        """Cuts the input into slices of `shard_size` rows and finds repeated prompts. Raises PlanError (no such file)."""
        raise PlanError(f"source {type(self).__name__} has no index()")

    def stamp(self) -> str:
        """Cheap identity of the input as it is now."""
        raise PlanError(f"source {type(self).__name__} has no stamp()")

    def makes(self) -> tuple[type[Record], ...]:
        """Tables the input fills; depends on the columns that are mapped."""
        return (Prompt,)

    def read(self, part: Slice, duplicates: Mapping[int, int], job: str) -> Iterator[Record]:
        """The records of one slice; a row that is no prompt is yielded as a Reject with file and line."""
        raise PlanError(f"source {type(self).__name__} has no read()")


def stage_name(cls: type[Stage]) -> str:
    """The stage's name: that of its file; of a user's own stage, its module's whole name."""
    return cls.__module__.rsplit(".", 1)[-1] if cls.__module__.startswith("stages.") else cls.__module__


def tables_in(hint: Any) -> tuple[type[Record], ...]:
    """The record types that `Example[A | B]` names, but for the prompt, which every example has."""
    found = (t for argument in typing.get_args(hint) for t in _record_types(argument))
    return tuple(t for t in found if t is not Prompt)


def _record_types(hint: Any) -> tuple[type[Record], ...]:
    parts = typing.get_args(hint) if typing.get_origin(hint) in (typing.Union, types.UnionType) else (hint,)
    return tuple(p for p in parts if isinstance(p, type) and issubclass(p, Record))
