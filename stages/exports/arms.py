"""The two answers of a pair as complete texts, for trainers that know prompts and completions only. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from msgspec import Struct

from pipeline.errors import Rejected
from pipeline.pair import Pair
from pipeline.records import Message, Part
from stages.pairs.select import same_text
from stages.pairs.truncation import TrainingLength


class ChatMessage(Part, frozen=True):
    """A turn as trainers read it: no further keys, which chat templates would misread."""

    role: str
    content: str


class Arms(NamedTuple):
    """What both arms answer, and the answers: prefix + segment + tail, stripped at the edges."""

    prompt: tuple[ChatMessage, ...]
    chosen: str
    rejected: str


class Explanation(Struct, frozen=True):
    """A rationale that goes along; `response_a` says which arm the text calls Response A."""

    text: str
    kind: str
    response_a: str  # chosen | rejected


class Wanted(NamedTuple):
    """What the config asks of a format."""

    rationales: bool = False
    length: TrainingLength | None = None


def conditional_arms(pair: Pair) -> Arms:
    """The arms of a pair whose prompt is the same on both sides.

    Raises Rejected: prompt_differs, prompt_answered, context_missing, tool_calls, several_messages, not_terminal,
    empty, identical_text.
    """
    if pair.rejected_prompt_messages is not None and pair.rejected_prompt_messages != pair.prompt_messages:
        raise Rejected("prompt_differs", "the arms answer different prompts, which this trainer cannot compare")
    if not pair.prompt_messages or pair.prompt_messages[-1].role == "assistant":
        raise Rejected("prompt_answered", "the prompt must end with a message that is to be answered")
    if pair.context_id is not None and not _shows_context(pair):
        raise Rejected("context_missing", "the label holds in a context that the prompt lacks")
    if any(m.tool_calls_json for m in (*pair.prompt_messages, *pair.chosen_messages, *pair.rejected_messages)):
        raise Rejected("tool_calls", "tool calls have no column in this format")
    chosen = _whole(pair.chosen_messages, pair.assistant_prefix, pair.chosen_tail, pair.chosen_terminal)
    rejected = _whole(pair.rejected_messages, pair.assistant_prefix, pair.rejected_tail, pair.rejected_terminal)
    if not chosen or not rejected:
        raise Rejected("empty", "an arm has no text")
    if same_text(chosen, rejected):
        raise Rejected("identical_text", "both arms are the same text")
    return Arms(tuple([ChatMessage(m.role, m.content) for m in pair.prompt_messages]), chosen, rejected)


def _shows_context(pair: Pair) -> bool:
    return pair.context is not None and any(pair.context.text in m.content for m in pair.prompt_messages)


def _whole(messages: Sequence[Message], prefix: str | None, tail: str | None, terminal: bool) -> str:
    if len(messages) != 1:
        raise Rejected("several_messages", f"an arm has {len(messages)} messages, this format holds one")
    if not terminal and tail is None:
        raise Rejected("not_terminal", "an arm is an unfinished answer with no continuation; it would teach stopping")
    return f"{prefix or ''}{messages[0].content}{tail or ''}".strip()
