"""Functions for scripted engines that fail on demand. The folder named by $FAULTS says what happened and what shall."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from pathlib import Path

from benchmarks import canned, scripted_sums
from pipeline import ids
from pipeline.engine import Completion, Request
from pipeline.errors import EngineDied, EngineError, PlanError, Rejected

_time, _time_ns = time.time, time.time_ns


def folder() -> Path:
    """What the tests and the functions share."""
    return Path(os.environ["FAULTS"])


def first_times(what: str, n: int) -> bool:
    """True for the first n calls of all processes."""
    for i in range(n):
        try:
            (folder() / f"{what}-{i}").touch(exist_ok=False)
        except FileExistsError:
            continue
        return True
    return False


async def slow(request: Request) -> list[Completion]:
    """The canned policy, 30 ms later."""
    await asyncio.sleep(0.03)
    return canned.policy(request)


async def slow_sums(request: Request) -> list[Completion]:
    """A policy of tree searches, 5 ms later."""
    await asyncio.sleep(0.005)
    return scripted_sums.policy(request)


async def slow_judge(request: Request) -> Completion:
    """The canned judge, 10 ms later; leaves its process id."""
    (folder() / f"judge-{os.getpid()}").touch()
    await asyncio.sleep(0.01)
    return canned.judge(request)


async def here(request: Request) -> list[Completion]:
    """The canned policy, 30 ms later; leaves its process id."""
    (folder() / f"pid-{os.getpid()}").touch()
    return await slow(request)


async def held(request: Request) -> list[Completion]:
    """The canned policy, once the test says so; leaves its process id."""
    (folder() / f"pid-{os.getpid()}").touch()
    while not (folder() / "go").exists():  # noqa: ASYNC110 - the event is in another process
        await asyncio.sleep(0.02)
    return canned.policy(request)


async def never(request: Request) -> list[Completion]:
    """No answer, ever; says that it was asked."""
    (folder() / "asked").touch()
    await asyncio.Event().wait()
    return []


def embed(text: str) -> list[float]:
    """A vector that is the same for the same digits."""
    return [1.0, *[float(text.count(digit)) for digit in "0123456789"]]


def fails_once(request: Request) -> list[Completion]:
    """An engine failure, then the canned policy."""
    if first_times("failure", 1):
        raise EngineError("out of memory")
    return canned.policy(request)


def dies_once(request: Request) -> list[Completion]:
    """The engine dies under its first request."""
    if first_times("death", 1):
        raise EngineDied("the engine core went away")
    return canned.policy(request)


def fails(request: Request) -> list[Completion]:
    """An engine failure, always."""
    raise EngineError("out of memory")


def misplanned(request: Request) -> list[Completion]:
    """What only shows when work begins."""
    raise PlanError("label 10 is no single token; choose labels that are")


def rejects_odd(request: Request) -> list[Completion]:
    """Every other prompt does not fit."""
    text = request.messages[-1].content if request.messages else ""
    if int(text.split()[2]) % 2:
        raise Rejected("context_overflow", "prompt has 9 tokens, context is 8")
    return canned.policy(request)


def hostile(request: Request) -> list[Completion]:
    """Text that would move a terminal's cursor, and looks like a template."""
    text = "\x1b[2J\x1b]0;title\x07{{ 7 * 7 }}{% for %}\x00"
    return [Completion(f"{text} {i}", "stop", 5, 5) for i in range(request.sampling.n)]


def half_a_character(request: Request) -> list[Completion]:
    """Text that no file can hold: halves of surrogate pairs, as JSON escapes of a server may bring them."""
    return [Completion(f"\ud83d {i} \ude00", "stop", 5, 5) for i in range(request.sampling.n)]


async def dies_here(request: Request) -> list[Completion]:
    """The process that answers first is gone, as if by SIGKILL from outside."""
    if first_times("suicide", 1):
        os.kill(os.getpid(), signal.SIGKILL)
    return await here(request)


def interrupts(request: Request) -> list[Completion]:
    """The driver is asked to stop, as by a scheduler, under its first request."""
    if first_times("interruption", 1):
        os.kill(os.getpid(), signal.SIGTERM)
    return canned.policy(request)


async def noted_sums(request: Request) -> list[Completion]:
    """As `slow_sums`; notes each request before and after: what, its key, the first number of its prompt."""
    said = "".join(map(chr, request.token_ids or ())) or (request.messages or ())[-1].content
    for what in ("asked", "said"):
        line = f"{what} {request.key} {said.split()[1]}\n".encode()
        file = os.open(folder() / "noted", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.write(file, line)
        os.close(file)
        if what == "asked":
            await asyncio.sleep(0.005)
    return scripted_sums.policy(request)


def never_the_same(request: Request) -> list[Completion]:
    """Other answers each time, as engines give that promise nothing."""
    return [Completion(f"Answer: {os.urandom(8).hex()}", "stop", 5, 5) for _ in range(request.sampling.n)]


def with_the_clock_put_wrong(request: Request) -> list[Completion]:
    """The canned policy; at each answer the clock of this process jumps by up to a year, unless the test says `right`."""
    if not (folder() / "right").exists():
        first_times("jump", 1000)
        wrong = (ids.seed(request.key) % 2_000_000 - 1_000_000) * 31.5
        time.time = lambda: _time() + wrong
        time.time_ns = lambda: _time_ns() + int(wrong * 1e9)
    return canned.policy(request)
