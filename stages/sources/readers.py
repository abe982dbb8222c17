"""Rows out of files: JSON lines (plain, gzip, zstd) and Parquet (file, folder, glob).

A reader yields `(byte offset, row)`; a row that cannot be read is a `Rejected`, so that one broken line costs one line.
Row numbers count from 0; lines of the messages from 1.
"""

from __future__ import annotations

import bisect
import glob
import gzip
import hashlib
import io
import itertools
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Protocol

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.engine import resolve_path
from pipeline.errors import PlanError, Rejected
from pipeline.records import storable
from stages.sources.columns import Row

Item = tuple[int, Row | Rejected]
BATCH = 1024
_decode = msgspec.json.Decoder().decode


class Reader(Protocol):
    """What the source needs of an input."""

    name: str

    def stamp(self) -> str:
        """Cheap identity: names, sizes and modification times."""
        ...

    def content(self) -> str:
        """Hash of the content."""
        ...

    def where(self, row: int) -> str:
        """`file.jsonl:17`, for messages."""
        ...

    def rows(self, start: int, offset: int, columns: Iterable[str]) -> Iterator[Item]:
        """Rows from `start` on; `offset` is the byte offset that was yielded with it, `columns` the ones wanted."""
        ...


def open_reader(path: str) -> Reader:
    """A reader for a file, a folder of Parquet files or a glob. Raises PlanError with what was found instead."""
    file = resolve_path(path)
    if any(c in path for c in "*?["):
        files = sorted(Path(p) for p in glob.glob(str(file), recursive=True))
    elif file.is_dir():
        files = sorted(file.glob("*.parquet"))
    else:
        files = [file]
    if not files:
        raise PlanError(f"nothing matches {path!r}; give a .jsonl file, a .parquet file, a folder of them or a glob")
    if missing := next((f for f in files if not f.is_file()), None):
        near = sorted(p.name for p in missing.parent.glob("*") if p.suffix in (".jsonl", ".parquet", ".gz", ".zst"))
        beside = f"beside it: {', '.join(near[:8])}" if near else "no data file lies beside it"
        raise PlanError(f"no file at {path!r}; {beside}")
    if all(f.suffix == ".parquet" for f in files):
        return ParquetFiles(tuple(files))
    if len(files) > 1:
        raise PlanError(
            f"{path!r} is {len(files)} files; several files must be Parquet, or use hf: {{path: json, data_files: …}}"
        )
    return JsonLines(files[0])


def stamp_of(files: Iterable[Path]) -> str:
    """Names, sizes and modification times of files."""
    return ";".join(f"{f.name}:{(s := f.stat()).st_size}:{s.st_mtime_ns}" for f in files)


def hash_of(files: Iterable[Path]) -> str:
    """32 hex digits over the bytes of files."""
    digest = hashlib.sha256()
    for file in files:
        with file.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()[:32]


