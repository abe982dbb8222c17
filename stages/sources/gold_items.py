"""The source of a calibration: gold items, two answers with a label and perhaps recorded verdicts (docs/calibration.md)."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator, Mapping

from pydantic import Field

from pipeline.engine import resolve_path
from pipeline.errors import PlanError, Rejected
from pipeline.pair import Pair
from pipeline.records import Candidate, Judgment, Prompt, Record, Reject, Source
from pipeline.stage import Slice, SourceIndex, SourceStage
from stages.sources.columns import Row
from stages.sources.gold_rows import gold_records
from stages.sources.readers import Reader, open_reader
from stages.sources.repeats import repeated


class GoldItems(SourceStage):
    """Reads a gold file. Every row becomes a prompt with two candidates and its recorded judgments, or is a reject.

    pairs: the label is written as a pair too, so that `aggregate` with `relabel: true` can doubt it.
    """

    path: str  # .jsonl, .jsonl.gz, .jsonl.zst, .parquet, a folder of Parquet files, or a glob
    pairs: bool = False
    dataset: str | None = None  # name for `source.dataset`; default: the file's
    license: str | None = None
    limit: int | None = Field(None, ge=1)  # rows to read

    def makes(self) -> tuple[type[Record], ...]:
        """Prompt, Candidate and Judgment, and Pair where it was asked for."""
        return (Prompt, Candidate, Judgment, Pair) if self.pairs else (Prompt, Candidate, Judgment)

    def stamp(self) -> str:
        """Names, sizes and modification times."""
        return self._reader.stamp()

    def check(self) -> None:
        """Raises PlanError for a missing file, or where none of the first rows is a gold item."""
        first = [_try(row) for _, row in itertools.islice(self._reader.rows(0, 0, ()), 20)]
        if first and all(isinstance(found, Rejected) for found in first):
            raise PlanError(
                f"{self._reader.name} is no gold file ({first[0]}); docs/calibration.md describes the format"
            )

    def index(self, shard_size: int) -> SourceIndex:
        """One pass over the rows; memory is 16 bytes for each. Raises PlanError for a file without rows."""
        reader, digests, slices = self._reader, bytearray(), []
        start, offset, rows = 0, 0, 0
        for rows, (place, row) in enumerate(itertools.islice(reader.rows(0, 0, ()), self.limit), 1):
            if rows - 1 - start >= shard_size:
                slices.append((start, rows - 1, offset))
                start, offset = rows - 1, place
            found = _try(row)
            digests += bytes(16) if isinstance(found, Rejected) else bytes.fromhex(found[0].prompt_id)
        if not rows:
            raise PlanError(f"{reader.name} has no rows")
        slices.append((start, rows, offset))
        return SourceIndex(
            rows=rows, content=reader.content(), stamp=reader.stamp(), slices=tuple(slices),
            duplicates=repeated(digests, adjacent_too=True),
        )  # fmt: skip

    def read(self, part: Slice, duplicates: Mapping[int, int], job: str) -> Iterator[Record]:
        """The records of the rows [start, stop), in their order."""
        reader = self._reader
        source = Source(self.dataset or reader.name.split(".")[0], license=self.license)
        wanted = itertools.islice(reader.rows(part.start, part.offset, ()), part.stop - part.start)
        for number, (_, row) in enumerate(wanted, part.start):
            try:
                if isinstance(row, Rejected):
                    raise row
                if number in duplicates:
                    raise Rejected("duplicate_item", f"repeats {reader.where(duplicates[number])}")
                yield from gold_records(row, job, source, str(number + 1), self.pairs)
            except Rejected as why:
                yield Reject("", job, "row", why.reason, f"{reader.where(number)}: {why.detail}")

    @property
    def _reader(self) -> Reader:
        return _opened(str(resolve_path(self.path).absolute()))


@functools.lru_cache(maxsize=1)  # one per process, outside the stage, which travels between processes
def _opened(path: str) -> Reader:
    return open_reader(path)


def _try(row: Row | Rejected) -> list[Record] | Rejected:
    """The records of a row, or why it has none."""
    if isinstance(row, Rejected):
        return row
    try:
        return gold_records(row, "", Source(), "", pairs=False)
    except Rejected as why:
        return why
