"""Which prompts are like which, and a budget shared out among them. Pure; the same whatever shards they stand in."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any

import numpy as np

from pipeline.dataset import Columns
from pipeline.records import Prompt
from pipeline.stage import Example
from stages.curate.hashing import shingles
from stages.curate.near import compared, strings
from stages.judges.doubt import SURE, standings

WIDTH = 256  # of a vector made of hashed runs of characters
BLOCK = 1024  # prompts whose neighbours are looked for at a time


def note_doubts(examples: Sequence[Example[Any]], of: Collection[str], semantic: bool) -> Columns:
    """Of each prompt that judges compared answers to: id, vector, P of its least certain label, pairs open to judges.

    p is NaN where no pair was asked about. Prompts without an embedding are left out where embeddings are compared.
    """
    kept = [e for e in examples if e.embeddings or not semantic]
    known = [standings(e.candidates, e.judgments, of) for e in kept]
    vectors = [e.embeddings[-1].vector for e in kept] if semantic else lexical([e.prompt for e in kept])
    return {
        "prompt_id": strings([e.prompt.prompt_id for e in kept]),
        "vector": np.asarray(vectors, dtype=np.float32).reshape(len(kept), -1),
        "p": np.array([min([_label(s) for s in one.values()], default=np.nan) for one in known], dtype=np.float64),
        "open": np.array([sum(s.right is None for s in one.values()) for one in known], dtype=np.int64),
    }


def _label(standing: Any) -> float:
    """P(the right one is better) where a check knows it, else P of the likelier label, ½ where that cannot be relied on."""
    if standing.right is None:
        return SURE + float(standing.confidence)
    p = 0.5 if standing.p is None else float(standing.p)
    return p if standing.right else 1 - p


def lexical(prompts: Sequence[Prompt]) -> np.ndarray:
    """Counts of hashed runs of five characters with random signs, square roots taken: (prompts, WIDTH).

    Their scalar products estimate those of the unhashed counts (Weinberger et al. 2009).
    """
    hashed, counts = shingles([compared(prompt) for prompt in prompts])
    rows = np.repeat(np.arange(len(prompts)), counts)
    found = np.zeros((len(prompts), WIDTH), dtype=np.float64)
    signs = np.where((hashed >> np.uint64(32)) & np.uint64(1), 1.0, -1.0)
    np.add.at(found, (rows, (hashed % np.uint64(WIDTH)).astype(np.int64)), signs)
    return np.asarray(np.sign(found) * np.sqrt(np.abs(found)))


def centred(vectors: np.ndarray) -> np.ndarray:
    """The vectors less their mean, at length 1: what all prompts share makes none of them alike."""
    moved = vectors - vectors.mean(axis=0)
    lengths = np.linalg.norm(moved, axis=1, keepdims=True)
    return np.asarray(moved / np.maximum(lengths, 1e-12))


def nearest(vectors: np.ndarray, wanted: np.ndarray) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """(caller, its wanted[caller] nearest, their cosines) of each that wants any; itself first, at likeness 1.

    vectors: (n, d) of length 1. Of equals the first rows are nearer.
    """
    callers = np.flatnonzero(wanted)
    for start in range(0, len(callers), BLOCK):
        block = callers[start : start + BLOCK]
        likeness = np.round(vectors[block] @ vectors.T, 5)  # products summed in another order must stay equal
        likeness[np.arange(len(block)), block] = np.inf
        for row, caller in zip(likeness, block.tolist(), strict=True):
            k = min(int(wanted[caller]), len(row))
            near = np.flatnonzero(row >= np.partition(row, -k)[-k])
            called = near[np.argsort(-row[near], kind="stable")][:k]
            yield caller, called, np.where(np.isinf(row[called]), 1.0, row[called])


def allot(worth: np.ndarray, room: np.ndarray, budget: int) -> np.ndarray:
    """`budget` units among items that are worth anything, one each in a round, the worthiest first, at most `room` each."""
    given = np.zeros(len(worth), dtype=np.int64)
    order: list[int] = [i for i in np.argsort(-np.round(worth, 9), kind="stable").tolist() if worth[i] > 0]
    while budget > 0 and (open_ := [i for i in order if given[i] < room[i]][:budget]):
        given[open_] += 1
        budget -= len(open_)
    return given
