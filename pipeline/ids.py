"""Content hashes and derived randomness. Nothing here depends on time, process, order or position.

Recipe (spec pairs 17.1): NFC, canonical JSON (sorted keys, no blanks, no NaN), sha256, first 32 hex digits.
"""

from __future__ import annotations

import hashlib
import random
import unicodedata
from collections.abc import Sequence
from typing import Any, Protocol

import msgspec

_encode = msgspec.json.Encoder(order="deterministic").encode


class HasRoleAndContent(Protocol):
    """What a message must offer to be hashed."""

    @property
    def role(self) -> str: ...
    @property
    def content(self) -> str: ...


def _normal(value: Any) -> Any:
    if type(value) is str:
        return value if value.isascii() else unicodedata.normalize("NFC", value)
    if isinstance(value, (list, tuple)):
        return [_normal(v) for v in value]
    if isinstance(value, dict):
        return {_normal(k): _normal(v) for k, v in value.items()}
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        raise ValueError("NaN and infinity have no canonical form; hash a finite number or None")
    return value


def _canonical(parts: tuple[Any, ...]) -> bytes:
    """Canonical JSON. ASCII is its own NFC and NaN would have become null, so most values need no walk."""
    encoded = _encode(parts)
    if encoded.isascii() and encoded.count(b"null") == parts.count(None):
        return encoded
    return _encode(_normal(parts))


def content_hash(*parts: Any) -> str:
    """32 hex digits that identify the JSON-like `parts`; equal content gives equal ids on every machine."""
    return hashlib.sha256(_canonical(parts)).hexdigest()[:32]


def prompt_id(messages: Sequence[HasRoleAndContent]) -> str:
    """Identity of a prompt: roles and contents of its messages."""
    return content_hash("prompt/1", [[m.role, m.content] for m in messages])


def arm(prompt: str, prefix: str | None, response: str) -> list[str]:
    """One side of a pair as it is hashed: prompt id, assistant prefix, response text."""
    return [prompt, prefix or "", response]


def pair_id(kind: str, context_id: str | None, chosen: list[str], rejected: list[str]) -> str:
    """Identity of an oriented pair: swapping the arms changes it."""
    return content_hash("pair/1", kind, context_id, chosen, rejected)


def unordered_id(context_id: str | None, chosen: list[str], rejected: list[str]) -> str:
    """Identity of a pair without its orientation: swapping the arms keeps it."""
    return content_hash("unord/1", context_id, *sorted((chosen, rejected)))


def seed(*parts: Any) -> int:
    """A 31-bit sampling seed from (run seed, job, prompt id, purpose, attempt …), never from a counter."""
    return int.from_bytes(hashlib.sha256(_canonical(("seed/1", *parts))).digest()[:4], "big") >> 1


def stream(*parts: Any) -> random.Random:
    """A random stream of its own per item, so that draws do not depend on sharding or worker count."""
    return random.Random(hashlib.sha256(_canonical(("stream/1", *parts))).digest())
