"""How a rationale names the two responses, by the place they were shown in; swapping the names; the fixed sentence."""

from __future__ import annotations

import re
from collections.abc import Sequence

_NOUN = r"(?:response|answer|solution|candidate|option|assistant|reply|output)"
# Only these fixed mentions are names. A bare "A" is an article more often than a response.
_MENTION = re.compile(
    rf"""
      \b{_NOUN}s?\s+(?P<a>[AB])\b(?:\s*(?:,|and|or|vs\.?|versus|to|over|than)\s*(?P<a2>[AB])\b)?
    | \b(?:than|versus|vs\.?)\s+(?P<than>[AB])\b(?!\s+[a-z]+(?:\s+of)?\s+[a-z]+ing\b)
    | \b(?P<nth>first|second)\s+(?:{_NOUN}|one\b)
    | \b{_NOUN}\s+(?P<place>above|below)\b
    | \b(?P<place2>above|below)\s+{_NOUN}
    """,
    re.IGNORECASE | re.VERBOSE,
)
_DOES = (
    r"(?:is|was|has|had|does|did|gets?|got|says?|gives?|makes?|uses?|fails?|adds?|ends?|goes|also|and|or|only|wrongly|"
    r"correctly|rightly)\b"
)
# Names that no fixed mention covers; they would keep their old place.
_BARE = re.compile(
    rf"\bB\b|(?<![.!?:\"(\n-]\s)(?<!\A)(?<!\n)\bA\b|\bA\b(?=\s*(?:['’,:]|{_DOES}))|\b(?:former|latter)\b"
    rf"|\b[Tt]he\s+(?:first|second)\s+{_DOES}"
)
# Texts that have options of their own: there "answer B" is none of the two responses.
_OPTIONS = re.compile(
    r"^\s{0,3}[(\[]?B[).:\]]\s|\([AB]\)|\b(?:answer|option|choice|solution|candidate)s?\s{0,3}:?\s{0,3}[(\[]?(?-i:[AB])\b",
    re.IGNORECASE | re.MULTILINE,
)
_OTHER = {"a": "b", "b": "a", "first": "second", "second": "first", "above": "below", "below": "above"}
_DEGREES = {1: "slightly better", 2: "better", 3: "much better"}


def swap_refs(text: str) -> str:
    """`text` as it reads when the two responses change places: A↔B, first↔second, above↔below.

    Only fixed mentions change ("Response A", "responses A and B", "better than B", "the first answer", "the answer
    above"); the case of the name is kept. Applied twice it gives `text` again.
    """
    return _MENTION.sub(_swapped, text)


def rewritable(text: str, shown: Sequence[str]) -> bool:
    """Whether `swap_refs` changes all names in `text` and nothing else.

    It does not where a response is called by a bare letter ("while B adds"), nor where the texts that were shown have
    options A and B and `text` speaks of an answer or an option by letter: which is meant cannot be told.
    """
    if _BARE.search(_MENTION.sub(" ", text)):
        return False
    named = any(not m[0].lower().startswith(("response", "than")) for m in _MENTION.finditer(text))
    return not (named and any(_OPTIONS.search(source) for source in shown))


def _swapped(match: re.Match[str]) -> str:
    text, start = match[0], match.start()
    for group in ("a", "a2", "than", "nth", "place", "place2"):
        name = match[group]
        if name is not None:
            at = match.start(group) - start
            text = text[:at] + _like(name, _OTHER[name.lower()]) + text[at + len(name) :]
            start += len(name) - len(_OTHER[name.lower()])  # later groups shift with the new length
    return text


def _like(old: str, new: str) -> str:
    return new.upper() if old.isupper() else new.capitalize() if old[0].isupper() else new


def statement(better: str, worse: str, strength: int | None) -> str:
    """The canonical sentence of a preference (HelpSteer2): `Response B is slightly better than Response A.`

    strength: 1 slightly, 2 or None plainly, 3 much.
    """
    return f"Response {better} is {_DEGREES.get(abs(strength or 2), 'better')} than Response {worse}."
