"""What a file of this folder must define to be a format, and the shapes of rows that several formats share. Pure."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from pipeline.errors import PlanError, Rejected
from pipeline.pair import Pair
from pipeline.records import Candidate, Record
from pipeline.stage import Summary
from stages.exports.arms import ChatMessage, Conversation, as_messages, both_arms, conditional_arms, said
from stages.exports.wanted import Given, Wanted
from stages.sources.columns import Row
from stages.sources.imports import Origin, answer, compared, talk, turns


@dataclass(frozen=True)
class Format:
    """The `FORMAT` of a format's file.

    rows: from one row of a table in `reads` (the first is the default) and its surroundings to rows of type `row`; raises
    Rejected for what the trainer would misread. columns: column -> meaning, for the card. usage: how a trainer reads the
    folder, with {max_length}. beside: further tables it needs. options: fields of the stage that it understands -> the
    row type that they give. files: more files to leave in the folder. whole_groups: all pairs of a group are written or
    none; not where rows are no comparisons. imports: the way back, from a row as a data set gives it to the prompt and,
    behind it, records of `imported`; raises Rejected. None: the rows say too little.
    """

    rows: Callable[[Any, Given], list[Record]]
    row: type[Record]
    columns: Mapping[str, str]
    usage: str
    reads: tuple[type[Record], ...] = (Pair,)
    beside: tuple[type[Record], ...] = ()
    options: Mapping[str, type[Record]] = field(default_factory=dict)
    files: Callable[[Summary], dict[str, str]] = lambda summary: {}
    whole_groups: bool = True
    imports: Callable[[Row, Origin], list[Record]] | None = None
    imported: tuple[type[Record], ...] = (Candidate, Pair)


@functools.cache
def format_names() -> tuple[str, ...]:
    """The formats that exist: the files of this folder that define `FORMAT`; `trl_dpo.py` is `trl-dpo`."""
    files = sorted(Path(__file__).parent.glob("*.py"))
    return tuple(f.stem.replace("_", "-") for f in files if "\nFORMAT = " in f.read_text(encoding="utf-8"))


@functools.cache
def format_of(name: str) -> tuple[Format, str]:
    """A format, and what its file says of it. Raises ValueError with the formats that exist."""
    if name not in format_names():
        raise ValueError(f"unknown format {name!r}; formats: {', '.join(format_names())}")
    module = importlib.import_module(f"stages.exports.{name.replace('-', '_')}")
    return module.FORMAT, str(module.__doc__)


class PairRow(Record, frozen=True, kw_only=True):
    """What every row made of one pair begins with."""

    pair_id: str


class PromptedRow(PairRow, frozen=True, kw_only=True):
    """One prompt with two answers. None of the names that trainers treat specially (spec pairs 0.10) beside these."""

    prompt: Conversation
    chosen: tuple[ChatMessage, ...]
    rejected: tuple[ChatMessage, ...]


class ConversationsRow(PairRow, frozen=True, kw_only=True):
    """Two whole conversations."""

    chosen: Conversation
    rejected: Conversation


PROMPTED: Mapping[str, str] = {
    "prompt": "the conversation up to the question: list of {role, content}",
    "chosen": "the better answer: one assistant message",
    "rejected": "the worse answer: one assistant message",
}
CONVERSATIONS: Mapping[str, str] = {
    "chosen": "the better conversation, question and answer: list of {role, content}",
    "rejected": "the worse conversation",
}


def identity(pair: Pair) -> dict[str, Any]:
    """The columns of a PairRow."""
    return {"prompt_id": pair.prompt_id, "pair_id": pair.pair_id}


def prompted(pair: Pair, wanted: Wanted) -> dict[str, Any]:
    """The columns of a PromptedRow. Raises Rejected as `conditional_arms`."""
    arms = conditional_arms(pair, wanted)
    return {
        **identity(pair), "prompt": arms.prompt, "chosen": (said(arms.chosen),), "rejected": (said(arms.rejected),)
    }  # fmt: skip


def conversations(pair: Pair, wanted: Wanted) -> dict[str, Any]:
    """The columns of a ConversationsRow. Raises Rejected as `both_arms`."""
    chosen, rejected = both_arms(pair, wanted).conversations
    return {**identity(pair), "chosen": chosen, "rejected": rejected}


def rewarded(pair: Pair, wanted: Wanted) -> dict[str, Any]:
    """The same for reward trainers, which drop a conversation that is too long. Raises Rejected: too_long where a
    tokenizer is named."""
    columns = conversations(pair, wanted)
    if wanted.tokenizer is not None:
        for side in ("chosen", "rejected"):
            if (n := len(wanted.tokenizer.chat(as_messages(columns[side])))) > wanted.max_length:
                raise Rejected("too_long", f"the {side} conversation has {n} tokens, max_length is {wanted.max_length}")
    return columns


def from_prompted(row: Row, origin: Origin, **label: Any) -> list[Record]:
    """The comparison of a PromptedRow, or of another row with a prompt and two answers in columns of these names."""
    texts = answer(row.get("chosen"), "chosen"), answer(row.get("rejected"), "rejected")
    return compared(turns(row.get("prompt")), texts, origin, **label)


def from_conversations(row: Row, origin: Origin, **label: Any) -> list[Record]:
    """The comparison of a ConversationsRow."""
    (one, chosen), (other, rejected) = (talk(row.get(side), side) for side in ("chosen", "rejected"))
    return compared(one, (chosen, rejected), origin, other, **label)


@dataclass(frozen=True)
class FormatReader:
    """Makes the records of rows in a format that can be read back."""

    format: Format
    origin: Origin

    def records(self, row: Row, where: str, row_id: str) -> list[Record]:
        """The prompt first, then what the row holds. Raises Rejected."""
        assert self.format.imports is not None
        source = replace(self.origin.source, row_id=row_id)
        return self.format.imports(row, self.origin._replace(source=source))

    def check(self, rows: Sequence[Row], name: str) -> None:
        """Raises PlanError where none of these rows is one of the format."""
        for row in rows:
            try:
                self.records(row, name, "")
                return
            except Rejected as error:
                why = error
        own = ", ".join(column for column in self.format.columns)
        raise PlanError(
            f"{name} holds no such rows ({why.detail}); its columns: {', '.join(rows[0])}; of the format: {own}"
        )
