"""A scripted policy and critic for tree searches: they add the numbers of a prompt, line by line, and slip now and then.

Prompts read `Add 7 3 9`; a right answer is `7 + 3 = 10`, `10 + 9 = 19`, `Answer: 19`. What is said depends on the
request's seed and text alone.
"""

from __future__ import annotations

import asyncio
import math
import random
import re
from dataclasses import dataclass

from pipeline.engine import Completion, Request
from pipeline.engines.scripted import written

SLIP = 0.3
AGAIN = "from the beginning."  # how prompts/observe/default.j2 ends
LINE = re.compile(r"(\d+) \+ (\d+) = (\d+)")


@dataclass
class Traffic:
    """How many requests are under way, and at most were."""

    now: int = 0
    most: int = 0


traffic = Traffic()


def policy(request: Request) -> list[Completion]:
    """n continuations: one line each where lines are asked for, else all that is left."""
    before = "".join(map(chr, request.token_ids)) if request.token_ids is not None else written(request.messages or ())
    return [_continued(before, request, i) for i in range(request.sampling.n)]


async def unsteady(request: Request) -> list[Completion]:
    """The policy, later: by how much has nothing to do with the order of the requests."""
    traffic.now += 1
    traffic.most = max(traffic.most, traffic.now)
    for _ in range(random.randrange(6)):
        await asyncio.sleep(0)
    traffic.now -= 1
    return policy(request)


def _continued(before: str, request: Request, sample: int) -> Completion:
    draw = random.Random(f"{request.seed + sample}|{before}")
    numbers = [int(n) for n in before.split("\n")[0].split()[1:]]
    lines = LINE.findall(before.rpartition(AGAIN)[2])
    total = int(lines[-1][2]) if lines else numbers[0]
    text = ""
    for number in numbers[len(lines) + 1 :]:
        text += f"{total} + {number} = {total + number + (draw.random() < SLIP)}\n"
        total = int(LINE.findall(text)[-1][2])
        if request.sampling.stop:
            return _completion(text)
    return _completion(f"{text}Answer: {total}")


def _completion(text: str) -> Completion:
    return Completion(text, "stop", 20, text.count(" ") + 1, mean_logp=-0.1)


def critic(request: Request) -> Completion:
    """A or B, nearly always rightly: whether the line under `Next` adds up."""
    shown = request.messages[-1].content if request.messages else ""
    step, options = re.search(r"<step>\n(.*?)\n</step>.*(A: \w+)", shown, re.DOTALL).groups()  # type: ignore[union-attr]
    found = LINE.search(step)
    right = found is None or int(found[1]) + int(found[2]) == int(found[3])
    p = 0.9 if right == (options == "A: correct") else 0.1
    return Completion("A" if p > 0.5 else "B", "stop", 60, 1, labels={"A": math.log(p), "B": math.log(1 - p)})


def reviewer(request: Request) -> str:
    """Names the first line of a wrong attempt that does not add up."""
    attempt = re.search(r"<response>\n(.*?)\n</response>", written(request.messages or ()), re.DOTALL)
    lines = LINE.findall(attempt[1] if attempt else "")
    return next((f"{a} + {b} is not {c}." for a, b, c in lines if int(a) + int(b) != int(c)), "All lines add up.")


def unruly(request: Request) -> list[Completion]:
    """The policy at its worst: blank, endless, unfinished and broken answers between good ones."""
    made = []
    for sample, good in enumerate(policy(request)):
        draw = random.Random(f"unruly|{request.seed + sample}")
        bad = (
            Completion("no end" * 3, "length", 20, 9),
            Completion(" \n", "stop", 20, 1),
            Completion("x", "abort", 20, 1),
        )
        made.append(draw.choice((good, good, Completion("so it is, " * 60 + "\n", "stop", 20, 99), *bad)))
    return made


def undecided(request: Request) -> Completion:
    """A critic that says neither A nor B."""
    return Completion("Well", "stop", 60, 1, labels=None)
