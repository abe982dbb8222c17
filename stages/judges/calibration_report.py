"""The page that shows a calibration: one table of judges, reliability and risk–coverage plots. Self-contained. Pure."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence

import numpy as np

from stages.judges import calibration as c
from stages.judges.calibration_file import Calibration, JudgeCalibration
from stages.judges.juries import Juries, jury_of
from stages.judges.measure import BINS, Items, confidence_of, read
from stages.judges.plots import Curve, plot
from stages.judges.swap import Floats

STYLE = """
body{font:15px/1.5 system-ui,sans-serif;max-width:70rem;margin:2rem auto;padding:0 1rem;color:#222}
h1{font-size:1.5rem}h2{font-size:1.15rem;margin-top:2rem}table{border-collapse:collapse;font-size:.86rem}
.wide{overflow-x:auto}th,td{padding:.25rem .6rem;border-bottom:1px solid #ddd;text-align:right;white-space:nowrap}
th:first-child,td:first-child{text-align:left}.off td{color:#999}
figure{display:inline-block;vertical-align:top;width:26rem;margin:0 1rem 1rem 0}
figcaption{font-weight:600}svg{width:100%}svg text{font-size:11px;fill:#444}.grid{stroke:#eee}
.keys span{display:inline-block;margin-right:.8rem;font-size:.8rem}
.keys i{display:inline-block;width:.7rem;height:.7rem;margin-right:.25rem}
"""
COLUMNS = (
    "judge", "n", "accuracy", "Wilson low", "weight", "temperature", "bias", "|bias|", "consistent", "parsed", "refused",
    "ties", "length slope", "length effect", "ECE", "Brier", "κ",
)  # fmt: skip
SHOWN = 6  # judges in a plot, the best ones
FEW_ADVERSARIAL = 0.3  # share of gold items below which weights say little about hard cases


def report(items: Items, calibration: Calibration, juries: Juries) -> str:
    """The whole page as HTML."""
    gold = calibration.gold
    facts = [f"{gold.items:,} gold items, {gold.ties:,} ties, {gold.adversarial:,} adversarial"]
    if gold.domains:
        facts.append("domains: " + ", ".join(f"{name} {n:,}" for name, n in gold.domains.items()))
    facts.append(f"longer answer is better, slope of the labels: {gold.length_slope:.2f} logits per tanh(Δ/σ)")
    facts.append(f"mean error correlation of judges: {calibration.error_correlation:.2f}")
    if gold.adversarial < FEW_ADVERSARIAL * gold.items:
        facts.append("Few items are adversarial: weights learned on easy items are wrong on hard ones.")
    return "\n".join(
        [
            '<!doctype html><html lang="en"><meta charset="utf-8"><title>Calibration of judges</title>',
            f"<style>{STYLE}</style><h1>Calibration of judges</h1>",
            "<ul>" + "".join(f"<li>{html.escape(fact)}</li>" for fact in facts) + "</ul>",
            "<h2>Judges</h2>", _table(COLUMNS, map(_row, calibration.judges.items())),
            "<p>Grey: disabled, its accuracy is not surely above chance. Accuracy counts a tie as ½, leaves gold ties out.</p>",
            _jury(calibration), "<h2>Reliability and risk–coverage</h2>", *_plots(items, calibration, juries),
            _domains(calibration), _correlations(calibration), "</html>\n",
        ]
    )  # fmt: skip


def _number(value: float | None, digits: int = 3) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def _row(entry: tuple[str, JudgeCalibration]) -> tuple[bool, list[str]]:
    name, j = entry
    numbers = (
        j.accuracy, j.wilson_low, j.weight if j.enabled else 0.0, j.temperature, j.position_bias, j.position_bias_abs,
        j.order_consistency, j.parse_rate, j.refusal_rate, j.tie_rate, j.length_slope, j.length_effect, j.ece, j.brier,
        j.kappa,
    )  # fmt: skip
    return j.enabled, [name, f"{j.n:,}", *(_number(value) for value in numbers)]


def _table(head: Sequence[str], rows: Iterable[tuple[bool, Sequence[str]]]) -> str:
    """Rows are (whether to show it in full colour, cells)."""
    top = "".join(f"<th>{html.escape(cell)}</th>" for cell in head)
    body = "".join(
        f"<tr{'' if on else ' class=off'}>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in cells) + "</tr>"
        for on, cells in rows
    )
    return f'<div class="wide"><table><tr>{top}</tr>{body}</table></div>'


def _jury(calibration: Calibration) -> str:
    jury = calibration.jury
    if jury is None:
        return ""
    rows = (
        ("best single judge", jury.best_judge, None),
        ("all judges, equal votes", jury.equal_votes, jury.equal_votes_ece),
        (f"calibrated jury, {jury.folds} folds out of sample", jury.calibrated, jury.calibrated_ece),
    )
    cells = [(True, [name, _number(accuracy), _number(ece)]) for name, accuracy, ece in rows]
    return "<h2>Juries</h2>" + _table(("jury", "accuracy", "ECE"), cells)


def _plots(items: Items, calibration: Calibration, juries: Juries) -> list[str]:
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
    return [
        plot("Reliability", ("confidence", "share right"), reliable, (0.5, 1.0), (0.0, 1.0)),
        plot(
            "Risk and coverage",
            ("share of items kept, surest first", "share wrong"),
            risky,
            (0.0, 1.0),
            (0.0, max(worst, 0.1)),
        ),
    ]


def _scored(log_odds: Floats, truth: Floats) -> tuple[Floats, Floats]:
    scores = c.scored(log_odds, truth)
    known = ~np.isnan(scores)
    return confidence_of(log_odds[known]), scores[known]


def _domains(calibration: Calibration) -> str:
    names = list(calibration.gold.domains)
    if not names:
        return ""
    rows = [
        (j.enabled, [name, *(_number(j.domains[d].accuracy) if d in j.domains else "–" for d in names)])
        for name, j in calibration.judges.items()
    ]
    return "<h2>Accuracy by domain</h2>" + _table(("judge", *names), rows)


def _correlations(calibration: Calibration) -> str:
    names = list(calibration.judges)
    if len(names) < 2:
        return ""
    rows = [(True, [a, *(_number(calibration.error_correlations[a].get(b), 2) for b in names)]) for a in names]
    return "<h2>Correlation of errors</h2>" + _table(("", *names), rows)