class JsonLines:
    """One JSON object per line.

    A compressed file can only be read forward: a cursor remembers where the last slice ended, so that reading all of
    them in turn unpacks the file once.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self.name = file.name
        self.packed = file.suffix in (".gz", ".zst")
        self._cursor: tuple[int, Iterator[Item]] = (0, iter(()))

    def stamp(self) -> str:
        """Size and modification time."""
        return stamp_of([self.file])

    def content(self) -> str:
        """sha256 of the file."""
        return hash_of([self.file])

    def where(self, row: int) -> str:
        """File and line."""
        return f"{self.name}:{row + 1}"

    def rows(self, start: int, offset: int, columns: Iterable[str]) -> Iterator[Item]:
        """Lines from `start` on. Blank lines at the end of the file are no rows."""
        if not self.packed:
            yield from self._items(offset)
            return
        place, items = self._cursor
        if place > start or place == 0:
            place, items = 0, self._items(0)
        for item in items:
            place += 1
            self._cursor = place, items
            if place > start:
                yield item

    def _items(self, offset: int) -> Iterator[Item]:
        blank: list[int] = []
        with self._open() as stream:
            if offset:
                stream.seek(offset)
            for line in stream:
                if line.isspace():
                    blank.append(offset)
                else:
                    if blank:
                        yield from ((at, Rejected("broken_json", "the line is blank")) for at in blank)
                        blank.clear()
                    yield offset, parse_line(line)
                offset += len(line)

    def _open(self) -> io.BufferedIOBase:
        if self.file.suffix == ".gz":
            return gzip.GzipFile(self.file, "rb")
        if self.file.suffix == ".zst":
            return io.BufferedReader(pa.input_stream(str(self.file), compression="zstd"))
        return io.BufferedReader(io.FileIO(self.file), 1 << 18)


def parse_line(line: bytes) -> Row | Rejected:
    """The object of one line, or why it is none."""
    try:
        row = _decode(line)
    except UnicodeDecodeError as error:
        return Rejected("invalid_utf8", f"byte {error.object[error.start]:#04x} is no UTF-8")
    except msgspec.DecodeError as error:
        try:  # Python writes NaN, a byte order mark and halves of surrogate pairs, which JSON does not know
            row = json.loads(line.decode("utf-8-sig"))
            row = json.loads(storable(json.dumps(row, ensure_ascii=False)))
        except UnicodeDecodeError as wrong:
            return Rejected("invalid_utf8", f"byte {line[wrong.start]:#04x} at {wrong.start} is no UTF-8")
        except ValueError:
            return Rejected("broken_json", str(error))
    except RecursionError:
        return Rejected("broken_json", "nested too deeply")
    return row if isinstance(row, dict) else Rejected("not_an_object", f"the line is a JSON {type(row).__name__}")


class ParquetFiles:
    """Rows of Parquet files, in the order of their names."""

    def __init__(self, files: tuple[Path, ...]) -> None:
        self.files = files
        self.name = files[0].name if len(files) == 1 else f"{files[0].parent.name}/{files[0].name} …"
        try:
            counts = [pq.read_metadata(f).num_rows for f in files]
        except pa.ArrowInvalid as error:
            raise PlanError(f"{files[0].parent}: not a Parquet file ({str(error).splitlines()[0]})") from None
        self.starts = list(itertools.accumulate(counts, initial=0))

    def stamp(self) -> str:
        """Sizes and modification times."""
        return stamp_of(self.files)

    def content(self) -> str:
        """sha256 over the files."""
        return hash_of(self.files)

    def where(self, row: int) -> str:
        """File and row."""
        file = bisect.bisect_right(self.starts, row) - 1
        return f"{self.files[min(file, len(self.files) - 1)].name}:{row - self.starts[file] + 1}"

    def rows(self, start: int, offset: int, columns: Iterable[str]) -> Iterator[Item]:
        """Rows from `start` on; only row groups that are needed are read."""
        wanted = tuple(columns)
        for file, first in zip(self.files, self.starts, strict=False):
            with pq.ParquetFile(file) as parquet:
                names = set(parquet.schema_arrow.names)
                chosen = sorted({c if c in names else c.split(".")[0] for c in wanted} & names) if wanted else None
                for group in range(parquet.num_row_groups):
                    size = parquet.metadata.row_group(group).num_rows
                    if first + size > start:
                        yield from self._group(parquet, group, chosen, max(0, start - first))
                    first += size

    @staticmethod
    def _group(parquet: Any, group: int, columns: list[str] | None, skip: int) -> Iterator[Item]:
        for batch in parquet.iter_batches(BATCH, row_groups=[group], columns=columns):
            if skip >= batch.num_rows:
                skip -= batch.num_rows
                continue
            yield from ((0, row) for row in _unpacked(batch.slice(skip)))
            skip = 0


def _unpacked(batch: pa.RecordBatch) -> Iterator[Row | Rejected]:
    """The rows of a batch. Parquet's text may hold any bytes: a row whose text is no UTF-8 costs that row."""
    try:
        yield from batch.to_pylist()
    except UnicodeDecodeError as error:
        if batch.num_rows == 1:
            yield Rejected("invalid_utf8", f"byte {error.object[error.start]:#04x} is no UTF-8")
        else:
            for row in range(batch.num_rows):
                yield from _unpacked(batch.slice(row, 1))
