"""A calculator: exact rationals where the operations allow it. An expression is parsed, never run."""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from fractions import Fraction
from typing import Any

from stages.judges.numbers import canonical_fraction

MAX_CHARS = 500
MAX_DIGITS = 1_000  # of any intermediate result
Number = Fraction | float

_THOUSANDS = re.compile(r"(?<![\d.,])\d{1,3}(?:,\d{3})+(?![\d,])", re.ASCII)
_PERCENT = re.compile(r"(\d|\))\s*%(?!\s*[\w(.])", re.ASCII)
_PERCENT_OF = re.compile(r"(\d|\))\s*%\s*of\b", re.ASCII)
_ADDED_PERCENT = re.compile(r"[-+]\s*[\d.]+\s*%(?!\s*[\w(.])", re.ASCII)  # "200 + 10%": 220, or 200.1?
_PLAIN = str.maketrans({"×": "*", "·": "*", "÷": "/", "−": "-", "–": "-", "^": "**", "$": None, "€": None, "£": None})
_TIMES = re.compile(r"(?<=[\d)])\s*[xX]\s*(?=[\d(.])")
_EQUAL = re.compile(r"(?<![=<>!])=(?!=)")


class CalculationError(ValueError):
    """The expression is none, or its value is beyond the limits. The message is for whoever wrote it."""


def calculate(expression: str) -> str:
    """The value of an arithmetic expression as text: `2.5`, `1/3 (about 0.333333333333)`, `true` for a comparison.

    Known: + - * / // % ** (also × ÷ ^), parentheses, comparisons, `15%`, `15% of 80`, thousands commas, currency signs,
    and the functions of FUNCTIONS. Raises CalculationError.
    """
    if len(expression) > MAX_CHARS:
        raise CalculationError(f"the expression has {len(expression)} characters, {MAX_CHARS} are allowed")
    try:
        value = _value(ast.parse(_as_python(expression), mode="eval").body)
    except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError, ArithmeticError) as error:
        raise error if isinstance(error, CalculationError) else CalculationError(_told(error)) from None
    if isinstance(value, bool):
        return str(value).lower()
    return _shown(value)


def _told(error: Exception) -> str:
    if isinstance(error, ZeroDivisionError):
        return "division by zero"
    if isinstance(error, OverflowError):
        return "the result is too large"
    if isinstance(error, SyntaxError):
        return "no arithmetic expression; write for example (3 + 4.5) * 2"
    return f"{error}" or type(error).__name__


def _as_python(expression: str) -> str:
    text = expression.strip().translate(_PLAIN)
    if _ADDED_PERCENT.search(text):
        raise CalculationError("adding a percentage is ambiguous; write 200 * (1 + 10%) or 200 + 10% of 200")
    grouped = _THOUSANDS.search(text)
    if grouped and re.search(r"[a-z]\s*\(", text):
        raise CalculationError(f"{grouped[0]} inside a function is ambiguous; leave the thousands commas out")
    text = _THOUSANDS.sub(lambda m: m[0].replace(",", ""), text)
    text = _PERCENT_OF.sub(r"\1 / 100 *", text)
    text = _TIMES.sub(" * ", _PERCENT.sub(r"\1 / 100", text))
    return _EQUAL.sub("==", text.removesuffix("=").rstrip())


def _value(node: ast.expr) -> Any:
    """The value of one node: a Fraction, a float where nothing exact exists, a bool for a comparison."""
    match node:
        case ast.Constant(value=int() | float() as number) if not isinstance(number, bool):
            return _bounded(Fraction(str(number)) if math.isfinite(number) else number)  # 0.1 is a tenth, as written
        case ast.BinOp(left=left, op=operator, right=right) if type(operator) in _BINARY:
            return _bounded(_BINARY[type(operator)](_number(left), _number(right)))
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_number(operand)
        case ast.UnaryOp(op=ast.UAdd(), operand=operand):
            return _number(operand)
        case ast.Compare(left=left, ops=operators, comparators=others):
            values = [_number(n) for n in (left, *others)]
            return all(_holds(type(o), a, b) for o, a, b in zip(operators, values, values[1:], strict=False))
        case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]) if name in FUNCTIONS:
            return _bounded(FUNCTIONS[name](*[_number(a) for a in arguments]))
        case ast.Name(id=name) if name in ("pi", "e"):
            return getattr(math, name)
    known = ", ".join(sorted(FUNCTIONS))
    raise CalculationError(f"not understood: {ast.unparse(node)[:60]}; numbers, + - * / // % **, comparisons, {known}")


def _number(node: ast.expr) -> Number:
    value = _value(node)
    if isinstance(value, bool):
        raise CalculationError("a comparison is no number")
    return value  # type: ignore[no-any-return]


