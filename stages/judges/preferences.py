"""All that is known of who beats whom among the candidates of one prompt. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.pair import Signal, Votes
from pipeline.records import Candidate, Judgment
from stages.judges.cycles import components, gradient
from stages.judges.evidence import column, gather, outcomes
from stages.judges.jury import Opinion
from stages.judges.labels import TOOL_LABEL, is_ambiguous, label_columns, margin
from stages.judges.panel import Panel, Rules, deliberate, seat
from stages.judges.ranking import borda, bradley_terry
from stages.judges.swap import Floats, logit, sigmoid

TIE = 1e-9  # log-odds nearer to 0 than this are a tie of that judge


class Preferences(NamedTuple):
    """Candidates by place (in the order of their ids), and matrices over places.

    p: P(i better than j), NaN where nobody knows; decided: by a deterministic check. component: equal numbers are on a
    common cycle. scores: place in the ranking, on [0, 1]; NaN for who was compared with nobody.
    """

    places: Mapping[str, int]
    panel: Panel
    opinion: Opinion
    p: Floats
    decided: NDArray[np.bool_]
    component: Sequence[int]
    cyclic_fraction: float
    scores: Floats

    def columns(self, i: int, j: int, tie: float) -> dict[str, Any]:
        """The label columns of a pair that says i is better than j."""
        at, sign = column(min(i, j), max(i, j), len(self.places)), 1.0 if i < j else -1.0
        panel, same = self.panel, self.component[i] == self.component[j]
        deltas = (sign * panel.deltas[:, at]).tolist()
        heard = [k for k, delta in enumerate(deltas) if delta == delta and panel.weights[k] > 0]
        found: dict[str, Any] = {
            "n_judges": len(heard),
            "cyclic_fraction": self.cyclic_fraction,
            "same_scc": same,
            "signals": tuple([
                Signal(panel.judges[k].name, deltas[k], sign * float(panel.raw[k, at]), float(panel.weights[k]))
                for k in heard
            ]),
        }  # fmt: skip
        p, strength = float(self.p[i, j]), sign * float(self.opinion.log_odds[at])
        if p == p:
            found |= {"pref_prob": p, **label_columns(p)}
        if strength == strength:
            std = float(self.opinion.std[at])
            sides = panel.consistent[heard, at]
            sides = sides[~np.isnan(sides)]
            found |= {
                "strength": strength, "strength_std": std,
                "agreement": float(self.opinion.agreement[at]), "n_orders_consistent": float(sides.sum()),
                "position_consistent": bool(sides.all()) if len(sides) else None,
                "votes": _votes([deltas[k] for k in heard], int(panel.asked[:, at].sum()) - len(heard)),
                "ambiguous": is_ambiguous(p, strength, std, same, tie) and not self.decided[i, j],
            }  # fmt: skip
            if panel.calibrated:
                found["margin_logit"] = margin(strength)
        return found


def _votes(deltas: Sequence[float], absent: int) -> Votes:
    won, lost = sum(d > TIE for d in deltas), sum(d < -TIE for d in deltas)
    return Votes(won, lost, len(deltas) - won - lost, max(absent, 0))


def prefer(
    candidates: Sequence[Candidate], judgments: Sequence[Judgment], rules: Rules, tie: float, own_too: bool = False
) -> Preferences:
    """What `judgments` say about `candidates`. A deterministic check that tells two apart overrules every judge.

    Raises PlanError for a judge that the calibration does not know.
    """
    ordered = sorted(candidates, key=lambda c: c.candidate_id)
    places = {c.candidate_id: i for i, c in enumerate(ordered)}
    n = len(ordered)
    rows, columns = np.triu_indices(n, 1)
    sizes = np.array([len(c.text) for c in ordered], dtype=np.float64)
    panel = seat(gather(ordered, judgments, own_too), sizes[rows] - sizes[columns], rules)
    opinion, log_odds = deliberate(panel, rules)
    p = np.full((n, n), math.nan)
    np.fill_diagonal(p, 0.5)
    p[rows, columns] = sigmoid(log_odds)
    right = outcomes(judgments)
    known = np.array([right.get(c.candidate_id, math.nan) for c in ordered], dtype=np.float64)
    gaps = known[:, None] - known[None, :]
    decided = np.abs(gaps) > 0.5
    p = np.where(decided, np.where(gaps > 0, TOOL_LABEL, 1 - TOOL_LABEL), p)
    p[columns, rows] = 1 - p[rows, columns]
    if n < 3:
        cyclic, component = 0.0, list(range(n))
    else:
        beats = p > 0.5 + tie
        cyclic, component = gradient(logit(p))[1], components(beats)
    return Preferences(places, panel, opinion, p, decided, component, cyclic, _ranking(p))


def _ranking(p: Floats) -> Floats:
    """Mean probability to win where all were compared (Borda), else the Bradley–Terry chance against an average rival."""
    n = len(p)
    known = ~np.isnan(p)
    if n < 2:
        return np.full(n, math.nan)
    if known.all():
        return np.asarray((borda(p) / (n - 1) + 1) / 2)
    met = known.sum(axis=1) > 1
    wins = np.where(known, p, 0.0)
    np.fill_diagonal(wins, 0.0)
    return np.where(met, sigmoid(bradley_terry(wins)), math.nan)
