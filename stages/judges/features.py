"""What can be counted in a text: the factors by which chosen and rejected answers may differ. Pure and deterministic."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from stages.judges.refusals import declines

Feature = Callable[[str], float]


def _count(pattern: str, flags: re.RegexFlag = re.MULTILINE) -> Feature:
    found = re.compile(pattern, flags)
    return lambda text: float(len(found.findall(text)))


_WORD = re.compile(r"\w+(?:['’]\w+)*")
_ANY_CASE = re.MULTILINE | re.IGNORECASE
_HEDGES = (
    r"\b(?:perhaps|maybe|possibly|probably|likely|might|may|could|seems?|appears?|generally|usually|often|sometimes|"
    r"i think|i believe|in my opinion|it depends|not sure|roughly|approximately)\b"
)
_POLITE = (
    r"\b(?:please|thanks|thank you|sorry|welcome|happy to|glad to|feel free|great question|good question|hope this helps|"
    r"let me know|certainly|of course|i'd love to)\b"
)
_INFORMAL = (
    r"\b(?:\w+(?:n['’]t|['’](?:ll|re|ve|d|m))|it['’]s|that['’]s|let['’]s|gonna|wanna|gotta|kinda|sorta|yeah|yep|nope|"
    r"hey|ok|okay|lol|cool|awesome|stuff|guys)\b"
)
_MARKUP = r"^#{1,6} |^\s*[-*+•] |^\s*\d{1,3}[.)] |\*\*[^*\n]+\*\*|`[^`\n]+`|^```|^\|.*\|\s*$"


def n_words(text: str) -> float:
    """Runs of letters and digits."""
    return float(len(_WORD.findall(text)))


def _word_length(text: str) -> float:
    words = _WORD.findall(text)
    return sum(map(len, words)) / len(words) if words else 0.0


def _variety(text: str) -> float:
    """Different words among the first hundred, so that length does not decide."""
    words = [word.casefold() for word in _WORD.findall(text)[:100]]
    return len(set(words)) / len(words) if words else 0.0


def _formality(text: str) -> float:
    """Fewer contractions and colloquial words for every hundred words; 0 is the most formal."""
    return -100 * _count(_INFORMAL, _ANY_CASE)(text) / max(1.0, n_words(text))


FEATURES: Mapping[str, Feature] = {
    "characters": lambda text: float(len(text.strip())),
    "words": n_words,
    "sentences": _count(r"[.!?]+(?=\s|$)"),
    "lines": _count(r"^.*\S.*$"),
    "word_length": _word_length,
    "variety": _variety,
    "markdown": _count(_MARKUP),
    "headings": _count(r"^#{1,6} "),
    "list_items": _count(r"^\s*(?:[-*+•]|\d{1,3}[.)]) "),
    "bold": _count(r"\*\*[^*\n]+\*\*"),
    "code_blocks": lambda text: float(text.count("```") // 2),
    "numbers": _count(r"\d+(?:[.,]\d+)*"),
    "citations": _count(r"\[\d{1,3}\]|\]\(https?://[^\s)]+\)|(?<!\()https?://\S+"),
    "brackets": _count(r"[(\[{【「『]"),
    "quotes": _count(r"[\"“«„]"),
    "questions": _count(r"[?？]"),
    "exclamations": _count(r"[!！]"),
    "emoji": _count("[\U0001f300-\U0001faff\u2600-\u27bf]"),
    "hedging": _count(_HEDGES, _ANY_CASE),
    "politeness": _count(_POLITE, _ANY_CASE),
    "formality": _formality,
    "first_person": _count(r"\b(?:i|me|my|mine|we|our|us)\b", _ANY_CASE),
    "second_person": _count(r"\b(?:you|your|yours)\b", _ANY_CASE),
    "refusal": lambda text: float(declines(text)),
}


def features(text: str) -> dict[str, float]:
    """Every factor of a text."""
    return {name: measure(text) for name, measure in FEATURES.items()}
