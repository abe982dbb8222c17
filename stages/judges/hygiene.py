"""Candidate text as data: what a judge is shown can neither end its own quotation nor speak as another role."""

from __future__ import annotations

import re
from collections.abc import Sequence

from pipeline.records import Message

# Special tokens of common chat formats. They are removed: a tokenizer may map them to control tokens.
_SPECIAL = re.compile(
    r"<\|[a-zA-Z0-9_ ]{1,40}\|>|</?s>|<(?:start|end)_of_turn>|\[/?INST\]|<</?SYS>>|<｜[^｜<>]{1,40}｜>"
    r"|<(?:bos|eos|pad|unk)>"
)
# The tags in which the shipped templates quote texts.
_TAG = re.compile(
    r"<(?=/?\s{0,3}(?:prompt|conversation|reference|response|response_a|response_b|step|observation)\s{0,3}>)",
    re.IGNORECASE,
)
_PASSES = 8
_NEWLINES = re.compile(r"\r\n?|[\u2028\u2029\x85]")


def as_data(text: str) -> str:
    """`text` with \\n newlines, without special tokens, with the templates' own tags defused (`<` becomes `&lt;`)."""
    if "\r" in text or not text.isascii():
        text = _NEWLINES.sub("\n", text)
    if "<" not in text and "[" not in text:
        return text
    for _ in range(_PASSES):
        if (cleaned := _SPECIAL.sub("", text)) == text:
            break
        text = cleaned  # again: what is left may join to a new token
    else:  # nested ever deeper, which no honest text is: without brackets there are no tokens
        text = text.replace("<", "").replace("[", "")
    return _TAG.sub("&lt;", text)


def prompt_text(messages: Sequence[Message], prefix: str = "") -> str:
    """The prompt as one text: the user's message, or for longer conversations all turns under their roles.

    prefix: what the assistant's answer already begins with, shown as its last turn.
    """
    if len(messages) == 1 and messages[0].role == "user" and not prefix:
        return as_data(messages[0].content)
    turns = [f"{m.role.capitalize()}: {as_data(m.content)}" for m in messages]
    if prefix:
        turns.append(f"Assistant (begins with): {as_data(prefix)}")
    return "\n\n".join(turns)
