"""Preferences that run in a circle: how many, how strong, and between whom no pair may be made (spec judges §10). Pure."""

from __future__ import annotations

from math import comb

import numpy as np
from numpy.typing import NDArray

from stages.judges.swap import Floats


def circular_triads(wins: NDArray[np.bool_]) -> int:
    """Triples i > j > k > i of a complete tournament: C(n, 3) − Σ C(w_i, 2) (Kendall and Babington Smith)."""
    return comb(len(wins), 3) - sum(comb(int(won), 2) for won in wins.sum(axis=1))


def consistency(wins: NDArray[np.bool_]) -> float:
    """Kendall's ζ: 1 without a circular triad, 0 with as many as there can be; 1 for fewer than three candidates."""
    n = len(wins)
    if n < 3:
        return 1.0
    return 1 - 24 * circular_triads(wins) / (n**3 - (n if n % 2 else 4 * n))


def components(beats: NDArray[np.bool_]) -> list[int]:
    """Strongly connected component of each candidate in the graph of `beats`; equal numbers: on a common cycle.

    Numbers go by the first candidate of each component.
    """
    reach = beats | np.eye(len(beats), dtype=bool)
    for middle in range(len(beats)):  # Warshall; pools are small
        reach |= reach[:, middle : middle + 1] & reach[middle : middle + 1, :]
    both = reach & reach.T
    return [int(i) for i in both.argmax(axis=1)]


def gradient(log_odds: Floats) -> tuple[Floats, float]:
    """(s, cyclic fraction) of antisymmetric log-odds Y, NaN where two were not compared.

    s: least squares of Y_ij ≈ s_i − s_j, mean 0 (HodgeRank, Jiang et al. 2011). The fraction is the share of ΣY² that no
    ranking explains; 0 where nobody is preferred.
    """
    known = ~np.isnan(log_odds)
    np.fill_diagonal(known, False)
    flows = np.where(known, log_odds, 0.0)
    total = float((flows**2).sum())
    if total == 0:
        return np.zeros(len(flows)), 0.0
    if known.sum() == len(flows) * (len(flows) - 1):  # all were compared: the mean is the solution
        s = flows.sum(axis=1) / len(flows)
    else:
        laplacian = (np.diag(known.sum(axis=1)) - known).astype(np.float64)
        s = np.linalg.pinv(laplacian, hermitian=True) @ flows.sum(axis=1)
    rest = np.where(known, flows - (s[:, None] - s[None, :]), 0.0)
    return s, min(1.0, float((rest**2).sum()) / total)
