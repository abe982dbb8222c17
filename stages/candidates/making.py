"""How a constructed answer or prompt was made, and from what: kept in its `ext_json`, read by pair stages. Pure."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Struct

from pipeline import ids
from pipeline.records import Candidate, Message, Prompt
from pipeline.stage import Context


class Making(Struct, frozen=True, omit_defaults=True):
    """`way`: the stage's name. `parent_id`: the candidate or prompt it was made from. `group`: what was made together.

    `role`: which of its group (contrast: plus, minus). `detail`: what a reader needs to judge it: critique, error, …
    """

    way: str
    parent_id: str | None = None
    group: str | None = None
    role: str | None = None
    detail: dict[str, str | int | float] = {}


class _Kept(Struct, frozen=True):
    made: Making | None = None


_decode = msgspec.json.Decoder(_Kept).decode


def making_of(candidate: Candidate) -> Making | None:
    """How `candidate` was made; None for an answer that was simply generated or given."""
    if candidate.ext_json is None or '"made"' not in candidate.ext_json:
        return None
    try:
        return _decode(candidate.ext_json).made
    except (msgspec.ValidationError, msgspec.DecodeError):  # another stage's or source's own column
        return None


def made_prompt(seed: Prompt, text: str, making: Making, reference: str | None = None) -> Prompt:
    """A new prompt of one user turn, with the system message of `seed`, whose base it keeps: both stay in one split.

    Its messages are what a later run reads: `columns: {prompt: messages, reference: reference, base: base_prompt_id}`.
    """
    system = tuple([m for m in seed.messages[:1] if m.role == "system"])
    messages = (*system, Message("user", text))
    return Prompt(
        prompt_id=ids.prompt_id(messages),
        base_prompt_id=seed.base_prompt_id,
        messages=messages,
        reference=reference,
        source=seed.source,
        split=seed.split,
        ext_json=msgspec.json.encode(_Kept(making), order="deterministic").decode(),
    )


def constructed(prompt: Prompt, text: str, making: Making, ctx: Context, **columns: Any) -> Candidate:
    """The candidate with its id and `making`; `columns`: how it was sampled."""
    which = (making.parent_id, making.group, making.role, columns.get("sample_idx", 0))
    return Candidate(
        prompt_id=prompt.prompt_id,
        candidate_id=ids.content_hash("cand/1", prompt.prompt_id, ctx.job, making.way, *which, text),
        text=text,
        job=ctx.job,
        ext_json=msgspec.json.encode(_Kept(making), order="deterministic").decode(),
        **columns,
    )
