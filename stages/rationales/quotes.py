"""Quotes and copies: is what a rationale puts between quotation marks really there, and how much of it is its own?"""

from __future__ import annotations

import re
from collections.abc import Sequence

_SAME_LENGTH = str.maketrans("“”„«»‘’‚`−–—‐‑\u00a0\u2009\u202f\t", '"""""\'\'\'\'-----    ')
_EDGES = " \"'…\n\r"
_WORD = re.compile(r"\w+")
_MAX_QUOTE = 1000


def find_quote(quote: str, text: str) -> tuple[int, int] | None:
    """Where `quote` stands in `text` (start, end), blanks and case and the shape of quotation marks and dashes aside.

    None when it does not, or is empty. Surrounding quotation marks and ellipses are not part of a quote.
    """
    words = quote.translate(_SAME_LENGTH).strip(_EDGES).removesuffix("...").removeprefix("...").split()
    if not words or len(quote) > _MAX_QUOTE:
        return None
    pattern = r"\s+".join(map(re.escape, words))
    # Whole words only: "3" is no quote from "13".
    head, tail = (r"(?<!\w)" if words[0][0].isalnum() else ""), (r"(?!\w)" if words[-1][-1].isalnum() else "")
    found = re.search(head + pattern + tail, text.translate(_SAME_LENGTH), re.IGNORECASE)
    return None if found is None else found.span()


def copy_ratio(text: str, sources: Sequence[str]) -> float | None:
    """Share of the word trigrams of `text` that occur in a source (lower case); None below three words."""
    trigrams = _trigrams(text)
    if not trigrams:
        return None
    known = {t for source in sources for t in _trigrams(source)}
    return sum(t in known for t in trigrams) / len(trigrams)


def _trigrams(text: str) -> list[tuple[str, str, str]]:
    words = _WORD.findall(text.lower())
    return list(zip(words, words[1:], words[2:], strict=False))
