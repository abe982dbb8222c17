"""Rows in a trainer's format as records: what the formats of stages/exports/ share when they are read back. Pure.

What a format does not carry is not known afterwards: pairs are of kind `given`, with ids of their own, without context.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from pipeline import ids
from pipeline.errors import Rejected
from pipeline.pair import Pair
from pipeline.records import Candidate, Judgment, Message, Prompt, Rationale, Record, Source, Verification
from stages.pairs.joint_pairs import joint_pair
from stages.pairs.select import same_text
from stages.sources.columns import Row, conversation, number, text

Turns = tuple[Message, ...]


class Origin(NamedTuple):
    """Which job reads the row, and where it comes from."""

    job: str
    source: Source = Source()


def turns(value: Any, name: str = "prompt") -> Turns:
    """A prompt: a list of messages, or the text of a user's. Raises Rejected: missing_, empty_, non_text_`name`."""
    if not isinstance(value, (list, tuple)):
        return (Message("user", text(value, name)),)
    return conversation(value, name)


def answer(value: Any, name: str) -> str:
    """An answer: a text, a message, or a list of one. Raises Rejected: several_messages, and as `talk`."""
    if isinstance(value, str) or value is None:
        return text(value, name)
    before, said = talk([value] if isinstance(value, Mapping) else value, name)
    if before:
        raise Rejected("several_messages", f"{name} has {len(before) + 1} messages, an answer is one")
    return said


def talk(value: Any, name: str) -> tuple[Turns, str]:
    """A conversation as what was asked, and the answer. Raises Rejected: `name`_not_answered, and as `turns`."""
    *before, last = conversation(value, name)
    if last.role != "assistant":
        raise Rejected(f"{name}_not_answered", f"the last message of {name} is by {last.role}, not by the assistant")
    return tuple(before), last.content


def asked(messages: Turns, origin: Origin) -> Prompt:
    """The prompt of these messages. Raises Rejected: prompt_answered."""
    if not messages or messages[-1].role == "assistant":
        raise Rejected("prompt_answered", "the prompt must end with a message that is to be answered")
    prompt_id = ids.prompt_id(messages)
    return Prompt(prompt_id, prompt_id, messages, source=origin.source)


def candidate(prompt: Prompt, job: str, model: str | None, index: int, said: str) -> Candidate:
    """A given answer."""
    return Candidate(
        prompt.prompt_id, ids.content_hash("cand/1", prompt.prompt_id, model, index, said), said, job, index, model
    )


def compared(
    prompt: Turns,
    texts: tuple[str, str],
    origin: Origin,
    other: Turns | None = None,
    models: Sequence[str | None] = (None, None),
    **label: Any,
) -> list[Record]:
    """A comparison: the prompt, both answers (the better first) and their pair. `other`: what the worse answers, where
    that is another prompt; `label`: further columns of the pair. Raises Rejected: identical_text, and as `asked`."""
    first = asked(prompt, origin)
    second = first if other is None else asked(other, origin)
    joint = second.prompt_id != first.prompt_id
    if not joint and same_text(*texts):
        raise Rejected("identical_text", "both answers are the same text")
    arms = [
        candidate(p, origin.job, m, i, t)
        for i, (p, m, t) in enumerate(zip((first, second), models, texts, strict=True))
    ]  # fmt: skip
    both = ((first.messages, arms[0]), (second.messages, arms[1]))
    made = joint_pair("given", first, both, label_source="given", **label)
    return [first, *arms[: 1 if joint else 2], made]


def scored(chosen: Any, rejected: Any, low: float = 0.0, high: float = 1.0) -> dict[str, Any]:
    """Scores of both answers as columns of a pair. Raises Rejected: no_scores."""
    found = [number(value) for value in (chosen, rejected)]
    units = [(score - low) / (high - low) for score in found if score is not None and low <= score <= high]
    if len(units) < 2:
        raise Rejected("no_scores", f"scores are {chosen!r:.20} and {rejected!r:.20}, not on [{low:g}, {high:g}]")
    return {"chosen_score": units[0], "rejected_score": units[1], "score_gap": units[0] - units[1]}


def explained(made: Sequence[Record], told: Any, first: Any, kind: Any = None) -> list[Record]:
    """`made`, whose last is a pair, with a rationale: `told` names the answers, `first` (chosen or rejected) is its
    Response A. Nothing more where `told` is None."""
    if told is None:
        return list(made)
    pair = made[-1]
    assert isinstance(pair, Pair)
    if first not in ("chosen", "rejected"):
        raise Rejected("no_response_a", f"Response A of the rationale is {first!r:.20}, not chosen or rejected")
    why = text(told, "rationale")
    chosen, rejected = [gen.candidate_id if gen else None for gen in (pair.chosen_gen, pair.rejected_gen)]
    return [
        *made,
        Rationale(
            pair.prompt_id, ids.content_hash("given/2", pair.pair_id, why, first), pair.pair_id, "given", chosen, rejected,
            kind if isinstance(kind, str) else "general", "free", False, int(first == "rejected"), "given", 0, "ok",
            text=why, verify=Verification(rewritable=False),  # it stays as it is told
        ),
    ]  # fmt: skip


def rated(answered: Candidate, value: float) -> Judgment:
    """The score on [0, 1] that an answer came with."""
    return Judgment(
        answered.prompt_id, ids.content_hash("given/1", answered.candidate_id, str(value)), answered.job, "aspect", "given",
        (answered.candidate_id,), "ok", value, aspect="given",
    )  # fmt: skip


def column(row: Row, name: str, kind: type) -> list[Any]:
    """A list column of that kind. Raises Rejected: no_`name`."""
    value = row.get(name)
    if not isinstance(value, (list, tuple)) or not all(isinstance(item, kind) for item in value):
        raise Rejected(f"no_{name}", f"{name} is no list of {kind.__name__}: {value!r:.40}")
    return list(value)
