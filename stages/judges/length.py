"""Length control: what a judge gives to length beyond what length is worth (length-controlled AlpacaEval). Pure."""

from __future__ import annotations

import numpy as np

from stages.judges.swap import Floats


def length_term(differences: Floats, std: float) -> Floats:
    """tanh(Δ / std) of length differences a − b in characters; 0 where lengths do not vary."""
    return np.tanh(differences / std) if std > 0 else np.zeros_like(differences)


def length_effect(log_odds: Floats, truth: Floats, term: Floats) -> float:
    """λ of log-odds ≈ θ·truth + λ·term by least squares: the pull of length on a judge at equal quality, in logits.

    truth: +1 a is better, −1 b is, 0 tie; all 0 gives the slope on length alone.
    Without an intercept, so that swapping a and b changes nothing.
    """
    known = ~np.isnan(log_odds)
    if known.sum() < 2:
        return 0.0
    columns = np.stack([truth[known], term[known]], axis=1)
    return float(np.linalg.lstsq(columns, log_odds[known], rcond=None)[0][1])


def length_controlled(log_odds: Floats, effect: float | Floats, term: Floats) -> Floats:
    """Log-odds as they would be at equal length."""
    return log_odds - effect * term
