"""Reading answers of a set form: sections between tags, or a list of texts. Pure; raises Rejected for anything else."""

from __future__ import annotations

import re

import msgspec

from pipeline.errors import Rejected

_THOUGHT = re.compile(r"\A\s*<think>.*?</think>", re.DOTALL)
_FENCE = re.compile(r"\A```[a-zA-Z]*\n(.*)\n```\Z", re.DOTALL)


def answer_body(text: str) -> str:
    """The answer without the thinking before it. Raises Rejected where the thinking has no end, or nothing follows."""
    body = _THOUGHT.sub("", text).strip()
    if body.startswith("<think>"):
        raise Rejected("parse_error", "the thinking at the beginning has no end")
    if not body:
        raise Rejected("empty", "the answer is empty")
    return body


def sections(text: str, *names: str) -> tuple[str, ...]:
    """The text of `<name>…</name>` for each name. Raises Rejected where one is missing, empty or there twice."""
    body = answer_body(text)
    found = []
    for name in names:
        parts = re.findall(rf"<{name}>(.*?)</{name}>", body, re.DOTALL)
        if len(parts) != 1 or not (part := parts[0].strip()):
            what = f"{len(parts)} sections <{name}>" if len(parts) != 1 else f"an empty <{name}>"
            raise Rejected("parse_error", f"{what} where one with text is expected: {body[:60]!r}")
        if f"<{name}>" in part:
            raise Rejected("parse_error", f"<{name}> is opened again inside itself")
        found.append(part)
    return tuple(found)


def texts(text: str, name: str, n: int) -> list[str]:
    """Exactly `n` texts: a JSON list of strings (alone or as the one value of an object), or `<name>…</name>` each.

    Raises Rejected for another number, a blank one, or any other form.
    """
    body = answer_body(text)
    listed = _json_list(fenced[1] if (fenced := _FENCE.match(body)) else body)
    if listed is None:
        listed = re.findall(rf"<{name}(?:\s[^<>]{{0,40}})?>(.*?)</{name}>", body, re.DOTALL)
    found = [part.strip() for part in listed]
    if len(found) != n:
        raise Rejected("parse_error", f"{len(found)} texts where {n} are expected: {body[:60]!r}")
    if not all(found):
        raise Rejected("parse_error", "one of the texts is empty")
    return found


def _json_list(body: str) -> list[str] | None:
    if body[:1] not in ("[", "{"):
        return None
    try:
        value = msgspec.json.decode(body)
        if isinstance(value, dict) and len(value) == 1:
            value = next(iter(value.values()))
        return msgspec.convert(value, list[str])
    except (msgspec.DecodeError, msgspec.ValidationError):
        return None
