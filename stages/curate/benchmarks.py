"""The items of benchmarks, read from files of the user's."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from pipeline.errors import PlanError, Rejected
from stages.curate.overlap import Benchmark, benchmark
from stages.sources.columns import getter
from stages.sources.readers import Reader, open_reader


class ItemList(BaseModel):
    """Where a benchmark's questions and answers lie: JSON lines or Parquet, and in which columns."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str
    columns: tuple[str, ...] = Field(min_length=1)

    def reader(self) -> Reader:
        """The opened file. Raises PlanError when there is none."""
        return open_reader(self.path)

    def load(self, name: str) -> Benchmark:
        """Its hashes. Raises PlanError: no such file, a column that no row has."""
        texts: dict[str, list[str]] = {column: [] for column in self.columns}
        for _, row in self.reader().rows(0, 0, self.columns):
            if not isinstance(row, Rejected):
                for column, found in texts.items():
                    found += _texts(getter(column)(row))
        if empty := [column for column, found in texts.items() if not found]:
            raise PlanError(
                f"lists.{name}: {self.path} has no text in column {', '.join(empty)}; name others in columns"
            )
        return benchmark(name, [text for found in texts.values() for text in found])


def _texts(value: Any) -> Iterator[str]:
    """The texts of a cell: text, a list of texts, or messages."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        yield from _texts(value.get("content", value.get("value")))
    elif isinstance(value, (list, tuple)):
        for each in value:
            yield from _texts(each)
