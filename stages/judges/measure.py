"""From verdicts on gold items to a calibration: pure, vectorised over items, the same for recorded and live judges."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline import ids
from pipeline.records import Record
from stages.judges import calibration as c
from stages.judges.calibration_file import Calibration, Domain, GoldItems, JudgeCalibration
from stages.judges.evidence import Evidence, Judge
from stages.judges.jury import accuracy_weight
from stages.judges.length import length_effect, length_term
from stages.judges.panel import raw_log_odds
from stages.judges.swap import Floats, sigmoid

BINS = np.linspace(0.5, 1.0, 6)  # of confidence


class GoldVerdict(Record, frozen=True):
    """What one judge said about one gold item. truth: +1 a is better, −1 b, 0 tie; ab, ba: P(a better) by shown order."""

    job: str
    judge: str
    judge_id: str
    kind: str
    template_hash: str | None
    truth: int
    length_gap: int  # characters of a − of b
    domain: str | None
    adversarial: bool
    ab: float | None
    ba: float | None
    gap: float | None
    hard: bool
    calls: int
    ok: int
    refused: int


class Items(NamedTuple):
    """Gold items as arrays over items; evidence is [judges, items], calls (asked, ok, refused) are [3, judges, items]."""

    prompt_ids: tuple[str, ...]
    truth: Floats
    lengths: Floats
    domains: tuple[str, ...]
    adversarial: NDArray[np.bool_]
    evidence: Evidence
    calls: Floats

    def some(self, where: NDArray[np.bool_]) -> Items:
        """The items at which `where` is set."""
        picked = np.flatnonzero(where)
        return Items(
            tuple([self.prompt_ids[i] for i in picked]), self.truth[where], self.lengths[where],
            tuple([self.domains[i] for i in picked]), self.adversarial[where],
            Evidence(self.evidence.judges, *(array[:, where] for array in self.evidence[1:])), self.calls[:, :, where],
        )  # fmt: skip


class Rules(NamedTuple):
    """m: items that the accuracy of all judges is worth; a judge whose Wilson bound is not above `least` is disabled."""

    m: float = c.SHRINK
    least: float = 0.5


def items_of(rows: Sequence[GoldVerdict]) -> Items:
    """The arrays of a table of verdicts; items in the order of their ids, judges in that of their names."""
    first = {row.prompt_id: row for row in rows}
    prompt_ids = tuple(sorted(first))
    who = {row.judge: Judge(row.judge, row.kind, row.job, row.judge_id, row.template_hash) for row in rows}
    judges = tuple([who[name] for name in sorted(who)])
    places = {p: i for i, p in enumerate(prompt_ids)}
    speakers = {judge.name: i for i, judge in enumerate(judges)}
    shape = (len(judges), len(prompt_ids))
    said = np.full((3, *shape), math.nan)
    asked, hard, calls = np.zeros(shape), np.zeros(shape), np.zeros((3, *shape))
    for row in rows:
        at = speakers[row.judge], places[row.prompt_id]
        for k, value in enumerate((row.ab, row.ba, row.gap)):
            if value is not None:
                said[k][at] = value
        asked[at], hard[at] = 1.0, row.hard
        calls[:, at[0], at[1]] = row.calls, row.ok, row.refused
    known = [first[p] for p in prompt_ids]
    return Items(
        prompt_ids,
        np.array([row.truth for row in known], dtype=np.float64),
        np.array([row.length_gap for row in known], dtype=np.float64),
        tuple([row.domain or "" for row in known]),
        np.array([row.adversarial for row in known], dtype=bool),
        Evidence(judges, said[0], said[1], said[2], asked, hard),
        calls,
    )  # fmt: skip


class Reading(NamedTuple):
    """Arrays over judges and items: raw log-odds, measured position bias. both: [judges], who is judged in both orders."""

    raw: Floats
    leaning: Floats
    both: NDArray[np.bool_]
    bias: Floats


def read(evidence: Evidence) -> Reading:
    """What each judge thinks of each item. A judge that was never seen in both orders counts in the one there is."""
    both = (~np.isnan(evidence.ab) & ~np.isnan(evidence.ba)).any(axis=1)
    _, leaning = raw_log_odds(evidence, both, np.zeros(len(both)))
    n = (~np.isnan(leaning)).sum(axis=1)
    bias = np.nan_to_num(leaning).sum(axis=1) / np.maximum(n, 1)
    return Reading(raw_log_odds(evidence, both, bias)[0], leaning, both, bias)


def fit(items: Items, rules: Rules) -> Calibration:
    """The calibration of every judge on `items`."""
    reading = read(items.evidence)
    scores = c.scored(reading.raw, items.truth)
    known = ~np.isnan(scores)
    overall = float(scores[known].mean()) if known.any() else 0.5
    correlations = c.error_correlation(scores)
    names = [judge.name for judge in items.evidence.judges]
    pairs = correlations[np.tril_indices(len(names), -1)]
    pairs = pairs[~np.isnan(pairs)]
    return Calibration(
        gold=_gold(items),
        judges={name: _judge(items, reading, k, overall, rules) for k, name in enumerate(names)},
        error_correlation=max(0.0, float(pairs.mean())) if len(pairs) else 0.0,
        error_correlations={
            a: {b: float(correlations[i, j]) for j, b in enumerate(names) if not math.isnan(correlations[i, j])}
            for i, a in enumerate(names)
        },
    )  # fmt: skip


def _gold(items: Items) -> GoldItems:
    content = [[p, int(t)] for p, t in zip(items.prompt_ids, items.truth, strict=True)]
    return GoldItems(
        items=len(items.truth),
        ties=int((items.truth == 0).sum()),
        adversarial=int(items.adversarial.sum()),
        domains=dict(sorted(Counter(d for d in items.domains if d).items())),
        content=ids.content_hash("gold-items/1", content),
        length_std=float(items.lengths.std()),
        length_slope=c.fit_slope(length_term(items.lengths, float(items.lengths.std())), items.truth),
    )


def _judge(items: Items, reading: Reading, k: int, overall: float, rules: Rules) -> JudgeCalibration:
    judge, raw, truth = items.evidence.judges[k], reading.raw[k], items.truth
    scores, answered = c.scored(raw, truth), ~np.isnan(raw)
    known = ~np.isnan(scores)
    n, right = int(known.sum()), float(scores[known].sum())
    slope, low = c.fit_slope(raw, truth), c.wilson_low(right, n)
    shrunk = c.shrunk_accuracy(right, n, overall, rules.m)
    calibrated = raw * max(slope, 0.0)
    confidence = confidence_of(calibrated[known])
    term = length_term(items.lengths, float(items.lengths.std()))
    asked, ok, refused = items.calls[:, k].sum(axis=1)
    return JudgeCalibration(
        kind=judge.kind,
        template_hash=judge.template_hash,
        both_orders=bool(reading.both[k]) or judge.kind != "pairwise",
        n=n,
        accuracy=right / n if n else None,
        accuracy_shrunk=shrunk,
        wilson_low=low,
        enabled=low > rules.least and slope > 0,
        weight=accuracy_weight(shrunk),
        temperature=1 / slope if slope > 0 else None,
        length_slope=length_effect(calibrated, np.zeros_like(truth), term),
        length_effect=length_effect(calibrated, truth, term),
        tie_rate=float((raw[answered] == 0).mean()) if answered.any() else None,
        parse_rate=float(ok / asked) if asked else 0.0,
        refusal_rate=float(refused / asked) if asked else 0.0,
        ece=c.expected_calibration_error(confidence, scores[known], BINS) if n else None,
        brier=c.brier(confidence, scores[known]) if n else None,
        kappa=_finite(c.cohen_kappa(np.sign(raw[answered]), truth[answered])) if answered.any() else None,
        domains=_domains(items, scores, right / n if n else overall, rules),
        **_orders(items.evidence, reading, k),
    )


def _orders(evidence: Evidence, reading: Reading, k: int) -> dict[str, float | None]:
    """Position bias and consistency of a judge, over the items it answered in both orders."""
    two = ~np.isnan(reading.leaning[k])
    if not two.any():
        return dict.fromkeys(("position_bias", "position_bias_abs", "order_consistency"))
    sides = np.sign(evidence.ab[k, two] - 0.5), np.sign(evidence.ba[k, two] - 0.5)
    return {
        "position_bias": float(reading.bias[k]),
        "position_bias_abs": float(np.abs(reading.leaning[k, two]).mean()),
        "order_consistency": float((sides[0] == sides[1]).mean()),
    }


def _domains(items: Items, scores: Floats, accuracy: float, rules: Rules) -> dict[str, Domain]:
    found = {}
    for name in sorted({d for d in items.domains if d}):
        inside = np.array([d == name for d in items.domains]) & ~np.isnan(scores)
        n, right = int(inside.sum()), float(scores[inside].sum())
        shrunk = c.shrunk_accuracy(right, n, accuracy, rules.m)
        found[name] = Domain(
            n=n, accuracy=right / n if n else None, accuracy_shrunk=shrunk, weight=accuracy_weight(shrunk)
        )
    return found


def confidence_of(log_odds: Floats) -> Floats:
    """Probability of the side that is preferred."""
    return sigmoid(np.abs(log_odds))


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
