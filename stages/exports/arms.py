"""The two answers of a pair as complete texts, for trainers that know prompts and completions only. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from pipeline.errors import Rejected
from pipeline.pair import Context, Pair
from pipeline.records import Message, Part
from stages.exports.wanted import Given, Wanted
from stages.pairs.build import given_context
from stages.pairs.select import same_text


class ChatMessage(Part, frozen=True):
    """A turn as trainers read it: no further keys, which chat templates would misread."""

    role: str
    content: str


Conversation = tuple[ChatMessage, ...]


class Arms(NamedTuple):
    """What each arm answers, and the answers: prefix + segment + tail, stripped at the edges."""

    prompt: Conversation
    rejected_prompt: Conversation
    chosen: str
    rejected: str

    @property
    def conversations(self) -> tuple[Conversation, Conversation]:
        """Both arms with their prompts, the better first."""
        return (*self.prompt, said(self.chosen)), (*self.rejected_prompt, said(self.rejected))


def as_messages(conversation: Conversation) -> list[Message]:
    """A conversation as a tokenizer takes it."""
    return [Message(m.role, m.content) for m in conversation]


def said(text: str) -> ChatMessage:
    """An answer as a turn."""
    return ChatMessage("assistant", text)


def conditional_arms(pair: Pair, wanted: Wanted) -> Arms:
    """The arms of a pair whose prompt is the same on both sides. Raises Rejected: prompt_differs, and as `both_arms`."""
    check_same_prompt(pair)
    return both_arms(pair, wanted)


def check_same_prompt(pair: Pair) -> None:
    """Raises Rejected: prompt_differs."""
    if pair.rejected_prompt_messages is not None and pair.rejected_prompt_messages != pair.prompt_messages:
        raise Rejected("prompt_differs", "the arms answer different prompts, which this trainer cannot compare")


def both_arms(pair: Pair, wanted: Wanted) -> Arms:
    """The arms of a pair, each with the prompt it answers.

    Raises Rejected: as `checked`, tools, several_messages, not_terminal, empty, identical_text, control_tokens, too_long,
    identical_truncated (the last three where a tokenizer is named).
    """
    prompt = checked(pair.prompt_messages, pair.context_id, pair.context)
    other = prompt
    if pair.rejected_prompt_messages is not None:
        other = checked(pair.rejected_prompt_messages, pair.context_id, pair.context)
    if pair.tools_json:
        raise Rejected("tools", "the prompt offers tools, for which this format has no column")
    chosen = _whole(pair.chosen_messages, pair.assistant_prefix, pair.chosen_tail, pair.chosen_terminal)
    rejected = _whole(pair.rejected_messages, pair.assistant_prefix, pair.rejected_tail, pair.rejected_terminal)
    if not chosen or not rejected:
        raise Rejected("empty", "an arm has no text")
    if prompt == other and same_text(chosen, rejected):
        raise Rejected("identical_text", "both arms are the same text")
    arms = Arms(prompt, other, chosen, rejected)
    _check_tokens(arms, wanted)
    return arms


def asked(given: Given) -> Conversation:
    """The prompt of rows that hold none themselves (from search trees). Raises Rejected as `checked`."""
    prompt = given.prompt
    return checked(prompt.messages, prompt.context_id, given_context(prompt) if prompt.context_id else None)


def checked(messages: Sequence[Message], context_id: str | None, context: Context | None) -> Conversation:
    """A prompt as trainers read it. Raises Rejected: prompt_answered, context_missing, tool_calls."""
    if not messages or messages[-1].role == "assistant":
        raise Rejected("prompt_answered", "the prompt must end with a message that is to be answered")
    if context_id is not None and not _shows(messages, context):
        raise Rejected("context_missing", "the label holds in a context that the prompt lacks")
    _check_calls(messages)
    return tuple([ChatMessage(m.role, m.content) for m in messages])


def _shows(messages: Sequence[Message], context: Context | None) -> bool:
    text = context.text.strip() if context else ""
    return bool(text) and any(text in m.content for m in messages)


def _check_calls(messages: Sequence[Message]) -> None:
    for message in messages:
        if message.tool_calls_json:
            raise Rejected("tool_calls", "tool calls have no column in this format")


def _whole(messages: Sequence[Message], prefix: str | None, tail: str | None, terminal: bool) -> str:
    if len(messages) != 1:
        raise Rejected("several_messages", f"an arm has {len(messages)} messages, this format holds one")
    _check_calls(messages)
    if messages[0].reasoning:
        raise Rejected("reasoning", "an arm has its reasoning apart from its text, for which this format has no column")
    if not terminal and tail is None:
        raise Rejected("not_terminal", "an arm is an unfinished answer with no continuation; it would teach stopping")
    return f"{prefix or ''}{messages[0].content}{tail or ''}".strip()


def _check_tokens(arms: Arms, wanted: Wanted) -> None:
    if wanted.tokenizer is None or wanted.length is None:
        return
    texts = [m.content for conversation in arms.conversations for m in conversation]
    check_text(texts, wanted)
    for prompt in dict.fromkeys((arms.prompt, arms.rejected_prompt)):
        if why := wanted.length.why_refused(as_messages(prompt), arms.chosen, arms.rejected):
            raise Rejected(*why)


def check_text(texts: Sequence[str], wanted: Wanted) -> None:
    """Raises Rejected: control_tokens, where a tokenizer is named and would read a text as more than text."""
    special = wanted.tokenizer.special if wanted.tokenizer else ()
    if found := next((token for token in special if any(token in text for text in texts)), None):
        raise Rejected("control_tokens", f"a text holds {found}, which the tokenizer reads as a control token")
