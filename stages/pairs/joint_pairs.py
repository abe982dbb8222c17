"""Pairs whose arms answer different prompts (DOVE; spec pairs 2, level `joint`). Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from msgspec.structs import replace

from pipeline import ids
from pipeline.pair import Pair
from pipeline.records import Candidate, Message, Prompt
from stages.pairs.build import response_pair


def joint_pair(
    kind: str, prompt: Prompt, arms: tuple[tuple[Sequence[Message], Candidate], tuple[Sequence[Message], Candidate]],
    **label: Any,
) -> Pair:  # fmt: skip
    """The pair of two (prompt, answer) arms, the better first. `prompt`: the source's, to which the row belongs; where both
    arms answer the same messages it is an ordinary pair."""
    (asked, chosen), (other, rejected) = ((tuple(messages), candidate) for messages, candidate in arms)
    same = ids.prompt_id(asked) == ids.prompt_id(other)
    pair = response_pair(kind, prompt, chosen, rejected, **label)
    hashed = [ids.arm(ids.prompt_id(m), None, c.text) for m, c in ((asked, chosen), (other, rejected))]
    return replace(
        pair,
        level="response" if same else "joint",
        prompt_messages=asked,
        rejected_prompt_messages=None if same else other,
        pair_id=ids.pair_id(kind, prompt.context_id, *hashed),
        unordered_id=ids.unordered_id(prompt.context_id, *hashed),
    )
