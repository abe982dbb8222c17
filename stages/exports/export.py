"""Rows as a trainer reads them: one folder of Parquet with a dataset card and a manifest."""

from __future__ import annotations

import functools
from collections.abc import Collection, Sequence
from typing import ClassVar, Self

import msgspec
from pydantic import Field, field_validator, model_validator

from pipeline import ids
from pipeline.errors import PlanError, Rejected
from pipeline.pair import Pair
from pipeline.records import Rationale, Record, Reject
from pipeline.stage import FIELD_OF, Context, Example, Stage, Summary
from pipeline.tokenizer import check_tokenizer, load_tokenizer
from stages.exports.card import About, card
from stages.exports.choice import broken_groups, explanations, without_contradictions
from stages.exports.formats import Format, format_names, format_of
from stages.exports.wanted import Given, Wanted
from stages.pairs.truncation import TrainingLength

SHARED_COLUMNS = {
    "prompt_id": "identity of the prompt (hash of its messages)",
    "pair_id": "identity of the pair; the canonical pair with scores and provenance has the same",
}


class Export(Stage):
    """Writes rows in one trainer's format. Counts: `exported` + every `refused:<reason>` + `other_split` = rows of
    the table."""

    version: ClassVar[int] = 2

    format: str = "trl-dpo"
    table: str | None = None  # which of the tables that the format carries; default: its first (pairs, mostly)
    tokenizer: str | None = None  # of the model to be trained; without it lengths are not checked
    max_length: int = Field(1024, ge=1)  # of the training, in tokens
    rationales: bool = False  # add the rationale of each pair; needs a job that writes them
    margin: bool = False  # add the calibrated margin; pairs without one are refused
    scores: bool = False  # add the scores of both arms; pairs without are refused
    license: str = "unknown"  # of the dataset, for its card
    split: str | None = None  # only prompts of this split

    @field_validator("format")
    @classmethod
    def _exists(cls, name: str) -> str:
        format_of(name)
        return name

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.table is not None and self.table not in (tables := [FIELD_OF[cls] for cls in self.reads()]):
            raise ValueError(f"format {self.format} carries no {self.table}; it carries: {', '.join(tables)}")
        for option in self._options:
            if option not in self._format.options:
                able = [name for name in format_names() if option in format_of(name)[0].options]
                raise ValueError(f"format {self.format} has no column for {option}; formats that do: {', '.join(able)}")
        return self

    def check(self) -> None:
        """Raises PlanError for a tokenizer that does not exist."""
        check_tokenizer(self.tokenizer)

    def placed(self, named: Collection[type[Record]], made: Collection[type[Record]]) -> Self:
        """With the table that the jobs named in `from` make, or else the first there is of those that the format carries."""
        told = [cls for cls in self.reads() if cls in named]
        if self.table is not None or len(self.reads()) < 2:
            return self
        if len(told) > 1:
            both = " and ".join(FIELD_OF[cls] for cls in told)
            ways = " or ".join(f"table: {FIELD_OF[cls]}" for cls in told)
            raise PlanError(f"its inputs make {both}, and {self.format} carries either; say {ways}")
        found = next(iter(told), None) or next((cls for cls in self.reads() if cls in made), self.reads()[0])
        if found is self.reads()[0]:
            return self
        return type(self).model_validate({**self.model_dump(), "table": FIELD_OF[found]})

    def reads(self) -> tuple[type[Record], ...]:
        """Tables that the format can carry, its default first."""
        return self._format.reads

    def needs(self) -> tuple[type[Record], ...]:
        """The table, what the format needs beside, and rationales where they are wanted."""
        beside = (*self._format.beside, *((Rationale,) if self.rationales else ()))
        return (self._read, *[cls for cls in beside if cls is not self._read])

    def makes(self) -> tuple[type[Record], ...]:
        """The row type of the format."""
        return (next((self._format.options[option] for option in self._options), self._format.row),)

    async def process(self, example: Example[Record], ctx: Context) -> Sequence[Record]:
        """The rows of one prompt; every row of the table that has none is a reject with its reason."""
        items: Sequence[Record] = getattr(example, FIELD_OF[self._read])
        if self.split not in (None, example.prompt.split):
            ctx.count("other_split", len(items))
            return []
        refused: list[tuple[Record, str, str]] = []
        if self._read is Pair:
            items, contradicted = without_contradictions(example.pairs)
            refused += contradicted
        given = Given(
            example.prompt, tuple(items) if self._read is Pair else (), example.trees, example.nodes,  # type: ignore[arg-type]
            explanations(example.rationales) if example.rationales else {}, self._wanted,
        )  # fmt: skip
        made: list[tuple[Record, list[Record]]] = []
        convert = self._format.rows
        for item in items:
            try:
                made.append((item, convert(item, given)))
            except Rejected as why:
                refused.append((item, why.reason, why.detail))
        if self._format.whole_groups and (halves := broken_groups([item for item, _ in made])):
            refused += [(item, *halves[place]) for place, (item, _) in enumerate(made) if place in halves]
            made = [each for place, each in enumerate(made) if place not in halves]
        if made:
            ctx.count("exported", len(made))
        rows = [row for _, own in made for row in own]
        return [*rows, *[self._reject(item, reason, detail, ctx) for item, reason, detail in refused]]

    def finish(self, summary: Summary) -> dict[str, str]:
        """The dataset card and the manifest, and what else the format leaves."""
        shown, about = format_of(self.format)
        meanings = {**SHARED_COLUMNS, **shown.columns}
        columns = {name: meanings[name] for name in self.makes()[0].__struct_fields__}
        manifest = {
            "run": summary.run,
            "job": summary.job,
            "format": self.format,
            "rows": summary.rows,
            "shards": summary.shards,
            "columns": columns,
            # a job's recipe names those of its inputs
            "fingerprint": ids.content_hash("job/1", summary.recipes[summary.job]),
            "recipes": summary.recipes,
            "counts": summary.counts,
        }
        text = msgspec.json.format(msgspec.json.encode(manifest, order="deterministic"), indent=1).decode()
        usage = shown.usage.format(max_length=self.max_length)
        readme = card(summary, About(self.format, about, columns, usage, self.license))
        return {"README.md": readme, "manifest.json": f"{text}\n", **shown.files(summary)}

    def _reject(self, item: Record, reason: str, detail: str, ctx: Context) -> Reject:
        ctx.count(f"refused:{reason}")
        subject = type(item).__name__.lower()
        return Reject(item.prompt_id, ctx.job, subject, reason, detail, getattr(item, f"{subject}_id"))

    @functools.cached_property
    def _format(self) -> Format:
        return format_of(self.format)[0]

    @functools.cached_property
    def _read(self) -> type[Record]:
        return next((cls for cls in self.reads() if FIELD_OF[cls] == self.table), self.reads()[0])

    @property
    def _options(self) -> list[str]:
        return [option for option in ("rationales", "margin", "scores") if getattr(self, option)]

    @functools.cached_property
    def _wanted(self) -> Wanted:
        tokenizer = load_tokenizer(self.tokenizer) if self.tokenizer else None
        length = TrainingLength(tokenizer, self.max_length) if tokenizer else None
        return Wanted(self.rationales, self.margin, self.scores, self.max_length, tokenizer, length)
