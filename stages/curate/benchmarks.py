"""The items of benchmarks, read from files of the user's."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from pipeline.errors import PlanError, Rejected
from stages.curate.overlap import Benchmark, benchmark
from stages.sources.columns import getter
from stages.sources.readers import Reader, open_reader

SAMPLE = 100  # rows that `check` looks at


class ItemList(BaseModel):
    """Where a benchmark's questions and answers lie: JSON lines or Parquet, and in which columns."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str
    columns: tuple[str, ...] = Field(min_length=1)

    def reader(self) -> Reader:
        """The opened file. Raises PlanError when there is none."""
        return open_reader(self.path)

    def check(self, name: str) -> None:
        """Raises PlanError: no such file, a column that none of the first rows has."""
        for column, found in self._texts(SAMPLE).items():
            if not found:
                raise PlanError(f"lists.{name}: {self.path} has no text in column {column}; name others in columns")

    def load(self, name: str) -> Benchmark:
        """Its hashes. Raises PlanError when there is no such file."""
        return benchmark(name, [text for found in self._texts(None).values() for text in found])

    def _texts(self, rows: int | None) -> dict[str, list[str]]:
        """The texts of each column, of the first rows or of all."""
        found: dict[str, list[str]] = {column: [] for column in self.columns}
        for _, row in itertools.islice(self.reader().rows(0, 0, self.columns), rows):
            if not isinstance(row, Rejected):
                for column, texts in found.items():
                    texts += _texts(getter(column)(row))
        return found


def _texts(value: Any) -> Iterator[str]:
    """The texts of a cell: text, a list of texts, or messages."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        yield from _texts(value.get("content", value.get("value")))
    elif isinstance(value, (list, tuple)):
        for each in value:
            yield from _texts(each)
