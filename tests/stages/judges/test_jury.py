"""Invariants of juries, rankings and cycles, whatever the judges say (spec judges C0, C7)."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.judges import calibration, cycles, jury, labels, ranking, swap

probabilities = st.floats(0.001, 0.999)
log_odds = st.floats(-5, 5)
answers = st.one_of(st.just(math.nan), log_odds)
weights = st.floats(0, 3)
panels = st.integers(1, 6).flatmap(
    lambda n: st.tuples(st.lists(answers, min_size=n, max_size=n), st.lists(weights, min_size=n, max_size=n))
)


def hear(deltas: list[float], weight: list[float]) -> tuple[float, float, float]:
    opinion = jury.soft_jury(np.array(deltas)[:, None], np.array(weight))
    return opinion.log_odds.item(), opinion.std.item(), opinion.agreement.item()


@given(log_odds, st.floats(-3, 3))
def test_two_orders_recover_the_truth_whatever_the_bias(truth: float, bias: float) -> None:
    found, leaning = swap.debias(swap.sigmoid(truth + bias), swap.sigmoid(-truth + bias))
    assert float(found) == pytest.approx(truth, abs=1e-6)
    assert float(leaning) == pytest.approx(bias, abs=1e-6)


@given(st.floats(-700, 700))
def test_the_probability_of_the_opposite_is_exactly_the_rest(x: float) -> None:
    assert swap.sigmoid(-x) == 1 - swap.sigmoid(x)
    assert swap.sigmoid(x) == pytest.approx(1 / (1 + math.exp(-x)) if x > -700 else 0.0)


@given(probabilities)
def test_logit_undoes_sigmoid(p: float) -> None:
    assert float(swap.sigmoid(swap.logit(p))) == pytest.approx(p)


def test_one_missing_order_is_no_preference() -> None:
    assert all(math.isnan(float(x)) for x in swap.debias(0.9, math.nan))


@given(panels)
def test_exchanging_the_arms_turns_the_sign_and_nothing_else(panel: tuple[list[float], list[float]]) -> None:
    deltas, weight = panel
    one, other = hear(deltas, weight), hear([-d for d in deltas], weight)
    np.testing.assert_array_equal([-one[0], one[1], one[2]], other)


@given(panels, st.randoms(use_true_random=False))
def test_the_order_of_judges_does_not_matter(panel: tuple[list[float], list[float]], random: object) -> None:
    places = list(range(len(panel[0])))
    random.shuffle(places)  # type: ignore[attr-defined]
    shuffled = hear([panel[0][i] for i in places], [panel[1][i] for i in places])
    np.testing.assert_allclose(hear(*panel), shuffled, atol=1e-9)


@given(panels, weights)
def test_a_silent_judge_changes_nothing_or_takes_the_quorum(
    panel: tuple[list[float], list[float]], weight: float
) -> None:
    before, after = hear(*panel), hear([*panel[0], math.nan], [*panel[1], weight])
    if not math.isnan(after[0]):
        np.testing.assert_allclose(before, after, atol=1e-12)


def test_half_of_the_weight_is_a_quorum_and_less_is_none() -> None:
    assert hear([1.0, math.nan], [1.0, 1.0])[0] == 1.0
    assert math.isnan(hear([1.0, math.nan], [1.0, 1.1])[0])
    assert math.isnan(hear([1.0], [0.0])[0])


@given(panels)
def test_a_jury_is_never_surer_than_its_surest_judge(panel: tuple[list[float], list[float]]) -> None:
    found = hear(*panel)[0]
    heard = [abs(d) for d in panel[0] if d == d]
    assert math.isnan(found) or abs(found) <= max(heard) + 1e-9


def test_a_judge_worse_than_chance_is_not_heard_in_reverse() -> None:
    assert [jury.accuracy_weight(a) for a in (0.2, 0.5)] == [0.0, 0.0]


matrices = st.integers(2, 5).flatmap(
    lambda n: st.lists(st.lists(st.integers(1, 9), min_size=n, max_size=n), min_size=n, max_size=n)
)


@given(matrices, st.floats(0.5, 20))
def test_bradley_terry_does_not_depend_on_how_many_games_a_win_is(games: list[list[int]], scale: float) -> None:
    wins = np.array(games, dtype=np.float64)
    np.testing.assert_allclose(
        ranking.bradley_terry(wins, prior=0.0), ranking.bradley_terry(wins * scale, prior=0.0), atol=1e-5
    )


def test_bradley_terry_needs_a_prior_where_somebody_never_won() -> None:
    wins = np.array([[0.0, 3.0], [0.0, 0.0]])
    assert ranking.bradley_terry(wins)[0] > 0
    with pytest.raises(ValueError, match="use a prior"):
        ranking.bradley_terry(wins, prior=0.0)


@given(st.lists(log_odds, min_size=3, max_size=6))
def test_a_ranking_has_no_cyclic_part(strengths: list[float]) -> None:
    s = np.array(strengths)
    found, fraction = cycles.gradient(s[:, None] - s[None, :])
    np.testing.assert_allclose(found, s - s.mean(), atol=1e-9)
    assert fraction == pytest.approx(0.0, abs=1e-9)


@given(st.lists(log_odds, min_size=4, max_size=4))
def test_a_missing_comparison_leaves_a_ranking_as_it_is(strengths: list[float]) -> None:
    s = np.array(strengths)
    flows = s[:, None] - s[None, :]
    flows[0, 3] = flows[3, 0] = math.nan
    np.testing.assert_allclose(cycles.gradient(flows)[0], s - s.mean(), atol=1e-8)


def test_components_are_what_can_reach_each_other() -> None:
    beats = np.zeros((5, 5), dtype=bool)
    for i, j in ((0, 1), (1, 2), (2, 3), (3, 1), (3, 4)):
        beats[i, j] = True
    assert cycles.components(beats) == [0, 1, 1, 1, 4]


@given(log_odds.filter(lambda d: abs(d) > 0.05))
def test_the_slope_of_well_calibrated_odds_is_one(delta: float) -> None:
    p = float(swap.sigmoid(delta))
    values = np.full(10_000, delta)
    truth = np.where(np.arange(10_000) < round(10_000 * p), 1.0, -1.0)
    assert calibration.fit_slope(values, truth) == pytest.approx(1.0, abs=0.02 / abs(delta))


def test_separable_judges_have_a_finite_slope_and_wrong_ones_a_negative_one() -> None:
    values, truth = np.array([1.0, -2, 3]), np.array([1.0, -1, 1])
    assert 0 < calibration.fit_slope(values, truth) < 10
    assert calibration.fit_slope(-values, truth) < 0
    assert calibration.fit_slope(np.full(3, math.nan), truth) == 0


@given(st.lists(st.tuples(st.floats(0.5, 1), st.booleans()), min_size=1, max_size=30))
def test_risk_at_full_coverage_is_the_error_rate(items: list[tuple[float, bool]]) -> None:
    confidence, right = np.array([c for c, _ in items]), np.array([float(r) for _, r in items])
    coverage, risk = calibration.risk_coverage(confidence, right)
    assert coverage[-1] == 1.0
    assert risk[-1] == pytest.approx(1 - right.mean())


@given(st.lists(st.one_of(st.none(), st.floats(0, 1)), min_size=1, max_size=3))
def test_no_single_signal_turns_a_label_round(signals: list[float | None]) -> None:
    known = [p for p in signals if p is not None]
    decision = labels.decide(signals)
    assert decision != "flip" or (len(known) > 1 and max(known) <= 0.25 + 1e-9)
    assert decision != "keep" or sum(known) / len(known) >= 0.55 - 1e-9
