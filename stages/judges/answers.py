"""The final answer of a text, and whether it equals the reference. Three answers: right, wrong, unreadable (None)."""

from __future__ import annotations

import functools
import re
from typing import Literal

from msgspec import Struct

from stages.judges.choices import last_choice, read_choice
from stages.judges.numbers import first_number, last_number, last_of, read_number, same_in_other_form, same_number
from stages.judges.texts import bare_text

Method = Literal["numbers", "latex", "choice", "exact"]

# The last of these marks the answer, unless a \boxed{} does. `A:` only at the start of a line: "NASA: 5" is no answer.
_MARKER = re.compile(
    r"""\#{4} | <answer> | ^[ \t>*_-]{0,6}A[*_]{0,2}:
    | \b[Aa](?:NSWER|nswer)[*_]{0,3}\s{0,3}[:=：]
    | \b(?:[Aa](?:NSWER|nswer)[*_]{0,3}|(?:correct|right|best|final)\s(?:option|choice))\s{1,3}
      (?:is|(?:would|should|must)\sbe)\b(?:\s(?:therefore|thus|then|hence|clearly)\b)?:?
      (?!\s{1,3}(?:based|found|obtained|derived|given|calculated|computed|shown|below|above)\b)""",
    re.MULTILINE | re.VERBOSE,
)
_BOXED = re.compile(r"\\(?:boxed|fbox)\s*(?=[{\w])")
_BARE_BOX = re.compile(r"\d+(?:\.\d+)?|\w")
_EDGES = ' \t\r*_`:="'
_ARROW = re.compile(r"[\s:]*(?:[-=]>|→)")
_NO_LINE = frozenset(("\\[", "\\(", "$", "$$"))  # opens a formula that stands on the next line
_LONE_LETTER = re.compile(r"\(?[A-J]\)?\.?\Z")
_COMMAND = re.compile(r"\\(?:text|mbox|mathrm|textbf|begin|end)\s*\{[^{}]*\}|\\[a-zA-Z]+|\bsqrt\b")
_RATIO = re.compile(r"\d\s*:\s*\d")  # 3:1 or 7:30, which math-verify reads as 3 and 7
_HUNDREDTH = re.compile(r"%|\bper ?cent\b|¢|\bcents?\b", re.IGNORECASE)
_AMOUNT = re.compile(r"(?!.*\bnot\b).*?[\d\\√π]", re.ASCII | re.DOTALL)
_WORD = re.compile(r"[a-zA-Z]{4,}")
_MATH = re.compile(r"[\\^_=+*/()\[\]{}<>|√π]|\d|\b[a-zA-Z]\s*-\s*[a-zA-Z]\b")
# A range, a list, a bound, two quantities: not equal to the one number that is known, and not plainly wrong either.
_UNSURE = re.compile(
    r"\d(?:[\s,;&~–—a-zA-Z-]|\\[,;:! ]|\\q?quad|\\text\s*\{[^{}]*\})++\d|[<>≤≥]|\\[gl](?:eq?|t)\b|\d\s?(?:[kKMB]\b|!)"
)
_REGEX_SYNTAX = re.compile(r"[\\^$*+?{}\[\]|()]")
_MAX_SHORT = 200  # characters; a longer text without a marker is prose, not an answer


class Answer(Struct, frozen=True, gc=False):
    """What was read. marked: it stood at a marker; else it is a short text as a whole or the last number of a longer
    one, and `result` says whether that reads as a result rather than as an operand of a sum that breaks off."""

    text: str
    marked: bool
    result: bool = True


class Reference(Struct, frozen=True, gc=False):
    """The known answer, ready to compare with: its text, how to compare, and its number where it is one."""

    text: str
    method: Method
    number: str | None = None


def marked_answer(text: str, marker: str | None = None) -> str | None:
    """The text after the last marker: the rest of its line, or the content of a box. None without a marker.

    marker: literal text or a regular expression (either reading may match); None for the usual ones: the last
    `\\boxed{}`, `#### x`, `Answer: x`, `the answer is x`, `A: x`.
    """
    if marker is not None:
        found_at = _last_end(text, marker)
        return None if found_at is None else _line_from(text, found_at)
    if "\\boxed" in text or "\\fbox" in text:
        return _boxed(text)
    last_line = text.rfind("\n", 0, len(text.rstrip())) + 1
    found = last_of(_MARKER.finditer(text, last_line))
    if found is None and last_line:
        found = last_of(_MARKER.finditer(text))
    return None if found is None else _line_from(text, found.end())


def _last_end(text: str, marker: str) -> int | None:
    if not _REGEX_SYNTAX.search(marker):
        at = text.rfind(marker)
        while at > 0 and marker[0].isalnum() and text[at - 1].isalnum():  # the A: of "NASA:" is none
            at = text.rfind(marker, 0, at)
        return None if at < 0 else at + len(marker)
    found = last_of(_marker(marker).finditer(text))
    return None if found is None else found.end()


