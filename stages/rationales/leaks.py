"""Leaks (V5): words that only one who knows the label uses, and verdicts that rest on order or length alone."""

from __future__ import annotations

import re

_LEAK = re.compile(
    r"\b(?:chosen|rejected|gold(?:en)?|ground[- ]?truth|label(?:l?ed|s)?|mcts|reward(?: model)?|preference pair|"
    r"dis?preferred|annotat(?:or|ion|ed)s?)\b|\bscores?\s?[=:]",
    re.IGNORECASE,
)
_SENTENCE = re.compile(r"[^.!?\n]+")
_ORDER = re.compile(
    r"\b(?:because|since|as|for)\b.{0,40}\b(?:(?:is|was|comes|came|appears?|listed|shown|given|presented|stands?)\s+"
    r"(?:the\s+)?(?:first|second|last|above|below|earlier|later)|being\s+(?:first|second)|its\s+(?:position|place))\b",
    re.IGNORECASE,
)
_LENGTH = re.compile(
    r"\b(?:longer|shorter|lengthier|length(?:y|s)?|long|short|word count|"
    r"(?:more|fewer|less) (?:words|text|lines|sentences))\b",
    re.IGNORECASE,
)
_FILLER = frozenset(
    "response responses answer answers solution a b the this that it its is are was be been than and or so because "
    "since as for of in to by with on better worse best preferable preferred much slightly clearly significantly far "
    "overall therefore thus while which one has have more less very other both i choose prefer makes make being just "
    "simply only also".split()
)
_WORD = re.compile(r"[a-z]+|\d+")
_MAX_CHARS = 10_000


def leak_words(text: str, shown: str) -> tuple[str, ...]:
    """Words of `text` that give away how the data is made; a word of the task itself (`shown`) is none (gold coins)."""
    found = {m[0].lower() for m in _LEAK.finditer(text[:_MAX_CHARS])}
    known = shown.lower() if found else ""
    return tuple(sorted(word for word in found if not re.search(rf"\b{re.escape(word.rstrip(' =:'))}", known)))


def decides_by_order(text: str) -> bool:
    """Whether a sentence gives the order of showing as the reason."""
    return bool(_ORDER.search(text[:_MAX_CHARS]))


def decides_by_length(text: str) -> bool:
    """Whether length is the only reason given: no sentence says anything else, and at least one speaks of length."""
    sentences = [s.lower() for s in _SENTENCE.findall(text[:_MAX_CHARS])]
    about_length = [bool(_LENGTH.search(s)) for s in sentences]
    return any(about_length) and not any(_says_more(_LENGTH.sub(" ", s)) for s in sentences)


def _says_more(sentence: str) -> bool:
    return any(word not in _FILLER for word in _WORD.findall(sentence))
