"""The system message of a conversation: a text added to it, or put in its place. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from pipeline.records import Message


def with_system(text: str, messages: Sequence[Message]) -> tuple[Message, ...]:
    """`messages` with `text` added to their system message, which is made where there is none."""
    if messages and messages[0].role == "system":
        return (replace(messages[0], content=f"{messages[0].content}\n\n{text}"), *messages[1:])
    return (Message("system", text), *messages)


def under_system(text: str | None, messages: Sequence[Message]) -> tuple[Message, ...]:
    """`messages` with `text` as their only system message; as they are where it is None."""
    if text is None:
        return tuple(messages)
    return (Message("system", text), *[m for m in messages if m.role != "system"])
