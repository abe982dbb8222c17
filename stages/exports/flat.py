"""Conversations as single strings, for trainers that know no messages. Pure."""

from __future__ import annotations

from pipeline.errors import Rejected
from pipeline.tokenizer import Tokenizer
from stages.exports.arms import Conversation, as_messages, said

RENDERED = "the prompt as one string: by the chat template of `tokenizer` where one was named, else the user's message"
_ANSWER = "\u2063answer\u2063"  # a text that no chat template holds


def plain(prompt: Conversation) -> str:
    """The text of a prompt that is one user message. Raises Rejected: several_turns."""
    if len(prompt) != 1 or prompt[0].role != "user":
        roles = ", ".join(m.role for m in prompt)
        raise Rejected("several_turns", f"the prompt has turns ({roles}), this column holds one user message")
    return prompt[0].content


def rendered(prompt: Conversation, tokenizer: Tokenizer | None) -> str:
    """The prompt by the model's chat template, up to where the answer begins; without a tokenizer as `plain`.

    Without a BOS at its start: tokenizing a string adds one (spec pairs 16.2.2). Raises Rejected as `plain`, PlanError
    for a tokenizer without a chat template.
    """
    if tokenizer is None:
        return plain(prompt)
    return tokenizer.render(as_messages(prompt)).removeprefix(tokenizer.raw.bos_token or "")


def closing(prompt: Conversation, tokenizer: Tokenizer | None) -> str:
    """What the chat template puts behind an answer (its end-of-turn token); nothing without a tokenizer."""
    if tokenizer is None:
        return ""
    text = tokenizer.render(as_messages((*prompt, said(_ANSWER))))
    return text.rpartition(_ANSWER)[2].rstrip("\n")
