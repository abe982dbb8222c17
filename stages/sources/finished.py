"""A finished run as another run reads it: its prompts, the pairs that its dataset stages left, and their rationales."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import pyarrow.parquet as pq

from pipeline.catalogue import stage_class
from pipeline.dataset import Verdict, Verdicts
from pipeline.engine import resolve_path
from pipeline.errors import PlanError
from pipeline.pair import Pair
from pipeline.records import Prompt, Rationale, Record
from stages.sources.readers import stamp_of

R = TypeVar("R", bound=Record)
# columns by which a table is known, whichever job made it
_MARKS: dict[type[Record], set[str]] = {
    Pair: {"pair_id", "unordered_id"}, Rationale: {"rationale_id", "author_model"}, Verdict: {"subject_id", "keep"},
}  # fmt: skip


class FinishedRun:
    """The folder of a run. Raises PlanError: there is none, it is not finished, it has no (such) pairs."""

    def __init__(self, path: str, jobs: tuple[str, ...] = ()) -> None:
        self.folder = resolve_path(path)
        self.name = self.folder.name
        index = next(iter(sorted(self.folder.glob("*/index.json"))), None)
        if index is None:
            raise PlanError(f"no run at {path!r}: no job in it has an index.json; give the folder of a run")
        self.source = index.parent.name
        self.n_shards = len(json.loads(index.read_text(encoding="utf-8"))["slices"])
        self._tables = {cls: self._with(marks) for cls, marks in _MARKS.items()}
        if missing := set(jobs) - (known := {_job(table) for table in self._tables[Pair]}):
            raise PlanError(
                f"{path}: no pairs were made by {', '.join(sorted(missing))}; by: {', '.join(sorted(known)) or 'no job'}"
            )
        wanted = set(jobs) or known - self._replaced(known)
        self._tables[Pair] = [table for table in self._tables[Pair] if _job(table) in wanted]
        if not self._tables[Pair]:
            raise PlanError(f"{path} made no pairs, so there is nothing to mix")
        for job in (self.source, *sorted({_job(t) for cls in (Pair, Verdict) for t in self._tables[cls]})):
            if (done := len(list((self.folder / job).glob("*.parquet")))) < self.n_shards:
                raise PlanError(f"{path} is not finished: job {job} has {done} of {self.n_shards} shards; run it first")

    def stamp(self) -> str:
        """Names, sizes and times of the shards of its pairs and verdicts."""
        tables = [table for cls in (Pair, Verdict) for table in self._tables[cls]]
        return stamp_of(sorted(file for table in tables for file in (self.folder / table).glob("*.parquet")))

    def content(self) -> str:
        """The recipes of what is read, and the sizes of their shards."""
        jobs = sorted({_job(table) for cls in (Pair, Verdict) for table in self._tables[cls]})
        recipes = [self._recipe(job)["fingerprint"] for job in jobs]
        sizes = [p.rsplit(":", 1)[0] for p in self.stamp().split(";")]
        return ";".join((*recipes, *sizes))

    def pair_ids(self, shard: int) -> list[tuple[str, str]]:
        """(prompt_id, pair_id) of the pairs of a shard that are left, in their order, each once."""
        verdicts = self._read(Verdict, shard)
        gone = {v.subject_id for v in verdicts if not v.keep}
        found: dict[tuple[str, str], None] = {}
        for table in self._tables[Pair]:
            for row in self._rows(table, shard, ["prompt_id", "pair_id"]):
                if not gone & {row["prompt_id"], row["pair_id"]}:
                    found[row["prompt_id"], row["pair_id"]] = None
        return list(found)

    def records(self, shard: int, wanted: set[str]) -> Iterator[Record]:
        """Each prompt that has wanted pairs, with these and their rationales behind it."""
        verdicts = Verdicts(self._read(Verdict, shard))
        pairs = {p.pair_id: p for p in reversed(self._read(Pair, shard)) if p.pair_id in wanted}
        behind: dict[str, list[Record]] = {}
        for row in (*reversed(pairs.values()), *[r for r in self._read(Rationale, shard) if r.pair_id in pairs]):
            if (seen := verdicts.apply(row)) is not None:
                behind.setdefault(row.prompt_id, []).append(seen)
        for prompt in self._convert(Prompt, self._rows(self.source, shard)):
            if (asked := verdicts.apply(prompt)) is not None and prompt.prompt_id in behind:
                yield asked
                yield from behind[prompt.prompt_id]

    def _recipe(self, job: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.folder / job / "job.json").read_text(encoding="utf-8"))
        return found

    def _replaced(self, makers: set[str]) -> set[str]:
        """Jobs whose pairs a later one labelled again."""
        recipes = [self._recipe(job)["recipe"] for job in makers]
        stages = [(stage_class(r["stage"]).model_construct(**r["fields"]), r["inputs"]) for r in recipes]
        return {job for stage, inputs in stages if Pair in stage.replaces() for job in inputs}

    def _with(self, marks: set[str]) -> list[str]:
        """Folders of the run that hold a table with these columns."""
        folders = [folder for folder in sorted(self.folder.iterdir()) if folder.is_dir()]
        return [f.name for f in folders if (file := next(f.glob("*.parquet"), None)) and marks <= _columns(file)]

    def _read(self, cls: type[R], shard: int) -> list[R]:
        return [row for table in self._tables[cls] for row in self._convert(cls, self._rows(table, shard))]

    def _rows(self, table: str, shard: int, columns: list[str] | None = None) -> list[dict[str, Any]]:
        """A side table has no file where a shard made none of its rows."""
        file = self.folder / table / f"{shard:05d}.parquet"
        rows: list[dict[str, Any]] = pq.read_table(file, columns=columns).to_pylist() if file.exists() else []
        return rows

    @staticmethod
    def _convert(cls: type[R], rows: list[dict[str, Any]]) -> list[R]:
        return [msgspec.convert(row, cls) for row in rows]


@functools.lru_cache(maxsize=256)
def _columns(file: Path) -> set[str]:
    return set(pq.read_schema(file).names)


def _job(table: str) -> str:
    """The job that made a table: `prompts.pairs` is a side table of `prompts`."""
    return table.split(".")[0]