def _bounded(value: Number) -> Number:
    if isinstance(value, float):
        if not math.isfinite(value):
            raise CalculationError("the result is no finite number")
    elif max(value.numerator.bit_length(), value.denominator.bit_length()) > MAX_DIGITS * 3.32:
        raise CalculationError(f"the result has more than {MAX_DIGITS} digits")
    return value


def _power(base: Number, exponent: Number) -> Number:
    if isinstance(base, Fraction) and isinstance(exponent, Fraction) and exponent.denominator == 1:
        power = int(exponent)
        bits = max(base.numerator.bit_length(), base.denominator.bit_length())
        if abs(base) != 1 and abs(power) * bits > MAX_DIGITS * 4:
            raise CalculationError(f"the result has more than {MAX_DIGITS} digits")
        return base**power
    if exponent == Fraction(1, 2):
        return _root(base)
    if base < 0:
        raise CalculationError("a root of a negative number is no real number")
    return math.pow(base, exponent)


def _root(value: Number) -> Number:
    if value < 0:
        raise CalculationError("a root of a negative number is no real number")
    if isinstance(value, Fraction):
        roots = math.isqrt(value.numerator), math.isqrt(value.denominator)
        if roots[0] ** 2 == value.numerator and roots[1] ** 2 == value.denominator:
            return Fraction(*roots)
    return math.sqrt(value)


def _whole(value: Number) -> int:
    if value != int(value):
        raise CalculationError(f"{_shown(value)} is no whole number")
    return int(value)


def _factorial(value: Number) -> Fraction:
    if not 0 <= value <= 400:
        raise CalculationError("factorial takes whole numbers from 0 to 400")
    return Fraction(math.factorial(_whole(value)))


def _rounded(value: Number, digits: Number = Fraction(0)) -> Fraction:
    """Half away from zero, as people round."""
    if not -30 <= digits <= 30:
        raise CalculationError("round takes -30 to 30 digits")
    unit = Fraction(10) ** -_whole(digits)
    steps = math.floor(abs(Fraction(value)) / unit + Fraction(1, 2))
    return steps * unit * (-1 if value < 0 else 1)


def _real(function: Callable[..., float]) -> Callable[..., Number]:
    return lambda *values: function(*[float(v) for v in values])


FUNCTIONS: Mapping[str, Callable[..., Number]] = {
    "sqrt": _root, "round": _rounded, "abs": abs, "min": min, "max": max, "factorial": _factorial,
    "floor": lambda v: Fraction(math.floor(v)), "ceil": lambda v: Fraction(math.ceil(v)),
    "gcd": lambda *v: Fraction(math.gcd(*map(_whole, v))), "lcm": lambda *v: Fraction(math.lcm(*map(_whole, v))),
    "log": _real(math.log), "log10": _real(math.log10), "log2": _real(math.log2), "exp": _real(math.exp),
    "sin": _real(math.sin), "cos": _real(math.cos), "tan": _real(math.tan),
}  # fmt: skip
_BINARY: Mapping[type[ast.operator], Callable[[Number, Number], Number]] = {
    ast.Add: lambda a, b: a + b, ast.Sub: lambda a, b: a - b, ast.Mult: lambda a, b: a * b,
    ast.Div: lambda a, b: a / b, ast.FloorDiv: lambda a, b: Fraction(a // b), ast.Mod: lambda a, b: a % b,
    ast.Pow: _power,
}  # fmt: skip
_COMPARED: Mapping[type[ast.cmpop], Callable[[bool, bool], bool]] = {  # of: are they equal, is the first less
    ast.Eq: lambda equal, less: equal, ast.NotEq: lambda equal, less: not equal,
    ast.Lt: lambda equal, less: less, ast.GtE: lambda equal, less: not less,
    ast.LtE: lambda equal, less: less or equal, ast.Gt: lambda equal, less: not less and not equal,
}  # fmt: skip


def _holds(operator: type[ast.cmpop], a: Number, b: Number) -> bool:
    """Floats are equal when their first twelve digits are."""
    inexact = isinstance(a, float) or isinstance(b, float)
    equal = math.isclose(a, b, rel_tol=1e-12) if inexact else a == b
    if operator not in _COMPARED:
        raise CalculationError("compare with == != < <= > >=")
    return _COMPARED[operator](equal, not equal and a < b)


def _shown(value: Number) -> str:
    if isinstance(value, float):
        return f"about {value:.12g}"
    text = canonical_fraction(value)
    if "/" not in text:
        return text
    about = f"about {Decimal(value.numerator) / Decimal(value.denominator):.12g}"
    return f"{text} ({about})" if len(text) < 60 else about
