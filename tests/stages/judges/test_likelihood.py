"""Likelihoods, difficulty and relevance as formulas: the golden values, and what must hold for any number."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.judges.likelihood import (
    category_mean,
    difficulty,
    expit,
    follow_up_reward,
    ideal_logratio,
    implicit_reward,
    neg_log_sigmoid,
)
from stages.judges.relevance import Parts, length_incentive, own_answer, product, standardised, variety, words

GOLDEN = Path(__file__).resolve().parents[3] / "../shared/spec/golden/judges.json"
FLOATS = st.floats(-1e3, 1e3)


@pytest.fixture
def golden() -> dict[str, Any]:
    if not GOLDEN.exists():
        pytest.skip("the golden values are not at ../shared")
    found: dict[str, Any] = json.loads(GOLDEN.read_text(encoding="utf-8"))
    return found


def test_golden_follow_up_likelihood(golden: dict[str, Any]) -> None:
    found = follow_up_reward([[-1, -2, -3], [-1, -1]], [[-2, -4], [-2, -2, -2]])
    assert found == pytest.approx(golden["flr"], abs=1e-6) == 1.0


def test_golden_difficulty(golden: dict[str, Any]) -> None:
    for c in (-10, 0, 5, 30):
        hard = difficulty(-50.0, -50.0 + c, 0.1)
        assert hard.threshold == pytest.approx(golden[f"diff.c{c}"], abs=1e-6)
        assert (hard.ref_logratio, hard.ref_correct, hard.ideal_rank_ok) == (c, c < 0, None)
    assert ideal_logratio(5, 0.1, 0.8) == pytest.approx(golden["ideal.c5"], abs=1e-6)
    assert ideal_logratio(30, 0.1, 0.8) == pytest.approx(golden["ideal.c30"], abs=1e-6)
    assert ideal_logratio(0, 0.1, 1.0) == pytest.approx(golden["ideal.a1.c0"], abs=1e-6)
    assert [difficulty(0.0, c, 0.1, 0.8).ideal_rank_ok for c in (5, 30)] == [True, False]


def test_golden_relevance(golden: dict[str, Any]) -> None:
    assert variety("the cat sat the cat sat the cat".split()) == pytest.approx(golden["r3.rp"], abs=1e-6)
    assert variety("the cat".split()) == golden["r3.rp.short"]
    opened = Parts(1.2, length_incentive(150, 4), 0.9, False)
    assert product(opened, 512) == pytest.approx(golden["r3.open"], abs=1e-6)
    assert product(Parts(2.0, 9.9, 0.9, True), 512) == pytest.approx(golden["r3.closed"], abs=1e-6)


def test_the_implicit_reward_is_beta_times_the_log_ratio() -> None:
    assert implicit_reward(-10.0, -12.5, 0.2) == pytest.approx(0.5)


def test_a_follow_up_likelihood_needs_both_kinds_and_tokens() -> None:
    for positive, negative in (([], [[-1.0]]), ([[-1.0]], []), ([[]], [[-1.0]])):
        with pytest.raises(ValueError, match="follow-ups of both kinds"):
            follow_up_reward(positive, negative)


def test_the_mean_of_categories_needs_half_of_them() -> None:
    assert category_mean({"a": 1.0, "b": None}) == 1.0
    assert category_mean({"a": 1.0, "b": None, "c": None}) is None


@given(FLOATS)
def test_the_logistic_function_and_its_loss_fit_together_for_any_number(x: float) -> None:
    assert 0 <= expit(x) <= 1
    assert expit(x) + expit(-x) == pytest.approx(1)
    assert neg_log_sigmoid(x) - neg_log_sigmoid(-x) == pytest.approx(-x)
    if x > -700:
        assert math.exp(-neg_log_sigmoid(x)) == pytest.approx(expit(x))


@given(FLOATS, FLOATS, st.floats(0.01, 1), st.floats(0, 1))
def test_swapping_the_arms_turns_the_difficulty_round(a: float, b: float, beta: float, p: float) -> None:
    one, other = difficulty(a, b, beta, p), difficulty(b, a, beta, 1 - p)
    assert one.ref_logratio == -other.ref_logratio
    assert not (one.ref_correct and other.ref_correct)
    assert not (one.ideal_rank_ok and other.ideal_rank_ok)


@given(st.lists(st.tuples(FLOATS, st.floats(0, 4), st.floats(0, 1)), min_size=1, max_size=6), st.floats(0.1, 100))
def test_standardised_parts_do_not_depend_on_the_encoders_scale(rows: list[tuple[float, ...]], scale: float) -> None:
    pool = [Parts(round(r, 3), length, spread, False) for r, length, spread in rows]
    found = [x for x in standardised(pool) if x is not None]
    scaled = standardised([parts._replace(relevance=parts.relevance * scale) for parts in pool])
    assert scaled == pytest.approx(found, abs=1e-6)
    assert math.fsum(found) == pytest.approx(0, abs=1e-6)
    assert standardised([*pool, None])[-1] is None


def test_length_is_capped_and_no_merit_where_the_prompt_is_closed() -> None:
    assert (length_incentive(150, 4), length_incentive(9000, 4)) == (1.5, 4)
    short, long = Parts(1.0, 0.1, 1.0, True), Parts(1.0, 4.0, 1.0, True)
    assert standardised([short, long]) == [0.0, 0.0]
    assert standardised([p._replace(closed=False) for p in (short, long)]) == [
        pytest.approx(-1 / 3),
        pytest.approx(1 / 3),
    ]


@pytest.mark.parametrize("end", ["\n\n\n\n\nMore", "\nHuman: and now?", "\n### Instruction: go on", "\n User: x"])
def test_an_answer_ends_where_the_model_speaks_as_somebody_else(end: str) -> None:
    assert own_answer(f"Four.\n\nIt is 2 + 2.{end}") == "Four.\n\nIt is 2 + 2."


def test_words_are_runs_of_letters_and_of_punctuation() -> None:
    assert words("It's 2+2!!") == ["It", "'", "s", "2", "+", "2", "!!"]
