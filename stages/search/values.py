"""From raw scores to the value of a node (spec mcts R2, Evaluation). Pure. What is missing stays missing."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import cast

from stages.search.rules import ValueRules, ValueSource
from stages.search.tickets import Child


def option_confidence(right: float, wrong: float, min_mass: float = 0.0) -> float | None:
    """P(right) / (P(right) + P(wrong)) from the two natural log-probabilities; None below `min_mass` of both."""
    mass = math.exp(right) + math.exp(wrong)
    return math.exp(right) / mass if mass > min_mass else None


def both_orders(confidences: Sequence[float | None]) -> float | None:
    """Mean confidence over the option orders that gave one; removes the bias for a position."""
    known = [confidence for confidence in confidences if confidence is not None]
    return math.fsum(known) / len(known) if known else None


def graded(probabilities: Mapping[str, float], grades: Mapping[str, float]) -> float | None:
    """Expected grade of options A, B, … by their renormalised probabilities; None without any mass."""
    mass = math.fsum(probabilities[option] for option in grades)
    return math.fsum(probabilities[option] * grade for option, grade in grades.items()) / mass if mass > 0 else None


def linear(score: float, low: float, high: float) -> float:
    """A score on [low, high] mapped to [-1, 1]."""
    return 2.0 * (score - low) / (high - low) - 1.0


def child_value(
    child: Child, mc_rollout: float | None, parent_depth: int, parent_reward: float, rules: ValueRules
) -> float | None:
    """What is backed up from a child; None when nothing is known of it. Raises ValueError off [-1, 1] (`centred`)."""
    divisor = max(parent_depth - 3, 1) if rules.length_shaping or rules.form == "additive" else 1
    if rules.form == "additive":
        if not child.self_eval and child.outcome is None:
            return None
        return (child.self_eval / divisor if child.self_eval else parent_reward) + (child.outcome or 0)
    if child.outcome is not None:
        return float(child.outcome)
    value = combined(child, mc_rollout, rules.weights)
    if value is not None and not -1.0 <= value <= 1.0:
        raise ValueError(f"a value of {value:g} lies outside [-1, 1]; rescale the score of step {child.text[:40]!r}")
    return value if value is None else value / divisor


def combined(child: Child, mc_rollout: float | None, weights: Mapping[ValueSource, float]) -> float | None:
    """Weighted mean of the sources that gave something, each on [-1, 1]."""
    on_unit = (("self_eval", child.self_eval), ("prm_score", child.prm_score), ("mc_rollout", mc_rollout))
    scores = [(name, 2.0 * score - 1.0) for name, score in on_unit if score is not None]
    if child.judge_score is not None:
        scores.append(("judge_score", child.judge_score))
    weighted = [(weights.get(cast(ValueSource, name), 0.0), score) for name, score in scores]
    weight = sum(w for w, _ in weighted)
    return sum(w * score for w, score in weighted) / weight if weight > 0 else None


def counted_outcome(outcome: int | None, value: float | None, rules: ValueRules) -> int:
    """+1 right, -1 wrong, 0 not decided; an end without outcome counts by the bounds `good` and `bad`, where given."""
    if outcome is not None or value is None:
        return outcome or 0
    if rules.good is not None and value >= rules.good:
        return 1
    return -1 if rules.bad is not None and value <= rules.bad else 0
