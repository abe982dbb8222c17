"""Pairs of vectors that point the same way. Pure."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np

CELL = 4096  # vectors that are all compared with each other
CELLS_EACH = 3  # a vector is compared in the cells of its three nearest centres: near the border of one, it is in both


def similar(vectors: np.ndarray, threshold: float) -> Iterator[tuple[int, int]]:
    """Pairs (i, j) with a cosine of at least `threshold`; vectors: (n, d), each of length 1.

    Up to CELL vectors all pairs are compared. More are compared within cells around centres, as SemDeDup does (Abbas et
    al. 2023); the centres are vectors at even distances, so their number grows with n.
    """
    n = len(vectors)
    centres = vectors[:: max(1, CELL // 4)] if n > CELL else vectors[:1]
    for members in _cells(vectors, centres):
        for start in range(0, len(members), CELL):
            block = members[start : start + CELL]
            cosines = vectors[block] @ vectors[members].T
            for a, b in zip(*np.nonzero(cosines >= threshold), strict=True):
                if block[a] < members[b]:
                    yield int(block[a]), int(members[b])


def _cells(vectors: np.ndarray, centres: np.ndarray) -> Iterator[np.ndarray]:
    """The vectors of each cell."""
    each = min(CELLS_EACH, len(centres))
    parts = [
        np.argpartition(-(vectors[start : start + CELL] @ centres.T), each - 1, axis=1)[:, :each]
        for start in range(0, len(vectors), CELL)
    ]
    if not parts:
        return
    chosen = np.concatenate(parts).ravel()
    order = np.argsort(chosen, kind="stable")
    bounds = np.searchsorted(chosen[order], np.arange(len(centres) + 1))
    for start, stop in itertools.pairwise(bounds.tolist()):
        yield order[start:stop] // each
