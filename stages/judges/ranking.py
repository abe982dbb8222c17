"""From preferences between candidates to a ranking: Borda, Bradley–Terry, Davidson (spec judges B1, C3). Pure."""

from __future__ import annotations

import math

import numpy as np

from stages.judges.swap import Floats

PRIOR_WINS = 0.1  # each way between any two: without it a candidate that never lost has no finite strength


def borda(p: Floats) -> Floats:
    """Σ_j (p_ij − p_ji) of a complete matrix of P(i better than j); the diagonal is not looked at."""
    margins: Floats = p - p.T
    np.fill_diagonal(margins, 0.0)
    return np.asarray(margins.sum(axis=1))


def bradley_terry(wins: Floats, prior: float = PRIOR_WINS, rounds: int = 10_000, tolerance: float = 1e-10) -> Floats:
    """Log strengths θ (mean 0) of a matrix of wins of i over j, ties as ½ each, fractions allowed.

    Minorise–maximise (Hunter 2004): π_i ← W_i / Σ_j n_ij / (π_i + π_j). Without a prior the graph of wins must be
    strongly connected. Raises ValueError when it is not.
    """
    n = len(wins)
    won = wins + prior * (1 - np.eye(n))
    np.fill_diagonal(won, 0.0)
    if n > 1 and (won.sum(axis=1) == 0).any():
        raise ValueError("a candidate without a win has no finite strength; use a prior")
    games, strengths = won + won.T, np.ones(n)
    for _ in range(rounds):
        updated = won.sum(axis=1) / (games / (strengths[:, None] + strengths[None, :])).sum(axis=1)
        updated /= np.exp(np.log(updated).mean())
        done = np.abs(np.log(updated / strengths)).max() < tolerance
        strengths = updated
        if done:
            break
    return np.asarray(np.log(strengths))


def elo(theta: Floats, centre: float = 1000.0) -> Floats:
    """Strengths on Elo's scale, 400 points for odds of ten to one. Unlike K-factor Elo it knows no order of games."""
    return centre + theta * 400 / math.log(10)


def davidson(gap: float, nu: float) -> tuple[float, float, float]:
    """(P(i wins), P(tie), P(j wins)) for θ_i − θ_j = gap and tie parameter ν (Davidson 1970)."""
    i, j = math.exp(gap / 2), math.exp(-gap / 2)
    total = i + j + nu
    return i / total, nu / total, j / total
