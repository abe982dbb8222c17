"""The page that shows a calibration: tables of judges, reliability and risk–coverage plots. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from pipeline.page import Axis, Curve, Markup, page, paragraph, plot, row, table
from stages.judges import calibration as c
from stages.judges.calibration_file import Calibration, GoldItems, JudgeCalibration, JuryFigures
from stages.judges.juries import Juries, jury_of
from stages.judges.measure import BINS, Items, confidence_of, read
from stages.judges.swap import Floats

COLUMNS = (
    "judge", "n", "accuracy", "Wilson low", "weight", "temperature", "bias", "|bias|", "consistent", "parsed", "refused",
    "ties", "length slope", "length effect", "ECE", "Brier", "κ",
)  # fmt: skip
SHOWN = 6  # judges in a plot, the best ones
FEW_ADVERSARIAL = 0.3  # share of gold items below which weights say little about hard cases


def report(items: Items, calibration: Calibration, juries: Juries) -> str:
    """The whole page as HTML."""
    gold, judges = calibration.gold, calibration.judges
    sections = [("Gold items", _gold(gold)), ("Judges", _judges(calibration))]
    if calibration.jury is not None:
        sections.append(("Juries", _jury(calibration.jury)))
    sections.append(("Reliability and risk–coverage", _plots(items, calibration, juries)))
    if gold.domains:
        known = [[j.domains[d].accuracy if d in j.domains else None for d in gold.domains] for j in judges.values()]
        sections.append(("Accuracy by domain", table(("judge", *gold.domains), _named(judges, known), _off(judges))))
    if len(judges) > 1:
        errors = [[calibration.error_correlations[a].get(b) for b in judges] for a in judges]
        sections.append(("Correlation of errors", table(("", *judges), _named(judges, errors))))
    lead = f"{len(judges)} judges on {gold.items:,} gold items. Red: disabled, accuracy not surely above chance."
    return page("Calibration of judges", lead, *sections)


def _named(judges: Iterable[str], numbers: Iterable[Sequence[float | None]]) -> list[list[object]]:
    return [[name, *own] for name, own in zip(judges, numbers, strict=True)]


def _off(judges: Mapping[str, JudgeCalibration]) -> list[tuple[int, int]]:
    """The names of disabled judges, as cells of a table of all."""
    return [(place, 0) for place, judge in enumerate(judges.values()) if not judge.enabled]


def _gold(gold: GoldItems) -> Markup:
    facts = [f"{gold.ties:,} ties, {gold.adversarial:,} adversarial."]
    if gold.domains:
        facts.append("Domains: " + ", ".join(f"{name} {n:,}" for name, n in gold.domains.items()))
    facts.append(f"Longer answer is better, slope of the labels: {gold.length_slope:.2f} logits per tanh(Δ/σ).")
    if gold.adversarial < FEW_ADVERSARIAL * gold.items:
        facts.append("Few items are adversarial: weights learned on easy items are wrong on hard ones.")
    return "".join(map(paragraph, facts))


def _judges(calibration: Calibration) -> Markup:
    judges = calibration.judges
    numbers = [
        (
            j.n, j.accuracy, j.wilson_low, j.weight if j.enabled else 0.0, j.temperature, j.position_bias,
            j.position_bias_abs, j.order_consistency, j.parse_rate, j.refusal_rate, j.tie_rate, j.length_slope,
            j.length_effect, j.ece, j.brier, j.kappa,
        )
        for j in judges.values()
    ]  # fmt: skip
    about = (
        f"Accuracy: a tie is ½, gold ties left out. Mean correlation of errors: {calibration.error_correlation:.2f}."
    )
    return table(COLUMNS, _named(judges, numbers), _off(judges)) + paragraph(about)


def _jury(jury: JuryFigures) -> Markup:
    rows = (
        ("best single judge", jury.best_judge, None),
        ("all judges, equal votes", jury.equal_votes, jury.equal_votes_ece),
        (f"calibrated jury, {jury.folds} folds out of sample", jury.calibrated, jury.calibrated_ece),
    )
    return table(("jury", "accuracy", "ECE"), rows)


def _plots(items: Items, calibration: Calibration, juries: Juries) -> Markup:
    raw = dict(zip(calibration.judges, read(items.evidence).raw, strict=True))
    enabled = {n: j for n, j in calibration.judges.items() if j.enabled and j.temperature}
    best = sorted(enabled, key=lambda name: -(enabled[name].accuracy or 0))[:SHOWN]
    curves = {name: raw[name] / (enabled[name].temperature or 1) for name in best}
    single = juries.calibrated if np.isfinite(juries.calibrated).any() else jury_of(items, calibration)
    shown = {"equal votes": juries.equal, "calibrated jury": single, **curves}
    reliable, risky = [Curve("perfect", ((0.5, 0.5), (1, 1)), dashed=True)], []
    for name, odds in shown.items():
        confidence, right = _scored(odds, items.truth)
        if len(right):
            bins = c.reliability(confidence, right, BINS)
            reliable.append(Curve(name, [(mean, share) for _, mean, share in bins], dots=True))
            coverage, risk = c.risk_coverage(confidence, right)
            risky.append(Curve(name, list(zip(coverage.tolist(), risk.tolist(), strict=True)), dots=len(risk) < 12))
    worst = max((y for curve in risky for _, y in curve.points), default=0.5)
    return row(
        plot("Reliability", Axis("confidence", 0.5, 1.0), Axis("share right", 0.0, 1.0), reliable),
        plot(
            "Risk and coverage", Axis("share of items kept, surest first", 0.0, 1.0),
            Axis("share wrong", 0.0, max(worst, 0.1)), risky,
        ),
    )  # fmt: skip


def _scored(log_odds: Floats, truth: Floats) -> tuple[Floats, Floats]:
    scores = c.scored(log_odds, truth)
    known = ~np.isnan(scores)
    return confidence_of(log_odds[known]), scores[known]
