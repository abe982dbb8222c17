"""Phrases of instructions, and the words of responses they may name. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

_CONTENT_WORD = re.compile(r"(?<![\w'’-])[^\W\d_]{4,20}(?![\w'’-])")


def amount(relation: str, n: int, noun: str) -> str:
    """`at most 4 sentences`, `fewer than 1 line`."""
    return f"{'fewer than' if relation == 'less than' else relation} {n} {noun}{'s' if n != 1 else ''}"


def frequency(relation: str, n: int) -> str:
    """`at most 4 times`."""
    return amount(relation, n, "time")


def quoted(word: str) -> str:
    """A word as a prompt shows it."""
    return f'"{word}"'


def listed(words: Iterable[str]) -> str:
    """Words in their order, quoted."""
    return ", ".join([quoted(word) for word in words])


def content_words(text: str) -> list[str]:
    """Words of 4 to 20 letters in lower case, each once, in order."""
    return list(dict.fromkeys([word.lower() for word in _CONTENT_WORD.findall(text)]))


def shared_words(texts: Sequence[str]) -> list[str]:
    """Content words that all the texts have, in the order of the first."""
    if not texts:
        return []
    others = [set(content_words(text)) for text in texts[1:]]
    return [word for word in content_words(texts[0]) if all(word in other for other in others)]
