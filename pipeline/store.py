"""Shards on disk or in an object store. A shard that exists is complete: written beside and renamed, or put in one piece.

`<root>/<job>/<shard>.parquet` holds the job's table, with the shard's counts in the Parquet footer. Further tables of the
job (rejects, candidates of a source …) lie in `<root>/<job>.<table>/` and are written first, so that the main file is the
commit. Bytes depend on rows and counts alone: no time, host or path is stored.
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from pipeline import files
from pipeline.errors import PlanError, RunError
from pipeline.records import Record, Reject
from pipeline.tables import from_table, table_name, to_table

R = TypeVar("R", bound=Record)
ROW_GROUP = 8192  # fixed: bytes may not depend on how rows were chunked
FOOTER = b"prefsynth"
JOURNAL = ".journal"  # beside the shard that is under way
Report = dict[str, Any]  # rows_in, rows_out, rejected, tokens … and `counts`: JSON-like, the same for the same rows


class Store:
    """The folder of one run. `root` is a path or an URI that pyarrow's file systems understand (s3://bucket/run)."""

    def __init__(self, root: str) -> None:
        self.root = root
        if "://" in root:
            try:
                self.fs, self.base = files.open_store(root)
            except (OSError, pa.ArrowException) as error:
                raise PlanError(f"{root!r} is no place for a run: {str(error).splitlines()[0]}") from None
        else:
            self.fs, self.base = pafs.LocalFileSystem(), os.path.abspath(root)
        self.is_local = isinstance(self.fs, pafs.LocalFileSystem)

    def create(self) -> None:
        """Makes the run's folder. Raises PlanError where that cannot be done, or nothing can be written in it."""
        try:
            if not self.is_local:
                self.fs.get_file_info(self.base)
                return
            os.makedirs(self.base, exist_ok=True)
            if not os.access(self.base, os.W_OK | os.X_OK):
                raise OSError(errno.EACCES, os.strerror(errno.EACCES))
        except OSError as error:
            told = error.strerror or str(error).splitlines()[0]
            raise PlanError(f"{self.base} cannot be written: {told}; choose another place") from None

    def path(self, *parts: str) -> str:
        """A path inside the run, in the form the file system wants."""
        return "/".join((self.base, *parts))

    @staticmethod
    def shard_file(shard: int) -> str:
        """`00007.parquet`."""
        return f"{shard:05d}.parquet"

    def done(self, job: str) -> set[int]:
        """Numbers of the shards of `job` that exist, and so are complete."""
        return {int(n[:-8]) for n in self.names(job) if n.endswith(".parquet") and n[:-8].isdigit()}

    def names(self, *parts: str) -> list[str]:
        """Names in a folder of the run, sorted; empty when there is no such folder."""
        return sorted(info.base_name for info in self._list(*parts))

    def times(self, *parts: str) -> dict[str, float]:
        """Name -> modification time of the files in a folder of the run, in seconds, by the store's own clock."""
        return {info.base_name: info.mtime_ns / 1e9 for info in self._list(*parts) if info.is_file}

    def _list(self, *parts: str) -> list[pafs.FileInfo]:
        found: list[pafs.FileInfo] = self.fs.get_file_info(pafs.FileSelector(self.path(*parts), allow_not_found=True))
        return found

    def write(self, job: str, shard: int, tables: Mapping[type[Record], Sequence[Record]], report: Report) -> None:
        """Commits one shard: side tables first, the job's own table (the first of `tables`) last.

        Raises RunError when the disk is full; then nothing of the shard is visible.
        """
        main, *sides = tables
        for cls in (*sides, *(() if Reject in tables else (Reject,))):
            folder = f"{job}.{table_name(cls)}"
            if rows := tables.get(cls, ()):
                self._put(self._parquet(cls, rows, None), folder, self.shard_file(shard))
            elif self.exists(folder, self.shard_file(shard)):  # of an earlier attempt that was never committed
                self.fs.delete_file(self.path(folder, self.shard_file(shard)))
        self._put(self._parquet(main, tables[main], report), job, self.shard_file(shard))

    def read(self, job: str, cls: type[R], shard: int, main: bool) -> list[R]:
        """Records of one table of one shard; `main` says whether it is the job's own table or a side table."""
        parts = (job if main else f"{job}.{table_name(cls)}", self.shard_file(shard))
        if not main and not self.exists(*parts):
            return []
        return from_table(cls, pq.read_table(self.path(*parts), filesystem=self.fs, partitioning=None))

    def report(self, job: str, shard: int) -> Report:
        """The counts in a shard's footer. Raises RunError when the file is not one of ours."""
        path = self.path(job, self.shard_file(shard))
        try:
            metadata = pq.read_metadata(path, filesystem=self.fs).metadata or {}
            report: Report = json.loads(metadata[FOOTER])
        except (KeyError, pa.ArrowInvalid):
            raise self._foreign(path) from None
        return report

    @staticmethod
    def _foreign(path: str) -> RunError:
        return RunError(f"{path} is not a complete prefsynth shard; move it away and run again")

    def schema(self, job: str, shard: int) -> pa.Schema:
        """The columns of a shard as it lies. Raises RunError when the file is not one of ours."""
        try:
            return pq.read_schema(self.path(job, self.shard_file(shard)), filesystem=self.fs)
        except pa.ArrowInvalid:
            raise self._foreign(self.path(job, self.shard_file(shard))) from None

    def exists(self, *parts: str) -> bool:
        """Whether a file of the run exists."""
        return bool(self.fs.get_file_info(self.path(*parts)).type == pafs.FileType.File)

    def read_text(self, *parts: str) -> str | None:
        """A small text file of the run, or None."""
        if not self.exists(*parts):
            return None
        with self.fs.open_input_stream(self.path(*parts)) as stream:
            return bytes(stream.read()).decode()

    def write_text(self, text: str, *parts: str) -> None:
        """Writes a small text file atomically."""
        self._put(pa.py_buffer(text.encode()), *parts)

    def remove(self, folder: str, keep: str = "") -> None:
        """Deletes a folder of the run and what is in it; with `keep`, all but that file."""
        for name in self.names(folder):
            if name != keep:
                self.fs.delete_file(self.path(folder, name))
        if not keep:
            self.fs.delete_dir(self.path(folder))

    def sweep(self, folders: Sequence[str]) -> None:
        """Deletes what killed writers left beside the shards of `folders`: half-written files, journals of done shards."""
        for folder in folders:
            names = set(self.names(folder))
            for name in names:
                if ".tmp-" in name or (name.endswith(JOURNAL) and name.replace(JOURNAL, ".parquet") in names):
                    self.fs.delete_file(self.path(folder, name))

    @staticmethod
    def _parquet(cls: type[Record], rows: Sequence[Record], report: Report | None) -> pa.Buffer:
        table = to_table(cls, rows)
        if report is not None:
            table = table.replace_schema_metadata({FOOTER: json.dumps(report, sort_keys=True).encode()})
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink, compression="zstd", row_group_size=ROW_GROUP)
        return sink.getvalue()

    def _put(self, data: pa.Buffer, *parts: str) -> None:
        target = self.path(*parts)
        if self.is_local:
            files.put(target, data)
            return
        with self.fs.open_output_stream(target) as stream:  # an object appears whole, when it is closed
            stream.write(data)
