"""Scripted engines with the latencies of real ones, several to a process.

The model: a replica with continuous batching works on BATCH answers at a time; an answer takes a log-normal time (mean
BATCH / RATE, sigma 0.5: the longest of a hundred takes three times the mean), whoever else is being served. So a replica
that never lacks work answers RATE requests a second, and one that is asked too little answers less.
"""

from __future__ import annotations

import asyncio
import functools
import math
import os
from random import Random

from benchmarks import canned
from pipeline.engine import Completion, Request

BATCH, RATE, SIGMA = 64, 50.0, 0.5
IN_A_PROCESS = "SLOW_ANSWERS_IN_A_PROCESS"  # environment: how many replicas a process stands for
SLOWER = "SLOW_ANSWERS_SLOWER"  # environment: by what all times are stretched, where cores are too busy for real ones


@functools.cache
def _places() -> asyncio.Semaphore:
    return asyncio.Semaphore(BATCH * int(os.environ.get(IN_A_PROCESS, "1")))


def seconds(seed: int) -> float:
    """How long an answer takes; depends on nothing but the seed."""
    return float(os.environ.get(SLOWER, "1")) * Random(seed).lognormvariate(
        math.log(BATCH / RATE) - SIGMA**2 / 2, SIGMA
    )


async def answer(request: Request) -> list[Completion]:
    """The canned policy or, where labels are asked for, the canned judge, after their time."""
    async with _places():
        await asyncio.sleep(seconds(request.seed))
    return [canned.judge(request)] if request.labels else canned.policy(request)
