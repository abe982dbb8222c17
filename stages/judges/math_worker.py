"""The process that runs checks which may hang: equality of LaTeX answers (math-verify) and regular expressions.

Run as a script. Reads one JSON list per line and answers with one JSON line; says `"ready"` first. Before each check it
sets an alarm that the kernel delivers whatever Python is busy with, so that even a worker whose parent was killed ends.
The alarm counts processor time: a loaded machine does not turn a verdict into a time-out.
"""

from __future__ import annotations

import json
import logging
import re
import resource
import signal
import sys
from collections import deque
from typing import Any

MEMORY = 4 << 30  # bytes of address space; sympy can be asked for numbers that fill any machine


_TYPED = (  # what models type instead of LaTeX
    (re.compile(r"√\s*(?:\(([^()]*)\)|(\d+|[a-z]))"), r"\\sqrt{\1\2}"),
    (re.compile(r"(?<![a-zA-Z\\])sqrt\s*\(([^()]*)\)"), r"\\sqrt{\1}"),
    (re.compile(r"π|(?<![a-zA-Z\\])pi\b"), r"\\pi "),
    (re.compile(r"\\varnothing\b"), r"\\emptyset"),
    (re.compile(r",\\!"), ""),
)
_BASE = re.compile(r"\d\s*_\s*\{?\s*\d")  # 4210_5, a number written in base 5; math-verify drops the base
_DECIMAL = re.compile(r"-?\d*\.(\d{2,15})0*\Z")


def same_math(reference: str, answer: str) -> bool | None:
    """Whether two LaTeX answers are equal (math-verify, reference first); None when one of them cannot be parsed, or
    one is the other rounded, in degrees, or without its base.

    Both texts are the bare answers: they are set in a box so that nothing else is taken for the answer.
    """
    from math_verify import parse, verify

    def read(text: str) -> list[Any]:
        found: list[Any] = parse("\\boxed{" + text + "}", parsing_timeout=None, raise_on_error=True)
        return found

    for pattern, latex in _TYPED:
        reference, answer = pattern.sub(latex, reference), pattern.sub(latex, answer)
    if re.sub(r"[\s{}]", "", reference) == re.sub(r"[\s{}]", "", answer):
        return True
    bases = [bool(_BASE.search(text)) for text in (reference, answer)]
    if any(bases):
        return False if all(bases) else None
    # A list that holds nothing but the text itself is math-verify's sign that it could not make sense of it.
    gold, target = read(reference), read(answer)
    if all(isinstance(g, str) for g in gold) or all(isinstance(t, str) for t in target):
        return None
    if verify(gold, target, allow_set_relation_comp=True, timeout_seconds=None, raise_on_error=True):
        return True
    return None if _rounded(gold[0], answer) or ("\\circ" in reference) != ("\\circ" in answer) else False


def _rounded(exact: Any, answer: str) -> bool:
    """Whether a decimal is the beginning of an exact value: 1.414 for the root of 2."""
    decimal = _DECIMAL.match(answer.strip(" $"))
    if decimal is None:
        return False
    try:
        cut = abs(float(exact.evalf())) - abs(float(decimal[0]))
    except (TypeError, ValueError, AttributeError):  # no number
        return False
    return -0.5 <= cut * 10.0 ** len(decimal[1]) < 1


def last_match(pattern: str, text: str) -> str | None:
    """The first group (or the whole) of the last match of `pattern`; None without a match."""
    found = deque(re.finditer(pattern, text, re.MULTILINE), maxlen=1)
    return found[0][1 if found[0].re.groups else 0] if found else None


CHECKS = {"same_math": same_math, "last_match": last_match}


def main() -> None:
    """Serves checks until the input ends."""
    logging.disable(logging.CRITICAL)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    print(json.dumps("ready"), flush=True)
    warm = False
    for line in sys.stdin:
        limit, check, *arguments = json.loads(line)
        try:
            if check == "same_math" and not warm:
                warm = same_math("1", "1") is True  # imports and caches, before the clock runs
            signal.setitimer(signal.ITIMER_PROF, limit)
            reply = {"value": CHECKS[check](*arguments)}
        except Exception as error:  # whatever a parser trips over is an unreadable answer, not a crash
            reply = {"error": type(error).__name__}
        signal.setitimer(signal.ITIMER_PROF, 0)
        print(json.dumps(reply), flush=True)


if __name__ == "__main__":
    main()
