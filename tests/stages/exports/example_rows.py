"""Pairs as exports meet them, and an export of them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec

from pipeline import ids
from pipeline.pair import Pair
from pipeline.records import Candidate, Message, Prompt, Rationale, Reject
from pipeline.stage import Context, Example
from stages.exports.export import Export
from stages.pairs.build import response_pair


def prompt_of(question: str = "2+2?") -> Prompt:
    messages = (Message("system", "Be brief."), Message("user", question))
    return Prompt(ids.prompt_id(messages), ids.prompt_id(messages), messages)


def answer(prompt: Prompt, text: str) -> Candidate:
    return Candidate(prompt.prompt_id, ids.content_hash(text), text, "generate")


def pair_of(
    chosen: str = "4", rejected: str = "5", source: str = "judge", question: str = "2+2?", **changes: Any
) -> Pair:
    prompt = prompt_of(question)
    pair = response_pair("best_worst", prompt, answer(prompt, chosen), answer(prompt, rejected), label_source=source)
    return msgspec.structs.replace(pair, **changes)


def said(*texts: str) -> tuple[Message, ...]:
    return tuple(Message("assistant", text) for text in texts)


class Exported(NamedTuple):
    """What an export made of one prompt."""

    rows: list[Any]
    rejects: list[Reject]
    counts: dict[str, int]

    @property
    def reasons(self) -> list[str]:
        return [reject.reason for reject in self.rejects]


def exported(example: Example[Any], **fields: Any) -> Exported:
    stage = Export.model_validate(fields)
    ctx = Context("export", "run", 7, "f" * 32, {})
    rows = asyncio.run(stage.process(example, ctx))
    assert {type(r) for r in rows} <= {*stage.makes(), Reject}
    rejects = [r for r in rows if isinstance(r, Reject)]
    return Exported([r for r in rows if not isinstance(r, Reject)], rejects, ctx.counts)


def run(*pairs: Pair, reasons: Sequence[Rationale] = (), **fields: Any) -> Exported:
    return exported(Example(prompt_of(), pairs=pairs, rationales=reasons), **fields)


def rationale(pair: Pair, name: str, **changes: Any) -> Rationale:
    first = Rationale(
        pair.prompt_id, name, pair.pair_id, "explain", None, None, "detailed", "free", False, 0, "m", 0, "ok", text=name
    )
    return msgspec.structs.replace(first, **changes)
