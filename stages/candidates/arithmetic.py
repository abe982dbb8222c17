"""One error put into the arithmetic of a text, and carried on faithfully from there. Pure, without a model.

Only equations that hold are touched (`a op b = c`, exact in fractions), so each error is one by arithmetic or by copying.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import Literal, NamedTuple

ErrorType = Literal["result", "operand", "operator", "final"]
"""A wrong result; a number taken wrongly; another operation (both computed rightly from there); a miscopied answer."""

_NUMBER = r"(?:[0-9]{1,3}(?:,[0-9]{3}){1,3}|[0-9]{1,12})(?:\.[0-9]{1,6})?"  # longer ones are no arithmetic of a reader
_ALONE = re.compile(rf"(?<![\w.,]){_NUMBER}(?![\w]|[.,]\d)")
_EQUATION = re.compile(
    rf"(?<![\w.,])(?<![-+*/x×·÷−–(]\s)(?<![-+*/x×·÷−–(])"
    rf"(?P<a>{_NUMBER})\s?(?P<op>[-+*/x×·÷−–])\s?(?P<b>{_NUMBER})\s?=\s?[$€£]?(?P<c>{_NUMBER})(?![\w%]|[.,]\d)"
)
_SIGNS = {"+": "+", "-": "-−–", "*": "*x×·", "/": "/÷"}
_MOST = 10**9  # larger numbers are left alone


class Slip(NamedTuple):
    """The text with the error: its type, what stood there and what stands there now, and at which character."""

    text: str
    error: ErrorType
    before: str
    after: str
    start: int


class _Equation(NamedTuple):
    start: int
    end: int
    spans: tuple[tuple[int, int], ...]  # of a, op, b, c
    a: Fraction
    op: str  # as written
    b: Fraction
    c: Fraction


def slips(text: str, errors: Sequence[ErrorType], draw: random.Random) -> Iterator[Slip]:
    """Ways to put one error into `text`, in drawn order; each ends with another last number than `text`."""
    true = [e for e in map(_equation, _EQUATION.finditer(text)) if _value(e.a, e.op, e.b) == e.c]
    ways: list[tuple[ErrorType, int]] = [(kind, i) for kind in errors for i in range(len(true)) if kind != "final"]
    ways += [("final", -1)] if "final" in errors and true else []
    draw.shuffle(ways)
    ends = _last(text)
    for kind, at in ways:
        slip = _final(text, true[-1].end, draw) if kind == "final" else _broken(text, true[at], kind, draw)
        if slip is not None and _last(slip.text) != ends:
            yield slip


def _equation(found: re.Match[str]) -> _Equation:
    a, b, c = (_read(found[name]) for name in "abc")
    spans = tuple([found.span(name) for name in ("a", "op", "b", "c")])
    return _Equation(found.start(), found.end(), spans, a, found["op"], b, c)


def _broken(text: str, e: _Equation, kind: ErrorType, draw: random.Random) -> Slip | None:
    """The equation with the error in it and what follows from it; None where that cannot be written."""
    a, op, b, c = e.a, e.op, e.b, e.c
    if kind == "result":
        c = _near(c, draw)
    elif kind == "operand":
        b = _near(b, draw)
    else:
        op = draw.choice([sign for sign in _signs(text, op) if sign != op])
    result = c if kind == "result" else _value(a, op, b)
    if result is None or result == e.c:
        return None
    wrong = [_write(n, text[slice(*span)]) for n, span in zip((a, b, result), (e.spans[0], *e.spans[2:]), strict=True)]
    if any(n is None for n in wrong):
        return None
    pieces = [text[e.start : e.end], _joined(text, e, (wrong[0] or "", op, wrong[1] or "", wrong[2] or ""))]
    rest = _carried(text[e.end :], {e.c: result})
    if rest is None:
        return None
    return Slip(text[: e.start] + pieces[1] + rest, kind, pieces[0], pieces[1], e.start)


def _joined(text: str, e: _Equation, parts: Sequence[str]) -> str:
    """The equation with other numbers and sign, its blanks kept."""
    made, at = "", e.start
    for (start, end), part in zip(e.spans, parts, strict=True):
        made, at = made + text[at:start] + part, end
    return made + text[at : e.end]


def _carried(rest: str, changed: dict[Fraction, Fraction]) -> str | None:
    """`rest` with every later use of a changed number changed, results computed again; None where one has no number."""
    made, at = "", 0
    while at < len(rest):
        equation = _EQUATION.search(rest, at)
        upto = equation.start() if equation else len(rest)
        plain = _replaced(rest[at:upto], changed)
        if plain is None or equation is None:
            return None if plain is None else made + plain
        e = _equation(equation)
        a, b = changed.get(e.a, e.a), changed.get(e.b, e.b)
        result = e.c if (a, b) == (e.a, e.b) else _value(a, e.op, b)
        numbers = [(a, e.spans[0]), (b, e.spans[2]), (result, e.spans[3])]
        parts = [None if n is None else _write(n, rest[slice(*span)]) for n, span in numbers]
        if any(part is None for part in parts):
            return None
        if result is not None and result != e.c:
            changed[e.c] = result
        made += plain + _joined(rest, e, (parts[0] or "", e.op, parts[1] or "", parts[2] or ""))
        at = e.end
    return made


def _replaced(text: str, changed: dict[Fraction, Fraction]) -> str | None:
    made, at = "", 0
    for found in _ALONE.finditer(text):
        if (other := changed.get(_read(found[0]))) is None:
            continue
        if (written := _write(other, found[0])) is None:
            return None
        made, at = made + text[at : found.start()] + written, found.end()
    return made + text[at:]


def _final(text: str, after: int, draw: random.Random) -> Slip | None:
    """The last number behind the equations miscopied."""
    found = list(_ALONE.finditer(text, after))
    if not found:
        return None
    last = found[-1]
    wrong = _write(_near(_read(last[0]), draw), last[0])
    if wrong is None:
        return None
    return Slip(text[: last.start()] + wrong + text[last.end() :], "final", last[0], wrong, last.start())


def _near(number: Fraction, draw: random.Random) -> Fraction:
    """A number that people and small models write by mistake for `number`: off by one, two or ten, or digits swapped."""
    ways = [number + d for d in (-10, -2, -1, 1, 2, 10)]
    if number.denominator == 1 and len(digits := str(number.numerator)) > 1 and digits[-1] != digits[-2]:
        ways.append(Fraction(int(digits[:-2] + digits[-1] + digits[-2])))
    return draw.choice([way for way in ways if 0 < way != number])


def _signs(text: str, op: str) -> list[str]:
    """The four operations as the equations of `text` write them; where it has none of a kind, in the style of `op`."""
    used = [op, *[found["op"] for found in _EQUATION.finditer(text)]]
    usual = dict(zip("+-*/", "+−×÷" if op in "×÷·−" else "+-*/", strict=True))
    return [next((sign for sign in used if sign in _SIGNS[kind]), usual[kind]) for kind in _SIGNS]


def _value(a: Fraction, op: str, b: Fraction) -> Fraction | None:
    kind = next(name for name, signs in _SIGNS.items() if op in signs)
    if kind == "/":
        return a / b if b else None
    return a + b if kind == "+" else a - b if kind == "-" else a * b


def _read(number: str) -> Fraction:
    return Fraction(number.replace(",", ""))


def _write(number: Fraction, like: str) -> str | None:
    """`number` as `like` is written: thousands with commas, decimals only where `like` or an equal one has them."""
    if not 0 <= number <= _MOST:
        return None
    places = len(like.partition(".")[2])
    if (number * 10**places).denominator != 1:
        return None
    whole, rest = divmod(int(number * 10**places), 10**places)
    return (f"{whole:,}" if "," in like else str(whole)) + (f".{rest:0{places}d}" if places else "")


def _last(text: str) -> Fraction | None:
    found = _ALONE.findall(text)
    return _read(found[-1]) if found else None
