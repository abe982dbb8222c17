"""What a file of this folder must define to be a format, and the shapes of rows that several formats share. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pipeline.errors import Rejected
from pipeline.pair import Pair
from pipeline.records import Record
from pipeline.stage import Summary
from stages.exports.arms import ChatMessage, Conversation, as_messages, both_arms, conditional_arms, said
from stages.exports.wanted import Given, Wanted


@dataclass(frozen=True)
class Format:
    """The `FORMAT` of a format's file.

    rows: from one row of a table in `reads` (the first is the default) and its surroundings to rows of type `row`; raises
    Rejected for what the trainer would misread. columns: column -> meaning, for the card. usage: how a trainer reads the
    folder, with {max_length}. beside: further tables it needs. options: fields of the stage that it understands -> the
    row type that they give. files: more files to leave in the folder.
    """

    rows: Callable[[Any, Given], list[Record]]
    row: type[Record]
    columns: Mapping[str, str]
    usage: str
    reads: tuple[type[Record], ...] = (Pair,)
    beside: tuple[type[Record], ...] = ()
    options: Mapping[str, type[Record]] = field(default_factory=dict)
    files: Callable[[Summary], dict[str, str]] = lambda summary: {}


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
