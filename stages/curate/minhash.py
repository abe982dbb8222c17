"""MinHash and locality-sensitive hashing: which of many texts share most of their runs of characters. Pure.

Broder, "On the resemblance and containment of documents" (1997): the share of equal minima estimates the Jaccard
similarity. For a threshold of 0.8 the 128 minima are cut into 18 bands, which find a pair of similarity s with probability
1 - (1 - s^7)^16 (1 - s^8)^2: 0.98 at 0.8, 0.999 at 0.85, 2e-6 at 0.1. What they find is measured exactly afterwards.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

import numpy as np

from stages.curate.hashing import mixed, shingles

PERMUTATIONS = 128
FOUND = 0.98  # of the pairs just at the threshold
WINDOW = 32  # members of a bucket that are compared with each other; of larger ones, neighbours
AT_ONCE = 1 << 16  # shingles that are hashed at a time: what stays in the processor's cache
CLEARLY_BELOW = 0.15  # four standard deviations of the estimate at 0.8
_DRAWN = np.frombuffer(hashlib.shake_256(b"minhash/1").digest(16 * PERMUTATIONS), dtype="<u8").reshape(2, PERMUTATIONS)
_FACTORS, _SHIFTS = _DRAWN[0] | np.uint64(1), _DRAWN[1]


def minima(texts: Sequence[str]) -> np.ndarray:
    """The smallest value of each permutation over the shingles of each text: (texts, 128) uint32."""
    found = np.empty((len(texts), PERMUTATIONS), dtype=np.uint32)
    for start, stop in _portions([len(text) for text in texts]):
        hashed, counts = shingles(texts[start:stop])
        starts = np.cumsum(counts) - counts
        room = np.empty_like(hashed)
        for number in range(PERMUTATIONS):
            # multiply-shift (Dietzfelbinger et al. 1997); the upper half of the product is the permuted value
            np.multiply(hashed, _FACTORS[number], out=room)
            room += _SHIFTS[number]
            found[start:stop, number] = np.minimum.reduceat(room, starts) >> np.uint64(32)
    return found


def band_count(threshold: float) -> int:
    """As few bands as find FOUND of the pairs at the threshold."""
    rows = range(PERMUTATIONS, 0, -1)
    return next(
        (PERMUTATIONS // r for r in rows if 1 - (1 - threshold**r) ** (PERMUTATIONS // r) >= FOUND), PERMUTATIONS
    )  # fmt: skip


def bands(signatures: np.ndarray, count: int) -> np.ndarray:
    """A hash of each of `count` bands: (texts, count) uint64. Texts with an equal one are candidates."""
    found = np.empty((len(signatures), count), dtype=np.uint64)
    for number, columns in enumerate(np.array_split(np.arange(PERMUTATIONS), count)):
        hashed = np.full(len(signatures), number, dtype=np.uint64)
        for column in columns:
            hashed = mixed(hashed * np.uint64(0x100000001B3) + signatures[:, column])
        found[:, number] = hashed
    return found


def candidates(hashed: np.ndarray, signatures: np.ndarray, threshold: float) -> np.ndarray:
    """Pairs (i, j), i < j, that share a band and whose estimate is not clearly below `threshold`: (pairs, 2) int64.

    signatures: any whole-number form of the minima, (texts, 128).
    """
    found = [np.empty(0, dtype=np.int64)]
    n = len(hashed)
    for number in range(hashed.shape[1]):
        order = np.argsort(hashed[:, number], kind="stable")
        values = hashed[order, number]
        for distance in range(1, min(WINDOW, n)):
            same = np.flatnonzero(values[distance:] == values[:-distance])
            if not len(same):
                break
            # the order of equal values is that of the texts, so the first of a pair is the smaller
            first, second = order[same], order[same + distance]
            found += [first[at] * n + second[at] for at in _alike(signatures, first, second, threshold)]
    pairs = np.unique(np.concatenate(found))
    return np.stack((pairs // max(n, 1), pairs % max(n, 1)), axis=1)


def jaccard(a: np.ndarray, b: np.ndarray) -> float:
    """Share of common shingles of two sets, as sorted arrays of their hashes."""
    common = len(np.intersect1d(a, b, assume_unique=True))
    return common / (len(a) + len(b) - common)


def _alike(signatures: np.ndarray, first: np.ndarray, second: np.ndarray, threshold: float) -> Iterator[np.ndarray]:
    """Places of the pairs whose share of equal minima is high enough, some pairs at a time."""
    for start in range(0, len(first), AT_ONCE):
        a, b = first[start : start + AT_ONCE], second[start : start + AT_ONCE]
        share = (signatures[a] == signatures[b]).mean(axis=1)
        yield start + np.flatnonzero(share >= threshold - CLEARLY_BELOW)


def _portions(lengths: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Slices of the texts with about AT_ONCE characters each."""
    start, size = 0, 0
    for stop, length in enumerate(lengths, 1):
        size += length
        if size >= AT_ONCE or stop == len(lengths):
            yield start, stop
            start, size = stop, 0