@functools.cache
def _marker(marker: str) -> re.Pattern[str]:
    try:
        return re.compile(f"{re.escape(marker)}|{marker}", re.MULTILINE)
    except re.error:
        return re.compile(re.escape(marker))


def _line_from(text: str, start: int) -> str | None:
    """The rest of the line, or the next line that says something; a box inside it is opened."""
    for line in text[start : start + 4000].split("\n")[:4]:
        answer = _ARROW.sub("", line.partition("</answer>")[0], count=1).strip(_EDGES)
        if answer and answer not in _NO_LINE:
            return (_boxed(answer) or answer) if "boxed" in answer else answer
    return None


def _boxed(text: str) -> str | None:
    """Content of the last \\boxed{…}; None when its braces never close (a text that was cut)."""
    found = last_of(_BOXED.finditer(text))
    if found is None:
        return None
    start = found.end()
    if text[start : start + 1] != "{":
        bare = _BARE_BOX.match(text, start)
        return bare[0] if bare else None
    depth = 0
    for at in range(start, min(len(text), start + 4000)):
        depth += (text[at] == "{") - (text[at] == "}")
        if depth == 0:
            return text[start + 1 : at].strip()
    return None


def read_reference(text: str, method: str = "auto", marker: str | None = None) -> Reference | None:
    """The known answer in what the source gives: a plain answer, or a worked solution with a marker (`…#### 72`).

    None when it holds no answer that can be checked (prose without a marker; a number asked for and none there).
    """
    answer = marked_answer(text, marker)
    if answer is None:
        answer = text.strip()
        if marker is not None or not answer or (method == "auto" and len(answer) > _MAX_SHORT):
            return None
    answer = bare_text(answer)
    number = read_number(answer) if method in ("auto", "numbers", "latex") else None
    if method == "auto":
        method = _method_for(answer, number)
    if method == "numbers":
        return None if number is None else Reference(answer, "numbers", number)
    if method == "choice":
        letter = read_choice(answer)
        return None if letter is None else Reference(letter, "choice")
    return Reference(answer[:4000], "latex" if method == "latex" else "exact", number)


def _method_for(answer: str, number: str | None) -> Method:
    if _LONE_LETTER.match(answer):
        return "choice"
    if number is not None:
        return "numbers"
    return "latex" if looks_like_math(answer) else "exact"


def looks_like_math(answer: str) -> bool:
    """Whether an answer is a formula rather than words, a ratio or a time."""
    if len(answer) > 1000 or not _MATH.search(answer) or _RATIO.search(answer):
        return False
    return not _WORD.search(_COMMAND.sub("", answer))


def read_answer(text: str, reference: Reference, marker: str | None = None, fallback: bool = True) -> Answer | None:
    """The final answer of a candidate; None when there is nothing to read.

    Without a marker: a short text as a whole; for numbers, if `fallback`, the last number in the text; for a choice the
    option in brackets on which it settles.
    """
    answer = marked_answer(text, marker)
    if answer is not None:
        return Answer(answer, True)
    stripped = text.strip()
    short = 0 < len(stripped) <= _MAX_SHORT
    if reference.method == "choice":
        option = stripped if short and read_choice(stripped) is not None else last_choice(text[-_MAX_SHORT:])
        return None if option is None else Answer(option, False)
    if short and "\n" not in stripped:
        number = None if reference.number is None else first_number(stripped)
        if reference.number is None or (looks_like_math(stripped) if number is None else number[1]):
            return Answer(stripped, False)
        if number is not None and not stripped[0].isalpha():
            return None  # "9 at first. Then 72." and "72 (9 times 8)" begin alike
    last = last_number(text) if fallback and reference.number is not None else None
    return None if last is None else Answer(last[0], False, last[1])


def equal_numbers(answer: Answer, reference: Reference, tolerance: float) -> bool | None:
    """Whether the answer states the reference's number; None when it states no number, or states this one as a
    percentage or rounded.

    An unmarked operand of an unfinished calculation can be wrong but is never credited.
    """
    number = read_number(answer.text)
    if number is None or reference.number is None:
        return None
    equal = same_number(number, reference.number, tolerance)
    if equal:
        return True if answer.result else None
    hundredth = bool(_HUNDREDTH.search(answer.text)) != bool(_HUNDREDTH.search(reference.text))
    return None if same_in_other_form(number, reference.number, hundredth) else False


def needs_mathematics(answer: Answer, reference: Reference) -> bool:
    """Whether the two may be equal as formulas although no comparison of numbers could tell."""
    if not looks_like_math(answer.text):
        return False
    return reference.number is None or (bool(_AMOUNT.match(answer.text)) and read_number(answer.text) is None)


def is_plain_formula(answer: str) -> bool:
    """Whether a formula that does not equal a known number may be called wrong."""
    return _UNSURE.search(answer) is None


def equal_choice(answer: Answer, reference: Reference) -> bool | None:
    """Whether the answer names the reference's option; None when it names none."""
    letter = read_choice(answer.text)
    return None if letter is None else letter == reference.text
