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

_PLAIN = re.compile(r"\$?(-?\d++(?:\.\d++)?)%?[.\s]*\Z", re.ASCII)
_DIGITS = r"(?:\d{1,3}(?:,\d{3})++(?![\d,])|\d++)"
NUMBER = re.compile(rf"(?<![\d.])[-+]?(?:{_DIGITS}(?:\.\d++)?|\.\d++)(?:[eE][-+]?\d++)?", re.ASCII)
_MIXED = re.compile(r"(-?)(\d{1,30})\s+(\d{1,30})\s*/\s*(\d{1,30})(?![\d./])")
_FRACTION = re.compile(r"(-?)()(\d{1,30})\s*/\s*(\d{1,30})(?![\d./])")
_LATEX_FRACTION = re.compile(r"(?<=\d)?\\[dtc]?frac\s*(?:\{\s*(-?\d+)\s*\}|(\d))\s*(?:\{\s*(\d+)\s*\}|(\d))")
_LATEX_TEXT = re.compile(r"\\(?:text|mbox|mathrm|textbf|mathbf|boldsymbol)\s*\{([^{}]*)\}")
_NOISE = re.compile(r"\\[,;!: ()\[\]]|\\(?:quad|displaystyle)\b|\^\s*\{?\\circ\}?|\\degree\b|[$€£`]|\*\*|__")
_SIGN = re.compile(r"^([-+])\s+(?=[\d.])")
_TAIL = 400
_MAX_ANSWER = 1000
# What may not follow a number that is to be the whole answer: an operator, a power, a variable, a clock time.
_GOES_ON = re.compile(
    r"\s*(?:[\^*×÷√\\{!]|/\s*[\d(]|[-+±]\s*[\d.(\\]|:\d|[a-zA-Z]{1,8}\d)|\s?[xyznXYZ]\b|[kKMabi]\b|\s*[-+±]\s*[a-z]\b"
)
_IS_PART = re.compile(r"[\^*/×÷√\\_({\[]\s*$|[\w.][-+]?$|[\w)}]\s*[-+]\s*$|\bnot\s+$|\\\w+\W*$")
_SCALE = re.compile(r"\s*(thousand|million|billion|trillion)\b", re.IGNORECASE)
_SCALES = {"thousand": 3, "million": 6, "billion": 9, "trillion": 12}
_CLAUSE = re.compile(r"[(\[;\n]|[.!?](?:\s|$)| because\b| since\b| as \b")
_UNICODE = str.maketrans("−–—‐‑﹣－\u00a0\u2009\u202f＄，．", "-------   $,.")
_MAX_EXPONENT = 400

_ONES = {
    "zero": 0, "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9,
    "ten": 10, "eleven": 11, "twelve": 12, "thirteen": 13, "fourteen": 14, "fifteen": 15, "sixteen": 16,
    "seventeen": 17, "eighteen": 18, "nineteen": 19,
}  # fmt: skip
_TENS = {
    "twenty": 20, "thirty": 30, "forty": 40, "fifty": 50, "sixty": 60, "seventy": 70, "eighty": 80, "ninety": 90,
}  # fmt: skip
_POWERS = {"thousand": 1000, "million": 10**6, "billion": 10**9}
_WORD = re.compile(r"[a-z]+")


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
    if plain := _PLAIN.match(answer):
        sign = "-" if plain[1][0] == "-" else ""
        whole, _, decimals = plain[1].lstrip("-").partition(".")
        return canonical(sign, whole, decimals)
    if len(answer) > _MAX_ANSWER:  # prose: only its first clause is read, and never a number cut in half
        answer = answer[:_MAX_ANSWER].rstrip("0123456789.,")
    text = _tidy(answer)
    found = NUMBER.search(text)
    if found is None:
        return number_in_words(text)
    if _IS_PART.search(text[max(0, found.start() - 8) : found.start()]):
        return None
    fraction = _MIXED.match(text, found.start()) or _FRACTION.match(text, found.start())
    rest = text[(fraction or found).end() :]
    if _GOES_ON.match(rest) or any(c.isdigit() for c in _CLAUSE.split(rest, maxsplit=1)[0]):
        return None
    if fraction is not None:
        return _fraction_value(fraction)
    scale = _SCALE.match(rest)
    return decimal_text(found[0], _SCALES[scale[1].lower()] if scale else 0)


def _tidy(answer: str) -> str:
    """Without typesetting and currency, `\\frac12` as 1/2, and only what stands after the last equals sign."""
    text = answer.translate(_UNICODE).replace("{,}", ",")
    if "\\" in text:
        text = _LATEX_TEXT.sub(r" \1", text.replace("\\$", "").replace("\\%", "%"))
        text = _LATEX_FRACTION.sub(r" \1\2/\3\4", text)
    text = _NOISE.sub(" ", text)
    tail = text.rpartition("=")[2]
    if tail is not text and any(c.isdigit() for c in tail):
        text = tail
    return _SIGN.sub(r"\1", text.strip())


def _fraction_value(match: re.Match[str]) -> str | None:
    sign, whole, numerator, denominator = match.groups()
    if not int(denominator):
        return None
    value = int(whole or 0) + Fraction(int(numerator), int(denominator))
    return canonical_fraction(-value if sign else value)


def number_in_words(text: str) -> str | None:
    """`twenty-one`, `three hundred and five` as digits; None when no or more than one number is named."""
    total = group = 0
    seen, last = False, ""
    for word in _WORD.findall(text[:200].lower()):
        if word in _ONES or word in _TENS:
            value = _ONES.get(word, 0) or _TENS.get(word, 0)
            if last and not (last in _TENS and 0 < value < 10) and last not in ("hundred", "and", *_POWERS):
                return None
            group += value
        elif word == "hundred" and seen:
            group *= 100
        elif word in _POWERS and seen:
            total, group = total + group * _POWERS[word], 0
        elif not (word == "and" and last in ("hundred", *_POWERS)):
            if seen and last:
                last = "other"
            continue
        seen, last = True, word
    return str(total + group) if seen else None


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
    that breaks off). None when there is no number."""
    tail = NUMBER.finditer(text, max(0, len(text) - _TAIL))
    found = last_of(tail) or last_of(NUMBER.finditer(text))
    if found is None:
        return None
    value = decimal_text(found[0])
    before = text[: found.start()].rstrip(" $")
    operand = before.endswith(tuple("+-*/×÷−x^")) or text.rfind("<<") > text.rfind(">>")
    return None if value is None else (value, not operand)
