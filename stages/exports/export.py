"""Pairs as a trainer reads them: one folder of Parquet with a dataset card and a manifest."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol, cast

import msgspec
from pydantic import Field, field_validator

from pipeline import ids
from pipeline.errors import Rejected
from pipeline.pair import Pair
from pipeline.records import Rationale, Record, Reject
from pipeline.stage import Context, Example, Stage, Summary
from pipeline.tokenizer import check_tokenizer, load_tokenizer
from stages.exports.arms import Explanation, Wanted
from stages.exports.card import card
from stages.exports.choice import explanations, without_contradictions
from stages.pairs.truncation import TrainingLength


class Format(Protocol):
    """What a file of this folder must hold to be a format."""

    COLUMNS: Mapping[str, str]  # column -> what it means, for the card
    USAGE: str  # how a trainer is started, with {max_length}

    def row_type(self, rationales: bool) -> type[Record]: ...
    def rows(self, pair: Pair, explanation: Explanation | None, wanted: Wanted) -> list[Record]: ...


@functools.cache
def format_names() -> tuple[str, ...]:
    """The formats that exist: the files of this folder that define `rows`; `trl_dpo.py` is `trl-dpo`."""
    files = sorted(Path(__file__).parent.glob("*.py"))
    return tuple(f.stem.replace("_", "-") for f in files if "\ndef rows(" in f.read_text(encoding="utf-8"))


@functools.cache
def format_of(name: str) -> Format:
    """The module of a format."""
    return cast(Format, importlib.import_module(f"stages.exports.{name.replace('-', '_')}"))


class Export(Stage):
    """Writes pairs in one trainer's format. Counts: `exported` + every `refused:<reason>` = pairs."""

    format: str = "trl-dpo"
    tokenizer: str | None = None  # of the model to be trained; without it lengths are not checked
    max_length: int = Field(1024, ge=1)  # of the training, in tokens
    rationales: bool = False  # add the rationale of each pair; needs a job that writes them
    license: str = "unknown"  # of the dataset, for its card

    @field_validator("format")
    @classmethod
    def _exists(cls, name: str) -> str:
        if name not in format_names():
            raise ValueError(f"unknown format {name!r}; formats: {', '.join(format_names())}")
        return name

    def check(self) -> None:
        """Raises PlanError for a tokenizer that does not exist."""
        check_tokenizer(self.tokenizer)

    def needs(self) -> tuple[type[Record], ...]:
        """Pairs, and rationales where they are wanted."""
        return (Pair, Rationale) if self.rationales else (Pair,)

    def makes(self) -> tuple[type[Record], ...]:
        """The row type of the format."""
        return (format_of(self.format).row_type(self.rationales),)

    async def process(self, example: Example[Pair | Rationale], ctx: Context) -> Sequence[Record]:
        """The rows of one prompt's pairs; every pair that has none is a reject with its reason."""
        kept, refused = without_contradictions(example.pairs)
        rejects = [self._reject(pair, reason, detail, ctx) for pair, reason, detail in refused]
        texts = explanations(example.rationales)
        made: list[Record] = []
        for pair in kept:
            try:
                made += format_of(self.format).rows(pair, texts.get(pair.pair_id), self._wanted)
                ctx.count("exported")
            except Rejected as why:
                rejects.append(self._reject(pair, why.reason, why.detail, ctx))
        return [*made, *rejects]

    def finish(self, summary: Summary) -> dict[str, str]:
        """The dataset card and the manifest."""
        shown = format_of(self.format)
        names = self.makes()[0].__struct_fields__
        columns = {name: shown.COLUMNS[name] for name in names}
        manifest = {
            "run": summary.run,
            "job": summary.job,
            "format": self.format,
            "rows": summary.rows,
            "shards": summary.shards,
            "columns": columns,
            "fingerprint": ids.content_hash(
                "job/1", summary.recipes[summary.job]
            ),  # its recipe names those of its inputs
            "recipes": summary.recipes,
            "counts": summary.counts,
        }
        text = msgspec.json.format(msgspec.json.encode(manifest, order="deterministic"), indent=1).decode()
        usage = shown.USAGE.format(max_length=self.max_length)
        return {"README.md": card(summary, columns, usage, self.license), "manifest.json": f"{text}\n"}

    @staticmethod
    def _reject(pair: Pair, reason: str, detail: str, ctx: Context) -> Reject:
        ctx.count(f"refused:{reason}")
        return Reject(pair.prompt_id, ctx.job, "pair", reason, detail, pair.pair_id)

    @functools.cached_property
    def _wanted(self) -> Wanted:
        length = TrainingLength(load_tokenizer(self.tokenizer), self.max_length) if self.tokenizer else None
        return Wanted(self.rationales, length)
