"""A dataset stage looks at all shards of the jobs it is made from and says what later jobs may see of them.

It moves no text: its rows are verdicts, in a shard per shard of the source, so that a worker reads them beside the rows
that they are about. It is the one place where jobs wait for each other: it begins when all shards before it are there.
"""

from __future__ import annotations

import typing
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Generic, TypeVar, cast

import numpy as np
from msgspec.structs import replace

from pipeline.errors import PlanError
from pipeline.pair import Pair
from pipeline.records import Prompt, Rationale, Record
from pipeline.stage import Context, Example, Stage, tables_in

R = TypeVar("R")
Row = TypeVar("Row", bound=Record)
T = TypeVar("T")
Columns = dict[str, np.ndarray]  # of one length; a row of them is what a stage noted of one item
Look = Callable[[Sequence[Example[Any]]], Columns]


class Verdict(Record, frozen=True):
    """What a dataset stage decided about one row. Later jobs do not see a row that is not kept."""

    job: str
    subject: str  # prompt, pair or rationale; what is said of a prompt holds for all that is made from it
    subject_id: str
    keep: bool
    reason: str | None = None  # counted code; None where it is kept
    cluster: str | None = None  # of near-duplicate prompts: the smallest base_prompt_id among them
    split: str | None = None
    hits: tuple[str, ...] | None = None  # benchmarks whose items it repeats
    budget: int | None = None  # of a prompt: further comparisons by judges that it is worth


class Dataset(Generic[R]):
    """All shards of what a dataset stage is made from. `R` names the tables it needs, as in `Example`."""

    def __init__(self, n_shards: int, over: Callable[[Look], Iterator[tuple[int, Columns]]]) -> None:
        self.n_shards = n_shards
        self._over = over

    def map(self, look: Look) -> Columns:
        """What `look` notes of each shard, one below the other in the order of the shards; `shard` is added.

        look: runs wherever the executor wants, so it is a function of a module or a `partial` of one. It gives arrays of
        one length: text as objects, numbers and rows of numbers as they are.
        """
        noted = dict(self._over(look))
        if len(noted) != self.n_shards:
            raise PlanError(f"{len(noted)} of {self.n_shards} shards were looked at")
        parts = [noted.pop(shard) for shard in range(self.n_shards)]
        lengths = [len(next(iter(part.values()))) for part in parts]
        full = [part for part, n in zip(parts, lengths, strict=True) if n] or parts[:1]  # an empty one knows no widths
        found = {name: np.concatenate([part[name] for part in full]) for name in (full[0] if full else ())}
        return {**found, "shard": np.repeat(np.arange(self.n_shards), lengths)}

    @classmethod
    def of(cls, shards: Sequence[Sequence[Example[Any]]]) -> Dataset[Any]:
        """Examples that are in memory."""
        return cls(len(shards), lambda look: ((shard, look(examples)) for shard, examples in enumerate(shards)))


class DatasetStage(Stage):
    """A stage that decides about all rows at once: `decide(self, data: Dataset[Pair], ctx)`. It has no engine."""

    def decide(self, data: Dataset[Any], ctx: Context) -> Iterator[list[Verdict]]:
        """The verdicts of each shard, in the order of the shards. Depends on the rows alone, not on their shards."""
        raise PlanError(f"dataset stage {type(self).__name__} has no decide()")

    def needs(self) -> tuple[type[Record], ...]:
        """Record types it reads beside the prompt, from the hint `data: Dataset[…]`."""
        return tables_in(typing.get_type_hints(type(self).decide)["data"])

    def makes(self) -> tuple[type[Record], ...]:
        """Verdicts."""
        return (Verdict,)


class Verdicts:
    """What earlier dataset stages said of the rows of a shard, applied to them."""

    def __init__(self, rows: Iterable[Verdict]) -> None:
        self._of: dict[tuple[str, str], list[Verdict]] = {}
        self._given: set[str] = set()
        for row in rows:
            self._of.setdefault((row.subject, row.subject_id), []).append(row)

    def cluster(self, prompt_id: str) -> str | None:
        """Near-duplicates that a prompt belongs to, as last decided."""
        return _last([v.cluster for v in self._of.get(("prompt", prompt_id), ())])

    def budget(self, prompt_id: str) -> int | None:
        """Further comparisons that a prompt is worth, as last decided."""
        return _last([v.budget for v in self._of.get(("prompt", prompt_id), ())])

    def apply(self, row: Row) -> Row | None:
        """The row as later jobs see it, with its split, cluster and benchmarks; None where it is dropped."""
        if not self._of or not isinstance(row, (Prompt, Pair, Rationale)):
            return row
        subject = type(row).__name__.lower()
        said = self._of.get((subject, getattr(row, f"{subject}_id")), [])
        if any(not v.keep for v in said):
            return None
        if isinstance(row, Pair) and said:  # two jobs may make the same pair: one verdict, one row
            if row.pair_id in self._given:
                return None
            self._given.add(row.pair_id)
        about = [*self._of.get(("prompt", row.prompt_id), ()), *said]
        split = _last([v.split for v in about])
        if isinstance(row, Prompt):
            return cast(Row, replace(row, split=split)) if split else row
        if not isinstance(row, Pair) or not about:
            return row
        hits = tuple(dict.fromkeys(hit for v in about for hit in v.hits or ()))
        cluster = _last([v.cluster for v in about])
        return cast(Row, replace(
            row, split=split or row.split, dedup_cluster_id=cluster or row.dedup_cluster_id,
            decontam_hits=hits or row.decontam_hits,
        ))  # fmt: skip


def _last(values: Sequence[T | None]) -> T | None:
    return next((value for value in reversed(values) if value is not None), None)
