"""Answers in words: is a text the reference, another answer, or none that can be compared?"""

from __future__ import annotations

import re

from stages.judges.numbers import read_number

_ONLY_TEXT = re.compile(r"\$?\\(?:text|mbox|mathrm|textbf|mathbf)\s*\{([^{}]*)\}\$?\.?\Z")
_NUMERIC = re.compile(r"[-$\d.,%]{1,60}\Z", re.ASCII)
_MARKS = "\"'`*_$“”‘’ "
_YES_NO = frozenset(("yes", "no", "true", "false"))
_GIVES_UP = re.compile(
    r"\b(?:don['’]?t know|(?:not|n['’]t) (?:sure|certain|enough|possible|be determined)|cannot|can['’]?t|unable|unknown|"
    r"unclear|it depends|sorry|none of|n/?a)\b",
    re.IGNORECASE,
)


def bare_text(answer: str) -> str:
    """The content of `\\text{…}` where that is all there is; else the answer itself."""
    only = _ONLY_TEXT.match(answer)
    return only[1].strip() if only else answer


def equal_words(answer: str, marked: bool, reference: str, case_sensitive: bool = False) -> bool | None:
    """Whether the answer is the reference's text; None when it gives up, or is prose that says more or something else.

    Yes and no (true and false) are read from the first word. marked: the answer stood at a marker.
    """
    if equal_text(answer, reference, case_sensitive):
        return True
    said, known = _plain(answer, False), _plain(reference, False)
    first = said.split(maxsplit=1)[0].rstrip(",.;:!") if said else ""
    if known in _YES_NO:
        return first == known if first in _YES_NO else None
    if _GIVES_UP.search(said) or _within(known, said) or _within(said, known):
        return None
    return False if marked or len(said.split()) <= len(known.split()) + 3 else None


def _within(words: str, text: str) -> bool:
    return bool(re.search(rf"(?<!\w){re.escape(words)}(?!\w)", text))


def equal_text(answer: str, reference: str, case_sensitive: bool = False) -> bool:
    """Equality of two texts apart from case, blanks, surrounding marks and a final stop; equal numbers are equal."""
    a, b = _plain(answer, case_sensitive), _plain(reference, case_sensitive)
    if a == b or a.replace(" ", "") == b.replace(" ", ""):
        return True
    return bool(_NUMERIC.match(a) and _NUMERIC.match(b)) and read_number(a) == read_number(b) is not None


def _plain(text: str, case_sensitive: bool) -> str:
    words = " ".join(bare_text(text).split()).lstrip(_MARKS).rstrip(_MARKS + ".!")
    return words if case_sensitive else words.casefold()
