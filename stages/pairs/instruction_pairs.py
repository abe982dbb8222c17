"""Rows of instruction-level pairs (spec pairs 17.1). Pure.

`prompt_id` of a row is the source's prompt, by which tables are joined; the ids in `pair_id` and `unordered_id` are those
of the prompts that the arms answer, which `prompt_messages` and `rejected_prompt_messages` hold.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from msgspec.structs import replace

from pipeline import ids
from pipeline.pair import Constraint, Pair
from pipeline.records import Candidate, Prompt
from stages.constraints.instruction import CHECKER, Instruction
from stages.pairs.build import response_pair
from stages.pairs.draw_instructions import Instructions


class Side(NamedTuple):
    """One arm: the prompt it answers (its `messages` and `prompt_id` are those of the arm), and with what."""

    prompt: Prompt
    instructions: Instructions
    response: Candidate


def with_instructions(prompt: Prompt, added: Instructions, separator: str) -> Prompt:
    """The prompt with instructions behind its last user message, and its own id. The base prompt stays the base."""
    if not added:
        return prompt
    text = " ".join([one.text for one in added])
    last = max([i for i, m in enumerate(prompt.messages) if m.role == "user"], default=len(prompt.messages) - 1)
    messages = list(prompt.messages)
    messages[last] = replace(messages[last], content=f"{messages[last].content}{separator}{text}")
    return replace(prompt, messages=tuple(messages), prompt_id=ids.prompt_id(messages))


def prompt_pair(prompt: Prompt, chosen: Side, rejected: Side, **columns: Any) -> Pair:
    """A pair of two prompts for one response (level `prompt`): the response suits the first one better."""
    response = chosen.response
    arms = [ids.arm(side.prompt.prompt_id, None, response.text) for side in (chosen, rejected)]
    pair = response_pair(
        "mapl_intra", chosen.prompt, response, response, label_source="checker", dominance="checker",
        constraints=_prompt_constraints(chosen.instructions, rejected.instructions, response.text), **columns,
    )  # fmt: skip
    return replace(
        pair,
        prompt_id=prompt.prompt_id,
        level="prompt",
        rejected_prompt_messages=rejected.prompt.messages,
        pair_id=ids.pair_id("mapl_intra", prompt.context_id, *arms),
        unordered_id=ids.unordered_id(prompt.context_id, *arms),
    )


def answer_pair(kind: str, prompt: Prompt, chosen: Side, rejected: Candidate, **columns: Any) -> Pair:
    """A pair of two responses to one augmented prompt (level `response`)."""
    polarity, origin = columns.pop("polarity", None), columns.pop("origin", "derived")
    constraints = tuple([
        _constraint(
            one, polarity[i] if polarity else _polarity(one.check(chosen.response.text)),
            (one.check(chosen.response.text), one.check(rejected.text)), (True, True), origin,
        )
        for i, one in enumerate(chosen.instructions)
    ])  # fmt: skip
    pair = response_pair(
        kind, chosen.prompt, chosen.response, rejected,
        label_source="checker", dominance="strict_pareto", constraints=constraints, **columns,
    )  # fmt: skip
    return replace(pair, prompt_id=prompt.prompt_id)


def grouped(pairs: Sequence[Pair], roles: Sequence[str]) -> list[Pair]:
    """The pairs as one group: none is of use without the others (V13)."""
    group = ids.content_hash("group/1", *[pair.pair_id for pair in pairs])
    return [
        replace(pair, group_id=group, group_role=role, group_size=len(pairs))
        for pair, role in zip(pairs, roles, strict=True)
    ]


def _polarity(kept: bool | None) -> str:
    return "derived_true" if kept else "derived_false"


def _prompt_constraints(one: Instructions, other: Instructions, response: str) -> tuple[Constraint, ...]:
    rows = []
    for item in (*one, *[item for item in other if item not in one]):
        kept = item.check(response)
        where = item in one, item in other
        rows.append(_constraint(item, _polarity(kept), (kept, kept), where, "derived"))
    return tuple(rows)


def _constraint(
    one: Instruction, polarity: str, kept: tuple[bool | None, bool | None], where: tuple[bool, bool], origin: str
) -> Constraint:  # fmt: skip
    return Constraint(
        one.constraint_id, one.family, one.text, one.kwargs_json, polarity, where[0], where[1], kept[0], kept[1],
        CHECKER, one.version, origin,
    )  # fmt: skip
