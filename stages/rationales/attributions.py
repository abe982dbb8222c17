"""What a rationale says a response wrote: "96 / 3 is 32, not 22" holds only where a response has 96 / 3 = 22. Pure.

A true equation with a wrong cause is the commonest way to be half right: the response took another number, or another
operation, and 22 was what that gave (part of V6, spec judges C2).
"""

from __future__ import annotations

import re
from collections.abc import Sequence

_NUMBER = r"-?\d[\d,]*(?:\.\d+)?"
_LEFT = rf"{_NUMBER}(?:\s{{0,3}}[-+−–*×÷/·xX]\s{{0,3}}{_NUMBER}){{1,8}}"
_JOIN = r"\s{0,3}(?:=|is|equals|gives|makes|should be|comes to)\s{1,3}"
_CORRECTION = re.compile(rf"(?P<left>{_LEFT}){_JOIN}{_NUMBER},?\s(?:not|rather than|instead of)\s(?P<said>{_NUMBER})")
_EQUATION = re.compile(rf"(?P<left>{_LEFT})\s{{0,3}}=\s{{0,3}}(?P<said>{_NUMBER})")
_PLAIN = str.maketrans("−–×÷·xX", "--*/***", ", \t")
_MAX_CHARS = 20_000


def misattributed(text: str, responses: Sequence[str]) -> list[str]:
    """Corrections in `text` of what no response wrote: the corrected result stands nowhere, or only behind another
    calculation. A bare result (no calculation before it) may be corrected by any."""
    written = [_EQUATION.finditer(r[:_MAX_CHARS]) for r in responses]
    equations = [(_plain(m["left"]), _plain(m["said"])) for found in written for m in found]
    numbers = {_plain(n) for r in responses for n in re.findall(_NUMBER, r[:_MAX_CHARS])}
    return [
        m[0]
        for m in _CORRECTION.finditer(text[:_MAX_CHARS])
        if not _wrote(_plain(m["left"]), _plain(m["said"]), equations, numbers)
    ]


def _wrote(left: str, said: str, equations: Sequence[tuple[str, str]], numbers: set[str]) -> bool:
    lefts = [before for before, result in equations if result == said]
    return left in lefts if lefts else said in numbers


def _plain(expression: str) -> str:
    return expression.translate(_PLAIN).rstrip(".")
