"""The versioned file a calibration is kept in, and how a run makes sure that it is about its own judges."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from pipeline.errors import PlanError
from stages.judges.evidence import Judge


class Strict(BaseModel):
    """Frozen, no unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Domain(Strict):
    """A judge on one domain; accuracy is shrunk towards the judge's own."""

    n: int
    accuracy: float | None
    accuracy_shrunk: float
    weight: float


class JudgeCalibration(Strict):
    """One judge on the gold items. Rates are shares of calls, accuracies count a judge's tie as ½ and leave gold ties out.

    temperature: log-odds (kind pairwise, rm) or score differences on [0, 1] (score) are divided by it; None where
    larger means worse. position_bias: mean logit towards what is shown first. length_slope: calibrated
    logits per tanh(Δ/std); length_effect: the same at equal quality. both_orders: False for a judge that was never asked
    in both.
    """

    kind: Literal["pairwise", "score", "rm"]
    template_hash: str | None
    both_orders: bool
    n: int
    accuracy: float | None
    accuracy_shrunk: float
    wilson_low: float
    enabled: bool
    weight: float
    temperature: float | None
    position_bias: float | None
    position_bias_abs: float | None
    order_consistency: float | None
    length_slope: float
    length_effect: float
    tie_rate: float | None
    parse_rate: float
    refusal_rate: float
    ece: float | None
    brier: float | None
    kappa: float | None
    domains: dict[str, Domain] = {}

    def weight_in(self, domain: str | None) -> float:
        """Its weight in a jury, in one domain where that is known; 0 when it is disabled."""
        if not self.enabled:
            return 0.0
        return self.domains[domain].weight if domain in self.domains else self.weight

    def excess_length(self, gold_slope: float) -> float:
        """Logits per tanh(Δ/std) to take off: its pull to length at equal quality, as far as length is worth less."""
        return max(0.0, min(self.length_effect, self.length_slope - gold_slope))


class GoldItems(Strict):
    """What a calibration was made on. length_std: characters; length_slope: of the labels, logits per tanh(Δ/std)."""

    items: int
    ties: int
    adversarial: int
    domains: dict[str, int]
    content: str  # hash over items and labels
    length_std: float
    length_slope: float


class JuryFigures(Strict):
    """Juries on the gold items, out of sample (folds). Accuracies count ties as ½."""

    folds: int
    best_judge: float
    equal_votes: float
    calibrated: float
    calibrated_ece: float
    equal_votes_ece: float


class Calibration(Strict):
    """All that aggregation needs to know of its judges, by name (`job:judge_id`)."""

    format: Literal["prefsynth-calibration/1"] = "prefsynth-calibration/1"
    gold: GoldItems
    judges: dict[str, JudgeCalibration]
    error_correlation: float  # mean over pairs of judges, at least 0
    error_correlations: dict[str, dict[str, float]]
    jury: JuryFigures | None = None

    def of(self, judges: Iterable[Judge]) -> list[JudgeCalibration]:
        """What is known of each judge. Raises PlanError for one it does not know, or knows under another template."""
        return [self._of(judge) for judge in judges]

    def _of(self, judge: Judge) -> JudgeCalibration:
        known = self.judges.get(judge.name)
        if known is None:
            raise PlanError(
                f"the calibration knows no judge {judge.name}; it knows {', '.join(self.judges) or 'none'}: "
                f"calibrate job {judge.job} with this model"
            )
        for what, old, new in (
            ("kind", known.kind, judge.kind),
            ("template", known.template_hash, judge.template_hash),
        ):
            if old != new:
                raise PlanError(
                    f"{judge.name} was calibrated with {what} {(old or 'none')[:12]}, this run has "
                    f"{(new or 'none')[:12]}: calibrate it again"
                )
        return known


def read_calibration(path: Path) -> Calibration:
    """The calibration at `path`. Raises PlanError: no such file, another format, another version."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        return Calibration.model_validate(data)
    except OSError:
        raise PlanError(f"no calibration at {path}; make one with prefsynth calibrate") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise PlanError(f"{path} is no calibration this version reads: {where}: {first['msg']}") from None
    except ValueError as error:
        raise PlanError(f"{path} is no calibration: {error}") from None
