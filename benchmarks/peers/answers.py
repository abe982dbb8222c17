"""Canned answers of a policy and of a judge, the same for everybody: what is compared is what stands around them.

Nothing but the standard library: every peer imports this from an environment of its own.
"""

from __future__ import annotations

import re
import zlib

_ANSWER = re.compile(r"Answer: (\d+)")


def answers(prompt: str, n: int) -> list[str]:
    """n different answers to a prompt, of about 60 tokens. With n < 5 no two of them get the same score."""
    first = zlib.crc32(prompt.encode())
    return [
        f"Step 1: 12 + {i} = {12 + i}\nStep 2: 3 x {i} = {3 * i}\nAnswer: {(first + i) % 50}" for i in range(n)
    ]  # fmt: skip


def scores(question: str) -> list[int]:
    """From 1 to 5 for each answer that a judge is shown, read from the question as it was put."""
    return [int(number) % 5 + 1 for number in _ANSWER.findall(question)]
