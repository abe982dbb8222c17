"""Arithmetic and dates that a rationale states, recomputed exactly (spec judges C2, V6).

A claim is a calculation with its result: `39 - 31 = 8`, `3 x 5 is 15`. No claim: a number without a calculation ("is
15, not 12"), a part of something longer (`2x + 3 = 7`, `x + 3 + 4 = 9`), and a faulty equation that the rationale only
reports: one that stands verbatim in a response and is called wrong. Passing proves little; failing is proof.
"""

from __future__ import annotations

import datetime
import itertools
import re
from collections.abc import Iterator, Sequence
from fractions import Fraction

from msgspec import Struct

MAX_CHARS = 6_000
MAX_CLAIMS = 100
_NUMBER = r"\d{1,3}(?:,\d{3})++(?:\.\d++)?|\d++(?:\.\d++)?|\.\d++"
_OPERAND = rf"[(]{{0,4}}[-−]?[$€£]?(?:{_NUMBER})%?[)]{{0,4}}"
_OPERATOR = r"(?:\s{0,3}[-+−–*×÷/·]\s{0,3}|\s{0,3}[xX]\s{0,3}(?=[$(\d])|(?<=%)\sof\s)"
_SIDE = re.compile(rf"{_OPERAND}(?:{_OPERATOR}{_OPERAND})*+", re.ASCII)
_TOKEN = re.compile(rf"(?P<number>{_NUMBER})|(?P<mark>[-+*/()%]|of)", re.ASCII)
_LESS_PERCENT = re.compile(r"[-+−–][^*×/÷]*%")  # "100 - 20%" may mean 80: no claim
_EQUALS = re.compile(r"\s{0,3}(?:==?|≈|→)\s{0,3}\Z")
_IS = re.compile(
    r"\s{1,3}(?:is|equals|is equal to|gives|makes|should be|must be|would be|comes to)\s{1,3}\Z", re.IGNORECASE
)
_BEFORE = re.compile(r"(?:[-+−–*×÷/·^√(=<>]|\b(?:of|times|plus|minus|by|over|x|X)|[A-Za-z_\d.)])\s{0,3}\Z")
_ADJACENT = re.compile(r"[\w.,)]\Z")
_AFTER = re.compile(
    r"\s{0,3}(?:[\^*×÷+√!]|/\s?[\d(a-z]\b|[-−–]\s?[a-z(]\b|remainder|r\s?\d|mod)|[xyznXYZ]\b|\.?\d", re.IGNORECASE
)
_PLAIN = str.maketrans("−–×÷·", "--*/*")
_SAYS_WRONG = re.compile(
    r"\b(?:wrong(?:ly)?|incorrect(?:ly)?|false(?:ly)?|errs?|errors?|mistak\w+|mis(?:calculat|comput)\w+|inaccurate\w*|"
    r"invalid|should (?:be|have)|instead|not (?:right|correct|true)|isn't|but|rather than|slips?|faulty|"
    r"mis(?:reads?|counts?|adds?))\b|, not\b",
    re.IGNORECASE,
)
_SAYS_RIGHT = re.compile(r"\b(?:correctly|rightly|(?:is|are) (?:right|correct|true)|accurately)\b", re.IGNORECASE)
_SENTENCE_END = re.compile(r"[.!?;](?=\s|\Z)|\n")
_QUOTED = re.compile(r"[\"“]([^\"“”\n]{1,300})[\"”]|'([^'\n]{3,300})'(?!\w)|`([^`\n]{1,300})`")
_MONTHS = "january february march april may june july august september october november december".split()
_DAYS = "monday tuesday wednesday thursday friday saturday sunday".split()
_DATE = re.compile(
    rf"\b({'|'.join(_MONTHS)})\s(\d{{1,2}})(?:st|nd|rd|th)?,?\s(\d{{4}})"
    rf"\s(?:is|was|falls on|fell on|will be)\s(?:a\s)?({'|'.join(_DAYS)})\b",
    re.IGNORECASE,
)


class Claim(Struct, frozen=True, gc=False):
    """A statement that can be recomputed, where it stands in the text, and whether it holds."""

    text: str
    start: int
    true: bool


def find_claims(text: str, responses: Sequence[str] = ()) -> list[Claim]:
    """All claims in `text`. responses: what is quoted from them in quotation marks or reported as wrong is none."""
    text = text[:MAX_CHARS]
    shown = [_squeezed(r) for r in responses]
    quotes = [(m.start(), m.end()) for m in _QUOTED.finditer(text) if _in_any(next(g for g in m.groups() if g), shown)]
    claims = []
    for claim in itertools.islice(itertools.chain(_equations(text), _dates(text)), MAX_CLAIMS):
        quoted = any(start <= claim.start < end for start, end in quotes)
        if not quoted and (claim.true or not _only_reported(claim, text, shown)):
            claims.append(claim)
    return claims


def _squeezed(text: str) -> str:
    return re.sub(r"[\s$,]+", "", text.translate(_PLAIN)).lower().replace("x", "*")


def _in_any(quote: str, shown: Sequence[str]) -> bool:
    squeezed = _squeezed(quote)
    return any(squeezed in response for response in shown)


def _only_reported(claim: Claim, text: str, shown: Sequence[str]) -> bool:
    """Whether a false equation is a response's own and the rationale says so: in its sentence, or right after it."""
    if not _in_any(claim.text, shown):
        return False
    window = max(0, claim.start - 300)
    start = max([m.end() for m in _SENTENCE_END.finditer(text, window, claim.start)], default=window)
    ends = _SENTENCE_END.search(text, claim.start + len(claim.text))
    end = ends.start() if ends else len(text)
    sentence = text[start:end]
    if _SAYS_WRONG.search(sentence):
        return True
    return not _SAYS_RIGHT.search(sentence) and bool(_SAYS_WRONG.search(text[end : end + 60]))


