"""From raw judgments to one score per candidate: pure, without a model, run again at will (spec judges C0.6, C3 J1)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple, TypeVar

from msgspec import Struct

from pipeline.records import Judgment
from stages.judges.criteria import checklist_score
from stages.judges.likelihood import expit

Source = tuple[str, str, str | None]  # job, judge, aspect
CONTEXTUAL = frozenset(
    {"context_compare", "context_rate", "context_effect"}
)  # true in one context, for `pair_contexts`
# What is measured rather than judged in general, or was told to the author of an answer: it counts where its aspect is
# given a weight, and only there.
SIGNALS = frozenset({"flr", "relevance", "self_certainty", "likelihood", "meta"}) | CONTEXTUAL
K = TypeVar("K")


class AspectScore(Struct, frozen=True, gc=False):
    """What one judge of one job gave a candidate on one aspect: mean of n samples, population std (judge's scale)."""

    job: str
    judge: str
    aspect: str | None
    raw: float
    normalized: float  # raw mapped from [scale_min, scale_max] to [0, 1]; without bounds as `candidate_scores` says
    scale_min: float
    scale_max: float
    n: int
    std: float


class CandidateScore(Struct, frozen=True, gc=False):
    """All that judges said about one candidate.

    value: weighted mean of the normalized aspect scores, on [0, 1]; None when fewer than half of the weights answered.
    absolute: it says how good the answer is, not only how it compares with the others of its prompt, as a reward does.
    outcome: what deterministic checks found; None when none decided or they disagree. n_ok and n_failed count
    judgments of both sorts; `na` (no reference, aspect does not apply) is neither.
    """

    value: float | None
    outcome: bool | None
    scores: tuple[AspectScore, ...]
    n_ok: int
    n_failed: int
    absolute: bool = True


class _Scale(NamedTuple):
    """Bounds of a score; without them, `middle` is the mean over the candidates."""

    low: float
    high: float
    middle: float = 0.0

    def normalized(self, value: float) -> float:
        """On [0, 1]."""
        span = self.high - self.low
        if not math.isfinite(span):
            return expit(value - self.middle)
        return (value - self.low) / span if span > 0 else 0.0


class _Tally:
    """What was collected for one candidate so far. criteria: criterion -> weight and answers, of each checklist."""

    __slots__ = ("criteria", "failed", "ok", "outcomes", "samples")

    def __init__(self) -> None:
        self.samples: dict[Source, list[float]] = {}
        self.criteria: dict[Source, dict[str | None, tuple[float, list[float]]]] = {}
        self.outcomes: set[bool] = set()
        self.ok = 0
        self.failed = 0

    def checked(self, judgment: Judgment) -> Source:
        """Files the answer to a criterion; returns the checklist it belongs to."""
        source = (judgment.job, judgment.judge_id, "checklist")
        if judgment.status != "na":
            criteria = self.criteria.setdefault(source, {})
            answers = criteria.setdefault(judgment.aspect, (judgment.weight or 1.0, []))[1]
            answers += [] if judgment.value is None else [judgment.value]
        return source

    def take(self, judgment: Judgment, scales: dict[Source, tuple[float, float]]) -> None:
        """One judgment of the candidate; notes the scale of its source."""
        value = judgment.value if judgment.status == "ok" else None
        self.ok += value is not None
        self.failed += value is None and judgment.status != "na"
        if judgment.mode == "tool":
            self.outcomes |= set() if value is None else {value >= 0.5}
        elif judgment.mode == "criterion":
            scales[self.checked(judgment)] = (0.0, 100.0)
        else:
            source = (judgment.job, judgment.judge_id, judgment.aspect)
            scales[source] = (judgment.scale_min, judgment.scale_max)
            if value is not None:
                self.samples.setdefault(source, []).append(value)

    def sum_up(self) -> None:
        """Makes one sample of each checklist that was answered."""
        for source, criteria in self.criteria.items():
            means = [(weight, sum(a) / len(a) if a else None) for weight, a in criteria.values()]
            if (score := checklist_score(means)) is not None:
                self.samples[source] = [score]


def candidate_scores(
    judgments: Sequence[Judgment], weights: Mapping[str, float] | None = None
) -> dict[str, CandidateScore]:
    """Scores of the candidates that `judgments` (of one prompt, any jobs) concern, by candidate id.

    weights: aspect name -> weight; aspects not named weigh 1. Several judges of an aspect share its weight. An aspect
    that was asked for anywhere in `judgments` counts towards the total even where its answer is missing. The criteria
    of a checklist make one score, aspect `checklist`. Judgments of two candidates are left to the pairwise aggregation.
    Judgments of the modes SIGNALS count where `weights` names their aspect.

    Scores without bounds (reward models) mean something by their differences within a prompt alone: such a score becomes
    σ(score - mean over the candidates), the probability by Bradley and Terry that it beats the average candidate.
    """
    tallies: dict[str, _Tally] = {}
    scales: dict[Source, tuple[float, float]] = {}
    for judgment in judgments:
        if len(judgment.cand_ids) == 1 and (judgment.mode not in SIGNALS or judgment.aspect in (weights or {})):
            tallies.setdefault(judgment.cand_ids[0], _Tally()).take(judgment, scales)
    for tally in tallies.values():
        tally.sum_up()
    shares = _shares(scales, weights or {})
    placed = {source: _placed(source, scale, tallies) for source, scale in scales.items()}
    return {candidate: _score(tally, placed, shares) for candidate, tally in tallies.items()}


def _placed(source: Source, scale: tuple[float, float], tallies: Mapping[str, _Tally]) -> _Scale:
    if math.isfinite(scale[1] - scale[0]):
        return _Scale(*scale)
    given = [t.samples[source] for t in tallies.values() if source in t.samples]
    means = [sum(values) / len(values) for values in given]
    return _Scale(*scale, sum(means) / len(means) if means else 0.0)


def _shares(sources: Mapping[Source, object], weights: Mapping[str, float]) -> dict[Source, float]:
    """The weight of each source: its aspect's weight, divided among the judges of that aspect."""
    judges: dict[str | None, int] = {}
    for _, _, aspect in sources:
        judges[aspect] = judges.get(aspect, 0) + 1
    return {source: weights.get(source[2] or "", 1.0) / judges[source[2]] for source in sources}


def _score(tally: _Tally, scales: Mapping[Source, _Scale], shares: Mapping[Source, float]) -> CandidateScore:
    scores = tuple([_aspect(source, values, scales[source]) for source, values in tally.samples.items()])
    outcome = next(iter(tally.outcomes)) if len(tally.outcomes) == 1 else None
    return CandidateScore(
        weighted_mean({s: score.normalized for s, score in zip(tally.samples, scores, strict=True)}, shares),
        outcome,
        scores,
        tally.ok,
        tally.failed,
        all(
            math.isfinite(s.scale_max - s.scale_min) or not shares[source]
            for source, s in zip(tally.samples, scores, strict=True)
        ),
    )


def _aspect(source: Source, values: Sequence[float], scale: _Scale) -> AspectScore:
    job, judge, aspect = source
    n = len(values)
    mean = sum(values) / n
    std = 0.0 if n == 1 else math.sqrt(sum((v - mean) ** 2 for v in values) / n)
    return AspectScore(job, judge, aspect, mean, scale.normalized(mean), scale.low, scale.high, n, std)


def weighted_mean(values: Mapping[K, float], weights: Mapping[K, float]) -> float | None:
    """Mean of `values` under the weights of the keys present, renormalised (UltraFeedback with N/A aspects).

    None when the present keys hold less than half of all `weights`, or no weight at all.
    """
    present = sum([weights[key] for key in values])
    if present <= 0 or 2 * present < sum(weights.values()) * (1 - 1e-12):
        return None
    return sum([weights[key] * value for key, value in values.items()]) / present
