"""Check functions that a model wrote: reading them and their test cases, what a run says, and which may be trusted (AutoIF;
spec pairs 14.4). Pure.

AutoIF counts a function that crashes as a check that fails, so that good answers become rejected ones; takes the text
'false' for true; and counts equal functions once each. Here a crash says nothing, only true and false are answers, and
equal functions are one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from stages.sandbox.sandbox import Outcome

FUNCTION = "evaluate"  # its name in AutoIF's data and in our template
_DEFINED = re.compile(rf"^(?:async\s+)?def\s+{FUNCTION}\s*\(", re.MULTILINE)
_FENCED = re.compile(r"```(?:json)?\s*\n(.*?)```", re.DOTALL)


class Case(NamedTuple):
    """A response and what every right function says of it."""

    response: str
    expected: bool


class Checks(NamedTuple):
    """Functions, each different, and cases, each response once."""

    functions: tuple[str, ...] = ()
    cases: tuple[Case, ...] = ()


def read_checks(functions: Any, cases: Any, min_accuracy: float) -> Checks:
    """From columns of a data set: code, or [code, accuracy] as AutoIF writes it, with those below `min_accuracy` left
    out; cases as [response, expected] or {input, output}. What is no function or no case is left out."""
    found: list[str] = []
    for item in functions if isinstance(functions, list) else [functions]:
        code, accuracy = (item[0], item[1]) if isinstance(item, list) and len(item) == 2 else (item, 1.0)
        known = isinstance(accuracy, (int, float)) and accuracy >= min_accuracy
        if isinstance(code, str) and _DEFINED.search(code) and known:
            found.append(code.strip())
    return Checks(tuple(dict.fromkeys(found)), _cases(cases if isinstance(cases, list) else []))


def _cases(items: Sequence[Any]) -> tuple[Case, ...]:
    found: dict[str, set[bool]] = {}
    for item in items:
        pair = (item.get("input"), item.get("output")) if isinstance(item, Mapping) else item
        if isinstance(pair, (list, tuple)) and len(pair) == 2 and isinstance(pair[0], str):
            expected = truth(pair[1])
            if expected is not None:
                found.setdefault(pair[0], set()).add(expected)
    return tuple([Case(response, said.pop()) for response, said in found.items() if len(said) == 1])


def written_checks(text: str) -> Checks:
    """From a model's reply: one JSON object {functions, cases}, bare or fenced; nothing where it is none."""
    for body in (text, *_FENCED.findall(text), text[text.find("{") : text.rfind("}") + 1]):
        try:
            value = msgspec.json.decode(body.strip())
        except (msgspec.DecodeError, RecursionError, UnicodeEncodeError):
            continue
        if isinstance(value, dict):
            return read_checks(value.get("functions"), value.get("cases"), 0.0)
    return Checks()


def truth(value: Any) -> bool | None:
    """true and false, also as words; None for everything else a function may return."""
    if isinstance(value, bool):
        return value
    return {"true": True, "false": False}.get(value.strip().lower()) if isinstance(value, str) else None


def verdict(outcomes: Sequence[Outcome]) -> bool | None:
    """What runs of one function on one response say together: None unless all ended well and agree."""
    said = {truth(o.value) if o.status == "ok" else None for o in outcomes}
    return said.pop() if len(said) == 1 else None


def trusted(said: Sequence[Sequence[bool | None]], cases: Sequence[Case], min_accuracy: float) -> tuple[list[int], int]:
    """Numbers of the functions that are right on enough cases, and how many cases counted.

    said: a row for each function, an answer for each case. A case counts when at least one function reproduces it; no
    answer is a wrong one, so that a function that crashes is not trusted.
    """
    kept = [i for i, case in enumerate(cases) if any(row[i] is case.expected for row in said)]
    if not kept:
        return [], 0
    right = [sum(row[i] is cases[i].expected for i in kept) / len(kept) for row in said]
    return [n for n, accuracy in enumerate(right) if accuracy >= min_accuracy], len(kept)
