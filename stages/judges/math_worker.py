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


def same_math(reference: str, answer: str) -> bool | None:
    """Whether two LaTeX answers are equal (math-verify, reference first); None when one of them cannot be parsed.

    Both texts are the bare answers: they are set in a box so that nothing else is taken for the answer.
    """
    from math_verify import parse, verify

    def read(text: str) -> list[Any]:
        found: list[Any] = parse("\\boxed{" + text.replace(",\\!", "") + "}", parsing_timeout=None, raise_on_error=True)
        return found

    # A list that holds nothing but the text itself is math-verify's sign that it could not make sense of it.
    gold, target = read(reference), read(answer)
    if all(isinstance(g, str) for g in gold) or all(isinstance(t, str) for t in target):
        return True if reference.replace(" ", "") == answer.replace(" ", "") else None
    return bool(verify(gold, target, timeout_seconds=None, raise_on_error=True))


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
