"""Options of a multiple-choice question: which letter does an answer name? None is better than a guess."""

from __future__ import annotations

import re

_LETTER = r"[(\[{<*_$`\"']{0,3}([A-Ja-j])(?![\w'’])[)\]}>*_$`\"'.:]{0,3}"
_CHOICE = re.compile(
    rf"\s*\$?(?:\\(?:text|mathrm|textbf|mathbf)\s*\{{\s*)?(?:(?:option|choice|answer)\s+)?{_LETTER}", re.IGNORECASE
)
_OTHER_CHOICE = re.compile(rf"\s*(?:or|and|,|/|&)\s*(?:(?:option|choice)\s+)?{_LETTER}(?:\s*$|\s*[.,])")
_BRACKETED = re.compile(r"\(([A-J])\)")
_SAYS_WHY = re.compile(r"(?:because|since|as|is)\b")
_DENIED = re.compile(
    r"\W*(?:is|are|was|seems|looks)(?:\s+not\b|n['’]t\b|\s+(?:wrong|incorrect|false|impossible|out)\b)"
)
# A clause that settles on an option, and what takes that back.
_SETTLES = re.compile(
    r"\b(?:so|hence|thus|therefore|answer|correct|right|choose|pick|select|choice|go with|must be|it is|is it)\b",
    re.IGNORECASE,
)
_DENIES = re.compile(
    r"\b(?:not|cannot|never|neither|nor|or|and|both|maybe|perhaps|wrong|incorrect|false|unable|rules? out|ruled out|"
    r"eliminat\w*|unlikely|if)\b|n['’]t\b|\?",
    re.IGNORECASE,
)
_CLAUSE = re.compile(r"[,.;:!\n](?=\s|\Z)|(?<=\?)\s|\bbut\b")


def read_choice(answer: str) -> str | None:
    """The option letter an answer names (`C`, `(c)`, `C. 5 apples`, `option C`); None for none or for two of them."""
    found = _CHOICE.match(answer)
    if found is None or _OTHER_CHOICE.match(answer, found.end()):
        return None
    after = answer[found.end() :]
    rest = after.strip(" ,.;:!")
    if _DENIED.match(after) or "?" in after[:2] or _another_option(after):
        return None
    set_off = found[0][-1] in ")]}.:*_`\"'" or found[0].lstrip()[:1] in "([{"
    if rest and not set_off and (found[1] in "AI" or found[1].islower()) and not _SAYS_WHY.match(rest):
        return None  # "A man …", "I think …", "a mix": a word and no option
    return found[1].upper()


def _another_option(after: str) -> bool:
    """Whether the text goes through the options instead of naming one: `(A) says x. (B) says y.`"""
    return len(set(_BRACKETED.findall(after))) > 1


def last_choice(text: str) -> str | None:
    """The option in brackets on which an answer without a marker settles in its last clauses; None for none."""
    for clause in reversed(_CLAUSE.split(text)):
        options: set[str] = set(_BRACKETED.findall(clause))
        if len(options) == 1 and _SETTLES.search(clause) and not _DENIES.search(clause):
            return options.pop()
        if options:
            return None
    return None
