"""Numbers as people and models write them, read into one canonical text each: two numbers are equal iff the texts are.

Text and not int or Fraction: a million digits or an exponent of a billion then cost a comparison and no arithmetic.
"""

from __future__ import annotations

import math
import re
from collections import deque
from collections.abc import Iterable
from fractions import Fraction
from typing import TypeVar

from stages.judges.number_words import number_in_words

_PLAIN = re.compile(r"\$?(-?\d++(?:\.\d++)?)%?[.\s]*\Z", re.ASCII)
_DIGITS = r"(?:\d{1,3}(?:,\d{3})++(?![\d,])|\d++)"
NUMBER = re.compile(rf"(?<![\d.])[-+]?(?:{_DIGITS}(?:\.\d++)?|\.\d++)(?:[eE][-+]?\d++)?", re.ASCII)
_MIXED = re.compile(r"(-?)(\d{1,30})\s+(\d{1,30})\s*/\s*(\d{1,30})(?![\d/]|\.\d)")
_FRACTION = re.compile(r"(-?)()(\d{1,30})\s*/\s*(\d{1,30})(?![\d/]|\.\d)")
_LATEX_FRACTION = re.compile(r"(?<=\d)?\\[dtc]?frac\s*(?:\{\s*(-?\d+)\s*\}|(\d))\s*(?:\{\s*(\d+)\s*\}|(\d))")
_LATEX_TEXT = re.compile(r"\\(?:text|mbox|mathrm|textbf|mathbf|boldsymbol)\s*\{([^{}]*)\}")
_NOISE = re.compile(r"\\[,;!: ()\[\]]|\\(?:quad|displaystyle)\b|\^\s*\{?\\circ\}?|\\degree\b|[$€£`]|\*\*|__")
_SIGN = re.compile(r"^([-+])\s+(?=[\d.])")
_NEGATIVE = re.compile(r"\b(?:negative|minus)\s+(?=\$?[\d.])", re.IGNORECASE)
_THOUSANDS = re.compile(r"(?<=\d)(?:,?\\[,;!]|\{,\}|[\u00a0\u2009\u202f])(?=\d{3}(?!\d))")
_POWER_OF_TEN = re.compile(
    r"(?:(?<=\d)\s*(?:\\times|\\cdot|[×x*·])\s*|\A\s*)10\s*\^\s*(?:\{\s*([-−]?\d{1,3})\s*\}|([-−]?\d{1,3}))(?![\d.])"
)
_UNIT_POWER = re.compile(
    r"(?<![a-zA-Z\\])((?:[kmcd]?m|in|inch(?:es)?|ft|feet|foot|yd|yards?|mi|miles?|units?|[a-z]{0,5}met(?:er|re)s?|s)\.?)"
    r"\s?\^\s?(?:[23]|\{\s?-?[23]\s?\})(?!\d)"
)
_TAIL = 400
_MAX_ANSWER = 1000
# What may not follow a number that is to be the whole answer: an operator, a power, a variable, a clock time.
_GOES_ON = re.compile(
    r"\s*(?:[\^*×÷√\\{!]|/\s*[\d(]|[-+±]\s*[\d.(\\]|:\d|[a-zA-Z]{1,8}\d|dozen)|\s?[xyznXYZ]\b|[kKMabi]\b"
    r"|\s*[-+±]\s*[a-z]\b"
)
_IS_PART = re.compile(
    r"[\^*/×÷√\\_({\[]\s*$|[\w.][-+]?$|[\w)}]\s*[-+]\s*$|\\\w+\W*$|[<>≤≥]\s*$"
    r"|\b(?:not|than|least|most|over|under|above|below|between)\s+$",
    re.IGNORECASE,
)
_SCALE = re.compile(r"\s*(hundred|thousand|million|billion|trillion)\b", re.IGNORECASE)
_SCALES = {"hundred": 2, "thousand": 3, "million": 6, "billion": 9, "trillion": 12}
_CLAUSE = re.compile(r"[(\[;\n]|[.!?](?:\s|$)|,? (?:because|since|as|which)\b")
_UNICODE = str.maketrans("−–—‐‑﹣－\u00a0\u2009\u202f＄，．", "-------   $,.")
_VULGAR = {
    ord(sign): f" {n}/{d}" for sign, n, d in zip("½⅓⅔¼¾⅕⅖⅗⅘⅙⅚⅛⅜⅝⅞", "112131234151357", "233445555668888", strict=True)
}
_UNFINISHED = re.compile(r"\s*[-+*/×÷=]\s*\Z")
_LAST_FRACTION = re.compile(r"(-?)(?:(\d{1,30})\s+)?(\d{1,30})/(\d{1,30})\Z")
_MAX_EXPONENT = 400

