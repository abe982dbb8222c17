"""The source of a run: prompts from JSON lines, Parquet or Hugging Face data sets, with what comes along with them."""

from __future__ import annotations

import difflib
import functools
import itertools
from collections.abc import Iterator, Mapping
from typing import Literal

from pydantic import Field, model_validator

from pipeline.engine import resolve_path
from pipeline.errors import PlanError, Rejected
from pipeline.pair import Pair
from pipeline.records import Candidate, Judgment, Prompt, Record, Reject, Source
from pipeline.stage import Slice, SourceIndex, SourceStage
from pipeline.tree import Node, Tree
from stages.exports.formats import FormatReader, format_of
from stages.sources.columns import Columns, Row, getter
from stages.sources.hub import Hub, HubDataset
from stages.sources.imports import Origin
from stages.sources.readers import Reader, open_reader
from stages.sources.repeats import repeated
from stages.sources.rows import RowReader

SAMPLE = 20  # rows that `check` looks at
NO_PROMPT = bytes(16)


class Prompts(SourceStage):
    """Reads prompts; also ready candidates (with scores), ready preference pairs or recorded search trees, where columns
    for them are mapped; or, with `format`, what a trainer's rows hold.

    Every row becomes a prompt, adds to the prompt of the row before it (`on_duplicate: merge`), or is a reject that
    names file and line.
    """

    path: str | None = None  # .jsonl, .jsonl.gz, .jsonl.zst, .parquet, a folder of Parquet files, or a glob
    hf: Hub | None = None
    columns: Columns | None = None
    format: str | None = None  # instead of columns: rows as `export` writes them
    score_range: tuple[float, float] | None = None  # of the scores the input brings
    dataset: str | None = None  # name for `source.dataset`; default: the file's
    license: str | None = None
    lang: str | None = None
    limit: int | None = Field(None, ge=1)  # rows to read
    on_duplicate: Literal["reject", "merge"] = "reject"  # merge: rows next to each other that ask the same

    @model_validator(mode="after")
    def _makes_sense(self) -> Prompts:
        if (self.path is None) == (self.hf is None):
            raise ValueError("give either path or hf")
        if (self.columns is None) == (self.format is None):
            raise ValueError("give columns, or the format of a trainer whose rows these are")
        if self.format and not format_of(self.format)[0].imports:
            raise ValueError(f"rows of {self.format} cannot be read back: they hold too little text")
        if self.columns and self.columns.has_scores and self.score_range is None:
            raise ValueError("scores need their score_range: [lowest, highest]")
        if self.score_range and not self.score_range[0] < self.score_range[1]:
            raise ValueError("score_range is [lowest, highest]")
        return self

    def makes(self) -> tuple[type[Record], ...]:
        """Prompt, and what the format carries; or Candidate, Judgment, Pair, Tree and Node where the columns bring them."""
        columns = self.columns
        if columns is None:
            return (Prompt, *format_of(self.format or "")[0].imported)
        made: list[type[Record]] = [Prompt]
        if columns.candidates or columns.chosen:
            made.append(Candidate)
        if columns.scores or columns.candidate_score:
            made.append(Judgment)
        if columns.chosen:
            made.append(Pair)
        if columns.tree:
            made += [Tree, Node]
        return tuple(made)

    def stamp(self) -> str:
        """Names, sizes and modification times."""
        return self._reader.stamp()

    def check(self) -> None:
        """Raises PlanError when the input is missing or a mapped column is in none of the first rows."""
        _opened.cache_clear()
        if self.hf is None or self.hf.is_local:
            self._check_columns()

    def index(self, shard_size: int) -> SourceIndex:
        """One pass over the rows; memory is 16 bytes for each."""
        _opened.cache_clear()  # the file may have changed since this process last looked
        self._check_columns()
        reader, maker = self._reader, self._rows_of("index")
        digests, slices, previous, rows = bytearray(), [], NO_PROMPT, 0
        start, offset = 0, 0
        # else rows that ask the same stay in one slice; a format has a row for each pair, however many have one prompt
        cut_anywhere = self.on_duplicate == "reject" and not self.format
        for rows, (place, row) in enumerate(itertools.islice(reader.rows(0, 0, self._wanted), self.limit), 1):
            digest = _digest(maker, row)
            if rows - 1 - start >= shard_size and (cut_anywhere or digest not in (previous, NO_PROMPT)):
                slices.append((start, rows - 1, offset))
                start, offset = rows - 1, place
            digests += digest
            previous = digest if digest != NO_PROMPT else previous
        if rows > start:
            slices.append((start, rows, offset))
        if not rows:
            raise PlanError(f"{reader.name} has no rows")
        duplicates = {} if self.format else repeated(digests, adjacent_too=cut_anywhere)
        return SourceIndex(
            rows=rows, content=reader.content(), stamp=reader.stamp(), slices=tuple(slices), duplicates=duplicates
        )  # fmt: skip

    def read(self, part: Slice, duplicates: Mapping[int, int], job: str) -> Iterator[Record]:
        """The records of the rows [start, stop), in their order."""
        reader, maker = self._reader, self._rows_of(job)
        made: set[str] = set()  # prompts, to which following rows may add, and what they added
        wanted = itertools.islice(reader.rows(part.start, part.offset, self._wanted), part.stop - part.start)
        for number, (_, row) in enumerate(wanted, part.start):
            where = reader.where(number)
            try:
                if isinstance(row, Rejected):
                    raise row
                records = maker.records(row, where, str(number + 1))
                if number in duplicates:
                    raise Rejected("duplicate_prompt", f"repeats the prompt of {reader.where(duplicates[number])}")
            except Rejected as why:
                yield Reject("", job, "row", why.reason, f"{where}: {why.detail}")
                continue
            yield from _new(records, made)

    @property
    def _reader(self) -> Reader:
        if self.hf:
            return HubDataset(self.hf)
        return _opened(str(resolve_path(self.path or "").absolute()))

    @functools.cached_property
    def _wanted(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(path for _, path in self.columns.paths())) if self.columns else ()

    def _rows_of(self, job: str) -> RowReader | FormatReader:
        name = self.dataset or (self.hf.path if self.hf else self._reader.name.split(".")[0])
        source = Source(name, self.hf.name if self.hf else None, None, self.license, self.lang)
        if self.columns is None:
            return FormatReader(format_of(self.format or "")[0], Origin(job, source))
        return RowReader(self.columns, job, source, self.score_range)

    def _check_columns(self) -> None:
        sample = [row for _, row in itertools.islice(self._reader.rows(0, 0, ()), SAMPLE)]
        rows: list[Row] = [row for row in sample if not isinstance(row, Rejected)]
        if not rows:
            why = (
                f"none of its first {len(sample)} lines is a JSON object ({sample[0]})" if sample else "it has no rows"
            )
            raise PlanError(f"{self._reader.name} cannot be read: {why}")
        if self.columns is None:
            FormatReader(format_of(self.format or "")[0], Origin("check")).check(rows, self._reader.name)
            return
        for key, path in self.columns.paths():
            find = getter(path)
            if all(find(row) is None and path not in row for row in rows):
                known = list(dict.fromkeys(name for row in rows for name in row))
                near = difflib.get_close_matches(path, known, 1)
                hint = f"did you mean {near[0]}? " if near else ""
                raise PlanError(
                    f"columns.{key}: {self._reader.name} has no column {path!r}; {hint}its columns: {', '.join(known)}"
                )


@functools.lru_cache(maxsize=1)  # one per process, outside the stage, which travels between processes
def _opened(path: str) -> Reader:
    return open_reader(path)


def _digest(maker: RowReader | FormatReader, row: Row | Rejected) -> bytes:
    """16 bytes that identify the row's prompt; NO_PROMPT for a row that is none."""
    if isinstance(row, Rejected):
        return NO_PROMPT
    try:
        return bytes.fromhex(maker.records(row, "", "")[0].prompt_id)
    except Rejected:
        return NO_PROMPT


def _new(records: list[Record], made: set[str]) -> Iterator[Record]:
    """What no earlier row of the slice made."""
    for record in records:
        key = _identity(record)
        if key not in made:
            if key:
                made.add(key)
            yield record


def _identity(record: Record) -> str:
    match record:
        case Prompt():
            return f"prompt {record.prompt_id}"
        case Candidate():
            return record.candidate_id
        case Judgment():
            return record.judgment_key
        case Pair():
            return record.pair_id
        case Tree():
            return record.tree_id
        case Node():
            return f"{record.tree_id}/{record.node_id}"
    return ""  # rejects are all told
