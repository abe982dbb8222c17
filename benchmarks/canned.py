"""Answers that cost nothing: what a framework itself costs shows only when engines are free."""

from __future__ import annotations

from benchmarks.peers.answers import answers, scores
from pipeline import ids
from pipeline.engine import Completion, Request

_SCORES = [
    Completion(f"Score: {n}", "stop", 50, 4, labels={str(k): -0.2 if k == n else -3.5 for k in range(1, 6)})
    for n in range(1, 6)
]


def policy(request: Request) -> list[Completion]:
    """n different answers of about 60 tokens."""
    return [
        Completion(
            f"Step 1: 12 + {i} = {12 + i}\nStep 2: 3 x {i} = {3 * i}\nAnswer: {(request.seed + i) % 50}", "stop", 40, 60
        )
        for i in range(request.sampling.n)
    ]


def judge(request: Request) -> Completion:
    """A score between 1 and 5 that depends on the request alone."""
    return _SCORES[ids.seed(request.key) % 5]


def peers_policy(request: Request) -> list[Completion]:
    """What the peers' policy answers."""
    texts = answers(request.messages[-1].content if request.messages else "", request.sampling.n)
    return [Completion(text, "stop", 40, 60) for text in texts]


def peers_judge(request: Request) -> Completion:
    """What the peers' judge answers."""
    return Completion(f"Score: {scores(request.messages[-1].content if request.messages else '')[0]}", "stop", 50, 4)