T = TypeVar("T")


def last_of(items: Iterable[T]) -> T | None:
    """The last item, None when there is none."""
    final = deque(items, maxlen=1)
    return final[0] if final else None


def canonical(sign: str, whole: str, fraction: str = "", exponent: int = 0) -> str | None:
    """The one text of a decimal number: no leading or trailing zeros, `-0` is `0`. None for an exponent beyond 400."""
    if exponent:
        if abs(exponent) > _MAX_EXPONENT:
            return None
        if exponent > 0:
            fraction = fraction.ljust(exponent, "0")
            whole, fraction = whole + fraction[:exponent], fraction[exponent:]
        else:
            whole = whole.rjust(-exponent, "0")
            whole, fraction = whole[:exponent], whole[exponent:] + fraction
    whole, fraction = whole.lstrip("0"), fraction.rstrip("0")
    text = f"{whole or '0'}.{fraction}" if fraction else whole or "0"
    return f"-{text}" if sign == "-" and text != "0" else text


def canonical_fraction(value: Fraction) -> str:
    """A fraction as a decimal where that is exact, else as `p/q` in lowest terms."""
    rest, twos, fives = value.denominator, 0, 0  # exact as a decimal iff nothing but twos and fives
    while rest % 2 == 0:
        rest, twos = rest // 2, twos + 1
    while rest % 5 == 0:
        rest, fives = rest // 5, fives + 1
    if rest != 1:
        return f"{value.numerator}/{value.denominator}"
    places = max(twos, fives)
    digits = str(abs(value.numerator) * 10**places // value.denominator)
    shifted = canonical("-" if value < 0 else "", digits, "", -places)
    return shifted if shifted is not None else f"{value.numerator}/{value.denominator}"


def decimal_text(number: str, scale: int = 0) -> str | None:
    """Canonical text of one literal matched by NUMBER, times ten to the `scale`."""
    mantissa, _, exponent = number.replace(",", "").lower().partition("e")
    if len(exponent) > 6:
        return None
    sign = mantissa[0] if mantissa[0] in "+-" else ""
    whole, _, fraction = mantissa.lstrip("+-").partition(".")
    return canonical(sign, whole, fraction, int(exponent or 0) + scale)


def read_number(answer: str) -> str | None:
    """The number that a final answer states, in canonical form; None when it states no single number.

    Units, currency, percent signs, thousands commas, simple fractions, mixed numbers and number words are understood.
    An expression, a range, a list or two quantities are not one number.
    """
    first = first_number(answer)
    return None if first is None else first[0]


def first_number(answer: str) -> tuple[str, bool] | None:
    """As read_number, and whether no other number follows in a later clause (`18 (which is 9*2)`)."""
    if plain := _PLAIN.match(answer):
        sign = "-" if plain[1][0] == "-" else ""
        whole, _, decimals = plain[1].lstrip("-").partition(".")
        return _with(canonical(sign, whole, decimals), True)
    if len(answer) > _MAX_ANSWER:  # prose: only its first clause is read, and never a number cut in half
        answer = answer[:_MAX_ANSWER].rstrip("0123456789.,")
    text = _tidy(answer)
    found = NUMBER.search(text)
    if found is None:
        return _with(number_in_words(text), True)
    if _IS_PART.search(text[max(0, found.start() - 8) : found.start()]):
        return None
    fraction = _MIXED.match(text, found.start()) or _FRACTION.match(text, found.start())
    rest = text[(fraction or found).end() :]
    if _GOES_ON.match(rest) or any(c.isdecimal() for c in _CLAUSE.split(rest, maxsplit=1)[0]):
        return None
    alone = not any(c.isdecimal() for c in rest)
    if fraction is not None:
        return _with(_fraction_value(fraction), alone)
    return _with(_scaled(found[0], rest), alone)


def _with(number: str | None, alone: bool) -> tuple[str, bool] | None:
    return None if number is None else (number, alone)


def _scaled(number: str, rest: str) -> str | None:
    scale = _SCALE.match(rest)
    return decimal_text(number, _SCALES[scale[1].lower()] if scale else 0)


def _tidy(answer: str) -> str:
    """Without typesetting and currency, `\\frac12` as 1/2, and only what stands after the last equals sign."""
    text = _untypeset(answer)
    tail = text.rpartition("=")[2]
    if tail is not text and any(c.isdecimal() for c in tail):
        text = tail
    return _SIGN.sub(r"\1", text.strip())


def _untypeset(answer: str) -> str:
    text = _THOUSANDS.sub(",", answer).translate(_UNICODE)
    if "\\" in text:
        text = _LATEX_TEXT.sub(r" \1", text.replace("\\$", "").replace("\\%", "%"))
        text = _LATEX_FRACTION.sub(r" \1\2/\3\4", text)
    if "^" in text:
        text = _UNIT_POWER.sub(r"\1", _POWER_OF_TEN.sub(_exponent, text))
    if not text.isascii():
        text = text.translate(_VULGAR)
    return _NEGATIVE.sub("-", _NOISE.sub(" ", text))


def _exponent(match: re.Match[str]) -> str:
    """`1.5 \\times 10^{3}` as 1.5e3, a bare `10^3` as 1e3."""
    return f"{'' if match.start() else '1'}e{(match[1] or match[2]).replace('−', '-')}"


def _fraction_value(match: re.Match[str]) -> str | None:
    sign, whole, numerator, denominator = match.groups()
    if not int(denominator):
        return None
    value = int(whole or 0) + Fraction(int(numerator), int(denominator))
    return canonical_fraction(-value if sign else value)


def same_number(a: str, b: str, tolerance: float = 0.0) -> bool:
    """Whether two canonical numbers are equal, or differ by at most `tolerance` times the larger of both and 1."""
    if a == b:
        return True
    if tolerance <= 0:
        return False
    x, y = _as_float(a), _as_float(b)
    return math.isfinite(x) and math.isfinite(y) and abs(x - y) <= tolerance * max(1.0, abs(x), abs(y))


def _as_float(number: str) -> float:
    numerator, _, denominator = number.partition("/")
    return float(numerator) / float(denominator or 1)


def last_number(text: str) -> tuple[str, bool] | None:
    """The last number in a text that marks no answer, and whether it reads as a result (not as an operand of a sum
    that breaks off). None when there is no number, or it is part of a formula."""
    tail = _untypeset(text[-_TAIL:])
    if len(text) > _TAIL:
        tail = tail.partition(" ")[2]  # its first word may be cut
    found = last_of(NUMBER.finditer(tail))
    if found is None:
        tail = text
        found = last_of(NUMBER.finditer(text))
    if found is None:
        return None
    before, after = tail[: found.start()].rstrip(" $"), tail[found.end() :]
    if before.endswith(("{", "^", "_", "√")) or _UNFINISHED.match(after) or _GOES_ON.match(after):
        return None
    if fraction := _LAST_FRACTION.search(tail[: found.end()][-100:]):
        value = _fraction_value(fraction)
        return None if value is None else (value, True)
    value = _scaled(found[0], after)
    operand = before.endswith(tuple("+-*/×÷−x")) or text.rfind("<<") > text.rfind(">>")
    return None if value is None else (value, not operand)


def same_in_other_form(a: str, b: str, hundredth: bool = False) -> bool:
    """Whether two different canonical numbers are one: rounded (1/3 and 0.333), or, where `hundredth` says that just
    one of them counts in hundredths, as 0.5 and 50 (%)."""
    if max(len(a), len(b)) > 40:
        return False
    x, y = Fraction(a), Fraction(b)
    if hundredth and (x == 100 * y or y == 100 * x):
        return True
    if ("/" in a) == ("/" in b):
        return False
    exact, decimal, written = (x, y, b) if "/" in a else (y, x, a)
    places = len(written.partition(".")[2])
    cut = abs(exact) - abs(decimal)
    return places >= 2 and exact * decimal > 0 and -Fraction(1, 2) <= cut * 10**places < 1
