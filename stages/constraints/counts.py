"""How many words, sentences, bullets … a text has: the lowest and the highest of the usual ways to count. Pure.

One of the ways is IFEval's own (google-research, instruction_following_eval), whose quirks are named where they matter.
"""

from __future__ import annotations

import re

from stages.constraints.family import Count

_WORD = re.compile(r"\w+")
_UNSPACED = re.compile(r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff]")  # Thai … Han
_STOP = re.compile(r"[.!?…]+[\"'”’)\]*_]*(?=\s|$)|[。！？]+")
_NO_STOP = re.compile(
    r"\b(?:Mr|Mrs|Ms|Dr|Prof|St|Sr|Jr|vs|etc|approx|Inc|Ltd|Co|No|Fig|[A-Za-z]|e\.g|i\.e|Ph\.D|\d+)\.(?=\s)",
    re.IGNORECASE,
)
_DIVIDER_LINE = re.compile(r"^[ \t]*\*\*\*[ \t]*$", re.MULTILINE)
_BULLET = re.compile(r"^[ \t]*[*+•-][ \t]+\S", re.MULTILINE)
_IFEVAL_BULLET = re.compile(r"^[ \t]*(?:\*[^*\n]|-).*$", re.MULTILINE)
_SPAN = re.compile(r"(?<![*\w])\*{1,3}(?=[^\s*])[^*\n]*(?<=[^\s*])\*{1,3}(?![*\w])")
_IFEVAL_SPAN = re.compile(r"\*([^\n*]*)\*")
_IFEVAL_BOLD = re.compile(r"\*\*([^\n*]*)\*\*")
_BRACKETS = re.compile(r"\[([^\n\[\]]*)\](\(?)")
_IFEVAL_BRACKETS = re.compile(r"\[.*?\]")


def spread(*counts: int) -> Count:
    """Several ways to count as a range."""
    return min(counts), max(counts)


def words(text: str) -> Count:
    """Runs of word characters ("don't" is two), or what blanks separate; unknown where words stand without blanks."""
    spaced = sum(_WORD.search(part) is not None for part in text.split())
    if not text.isascii() and _UNSPACED.search(text):
        return min(spaced, 1), len(text)
    return spread(len(_WORD.findall(text)), spaced)


def sentences(text: str) -> Count:
    """Stops in running text without abbreviations and numbers of lists, or line by line with them."""
    running = " ".join(text.split())
    protected = _NO_STOP.sub("x", running)
    by_line = sum([_sentences_of(line) for line in text.splitlines()])
    return spread(_sentences_of(protected), _sentences_of(running), by_line)


def _sentences_of(text: str) -> int:
    ends = [found.end() for found in _STOP.finditer(text)]
    rest = text[ends[-1] if ends else 0 :]
    return len(ends) + (_WORD.search(rest) is not None)


def divided(text: str) -> Count:
    """Paragraphs between `***`: on a line of its own, or anywhere; with or without empty ones between two dividers."""
    anywhere = text.split("***")
    on_lines = _DIVIDER_LINE.split(text)
    return spread(*[n for parts in (anywhere, on_lines) for n in (_filled(parts), _with_inner(parts))])


def _filled(parts: list[str]) -> int:
    return sum([bool(part.strip()) for part in parts])


def _with_inner(parts: list[str]) -> int:
    return len(parts) - sum([not part.strip() for part in {0: parts[0], len(parts) - 1: parts[-1]}.values()])


def bullets(text: str) -> Count:
    """List items; IFEval counts neither + nor •, but it counts `---` and every line that begins with `*word`."""
    return spread(len(_BULLET.findall(text)), len(_IFEVAL_BULLET.findall(text)))


def highlights(text: str) -> Count:
    """Emphasised spans; IFEval also counts what stands between a bullet's asterisk and the next one."""
    singles = sum([bool(span.strip("*").strip()) for span in _IFEVAL_SPAN.findall(text)])
    doubles = sum([bool(span.strip()) for span in _IFEVAL_BOLD.findall(text)])
    return spread(len(_SPAN.findall(text)), singles + doubles)


def placeholders(text: str) -> Count:
    """Bracketed names; IFEval also counts links, footnotes and boxes to tick."""
    named = [name for name, link in _BRACKETS.findall(text) if not link and re.search(r"[^\W\d_]{2}", name)]
    return spread(len(named), len(_IFEVAL_BRACKETS.findall(text)))


def sections(text: str, marker: str) -> Count:
    """`marker` and a number, at the beginning of a line or anywhere."""
    numbered = rf"{re.escape(marker.strip())}\s?\d+"
    return spread(len(re.findall(rf"^\W*{numbered}", text, re.MULTILINE)), len(re.findall(numbered, text)))


def capital_words(text: str) -> Count:
    """Words in capitals; with and without single letters ("I", "A"), and with U.S. as one word or two."""
    upper = [word for word in _WORD.findall(text) if word.isupper()]
    spaced = sum([part.isupper() for part in text.split()])
    return spread(len(upper), sum([len(word) > 1 for word in upper]), spaced)


def lines(text: str) -> Count:
    """Lines that are not blank."""
    n = sum([bool(line.strip()) for line in text.splitlines()])
    return n, n


def character(text: str, char: str) -> Count:
    """A letter in either case, or another character."""
    n = text.lower().count(char.lower())
    return n, n


def occurrences(text: str, word: str) -> Count:
    """As a whole word, or within words too; IFEval takes the word for a regular expression, which `C++` shows to be none."""
    if word.strip().lower() not in text.lower():  # most words: no pattern need be compiled
        return 0, 0
    literal = re.escape(word.strip())
    inside = len(re.findall(literal, text, re.IGNORECASE))
    whole = len(re.findall(rf"(?<!\w){literal}(?!\w)", text, re.IGNORECASE)) if inside else 0
    return whole, inside
