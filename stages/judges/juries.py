"""Juries on gold items, out of sample: what votes, and what a calibration adds. Pure, vectorised over items."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from stages.judges import calibration as c
from stages.judges.calibration_file import Calibration, JuryFigures
from stages.judges.measure import BINS, Items, Rules, confidence_of, fit, read
from stages.judges.panel import Rules as JuryRules
from stages.judges.panel import deliberate, seat
from stages.judges.swap import Floats

FOLDS = 5


class Juries(NamedTuple):
    """Log-odds of a over b, [items]: of equal votes, and of the jury calibrated on the other folds. NaN: no opinion."""

    equal: Floats
    calibrated: Floats


def out_of_sample(items: Items, rules: Rules, folds: int = FOLDS) -> Juries:
    """Each item judged by the jury that was calibrated without it. The fold of an item follows from its id."""
    place = np.array([int(p[:8], 16) % folds for p in items.prompt_ids])
    calibrated = np.full(len(place), np.nan)
    for fold in range(folds):
        inside = place == fold
        if not inside.any() or inside.all():
            continue
        mine = items.some(inside)
        calibrated[inside] = jury_of(mine, fit(items.some(~inside), rules))
    return Juries(equal_votes(items), calibrated)


def jury_of(items: Items, calibration: Calibration) -> Floats:
    """Log-odds of the calibrated jury."""
    made = JuryRules(calibration)
    return deliberate(seat(items.evidence, items.lengths, made), made)[1]


def equal_votes(items: Items) -> Floats:
    """Log-odds of a jury that knows nothing of its judges: all weigh the same."""
    pairwise = np.array([judge.kind == "pairwise" for judge in items.evidence.judges], dtype=bool)
    made = JuryRules(both_orders=bool(read(items.evidence).both[pairwise].all()))
    return deliberate(seat(items.evidence, items.lengths, made), made)[1]


def figures(items: Items, calibration: Calibration, juries: Juries, folds: int = FOLDS) -> JuryFigures | None:
    """Accuracies and calibration errors of the juries; None where nothing could be scored out of sample."""
    equal, calibrated = (c.scored(odds, items.truth) for odds in juries)
    both = ~np.isnan(equal) & ~np.isnan(calibrated)
    if not both.any():
        return None
    best = max(judge.accuracy for judge in calibration.judges.values() if judge.accuracy is not None)
    return JuryFigures(
        folds=folds,
        best_judge=best,
        equal_votes=float(equal[both].mean()),
        calibrated=float(calibrated[both].mean()),
        equal_votes_ece=_ece(juries.equal[both], equal[both]),
        calibrated_ece=_ece(juries.calibrated[both], calibrated[both]),
    )


def _ece(log_odds: Floats, scores: Floats) -> float:
    return c.expected_calibration_error(confidence_of(log_odds), scores, BINS)