def _equations(text: str) -> Iterator[Claim]:
    """Chains of sides joined by equality, at least one of which is a calculation."""
    sides = list(_SIDE.finditer(text))
    at = 0
    while at < len(sides):
        last = at
        while last + 1 < len(sides) and _joined(text, sides[last], sides[last + 1]):
            last += 1
        if last > at:
            start, end = sides[at].start(), sides[last].end()
            true = None if _is_part(text, start, end) else _holds(text, sides[at : last + 1])
            if true is not None:
                yield Claim(text[start:end], start, true)
        at = last + 1


def _joined(text: str, left: re.Match[str], right: re.Match[str]) -> bool:
    between = text[left.end() : right.start()]
    if len(between) > 20:
        return False
    # "step 2 is 3 + 4 = 7": a word joins only a calculation to its result
    return bool(_EQUALS.match(between)) or (
        bool(_IS.match(between)) and _calculates(left[0]) and not _calculates(right[0])
    )


def _calculates(side: str) -> bool:
    return len(_TOKEN.findall(side)) > 1 and any(c in side.lstrip("(-") for c in "+-−–*×÷/·xXo")


def _is_part(text: str, start: int, end: int) -> bool:
    """Whether the chain is cut out of something longer whose other part is not understood."""
    before = text[max(0, start - 12) : start]
    line = text[text.rfind("\n", 0, start) + 1 : start].strip()
    if _AFTER.match(text[end : end + 12]):
        return True
    if line in ("-", "*", "+", "–"):  # the mark of a list
        return False
    if _ADJACENT.search(before):
        return True
    found = _BEFORE.search(before)
    if found is None:
        return False
    head = found[0].strip()
    return head in ("-", "+", "−", "–", "*", "×", "÷", "/", "·", "^", "√") or head.lower() in (
        "of", "times", "plus", "minus", "by", "over", "x",
    )  # fmt: skip


def _holds(text: str, sides: Sequence[re.Match[str]]) -> bool | None:
    """Whether all sides are equal, printed roundings allowed; None when nothing is calculated or unreadable."""
    if not any(_calculates(m[0]) for m in sides) or any(len(m[0]) > 200 or _LESS_PERCENT.search(m[0]) for m in sides):
        return None
    about = "≈" in text[sides[0].start() : sides[-1].end()]
    values = [_value(m[0]) for m in sides]
    for left, right, side in zip(values, values[1:], sides[1:], strict=False):
        if left is None or right is None:
            return None
        if not any(_equal(a, b, side[0], about) for a in left for b in right):
            return False
    return True


def _equal(value: Fraction, stated: Fraction, written: str, about: bool) -> bool:
    if value == stated:
        return True
    if about:
        return abs(value - stated) <= abs(stated) / 20
    places = len(written.rstrip(")%").partition(".")[2]) if not _calculates(written) else 0
    if not places:
        return False
    unit = Fraction(1, 10**places) * (Fraction(1, 100) if "%" in written else 1)
    endless = bool(10**200 % value.denominator)  # 2/3 = 0.66 is cut, not rounded
    return abs(value - stated) <= unit / 2 or (places > 1 and endless and abs(value - stated) < unit)


def _value(side: str) -> tuple[Fraction, ...] | None:
    """The readings of one side: `75%` is 0.75 or, as a result, 75. None when it is no proper expression."""
    side = side.translate(_PLAIN).replace("x", "*").replace("X", "*")
    while side.startswith("(") and side.count("(") > side.count(")"):
        side = side[1:]
    while side.endswith(")") and side.count(")") > side.count("("):
        side = side[:-1]
    tokens = [m["number"] or m["mark"] for m in _TOKEN.finditer(side)]
    if any(len(t) > 30 for t in tokens):
        return None
    try:
        value = _Expression(tokens).whole()
    except (ArithmeticError, ValueError, IndexError):
        return None
    return (value, value * 100) if tokens[-1] == "%" and not _calculates(side) else (value,)


class _Expression:
    """Exact value of `+ - * /`, parentheses and percent, by precedence."""

    def __init__(self, tokens: Sequence[str]) -> None:
        self.tokens = [*tokens, ""]
        self.at = 0

    def whole(self) -> Fraction:
        value = self._sum()
        if self.tokens[self.at]:
            raise ValueError("not one expression")
        return value

    def _sum(self) -> Fraction:
        value = self._product()
        while (mark := self.tokens[self.at]) in ("+", "-"):
            self.at += 1
            right = self._product()
            value = value + right if mark == "+" else value - right
        return value

    def _product(self) -> Fraction:
        value = self._operand()
        while (mark := self.tokens[self.at]) in ("*", "/", "of"):
            self.at += 1
            right = self._operand()
            value = value / right if mark == "/" else value * right
        return value

    def _operand(self) -> Fraction:
        token = self.tokens[self.at]
        self.at += 1
        if token == "-":
            return -self._operand()
        if token == "(":
            value = self._sum()
            if self.tokens[self.at] != ")":
                raise ValueError("unclosed")
            self.at += 1
        else:
            value = Fraction(token.replace(",", ""))
        if self.tokens[self.at] == "%":
            self.at += 1
            value /= 100
        return value


def _dates(text: str) -> Iterator[Claim]:
    for m in _DATE.finditer(text):
        month = _MONTHS.index(m[1].lower()) + 1
        try:
            day = datetime.date(int(m[3]), month, int(m[2])).weekday()
        except ValueError:
            day = -1  # no such day: false
        yield Claim(m[0], m.start(), day == _DAYS.index(m[4].lower()))
