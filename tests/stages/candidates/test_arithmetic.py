"""Errors put into arithmetic by rule: what changes, what follows from it, and what is left alone."""

from __future__ import annotations

import random
import re
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.abacus.problems import make_problem
from models.abacus.solutions import first_wrong, is_correct, right_solution
from stages.candidates.arithmetic import ErrorType, Slip, slips

ALL: tuple[ErrorType, ...] = ("result", "operand", "operator", "final")
SOLUTION = "Step 1: 14 x 2 = 28\nStep 2: 28 / 7 = 4\nStep 3: 28 - 4 = 24\nAnswer: 24"


def made(text: str, *errors: ErrorType, seed: int = 1) -> list[Slip]:
    return list(slips(text, errors or ALL, random.Random(seed)))


def test_every_error_reaches_the_answer_and_says_what_it_is() -> None:
    found = [slip for seed in range(20) for slip in made(SOLUTION, seed=seed)]
    assert {slip.error for slip in found} == set(ALL)
    for slip in found:
        assert slip.text != SOLUTION
        assert not slip.text.endswith("Answer: 24")
        assert slip.before in SOLUTION
        assert slip.text[slip.start :].startswith(slip.after)
        assert slip.text[: slip.start] == SOLUTION[: slip.start]


def test_a_wrong_number_is_carried_on_through_later_equations() -> None:
    [slip] = [s for s in made(SOLUTION, "operand") if s.after.startswith("14 x 12")]
    assert slip.text == "Step 1: 14 x 12 = 168\nStep 2: 168 / 7 = 24\nStep 3: 168 - 24 = 144\nAnswer: 144"


@pytest.mark.parametrize("error", ["operand", "operator"])
def test_other_operands_and_operators_are_computed_rightly(error: ErrorType) -> None:
    for seed in range(20):
        for slip in made(SOLUTION, error, seed=seed):
            for a, op, b, c in re.findall(r"(\d+) ([-+x/*]) (\d+) = (\d+)", slip.text):
                computed = {"+": int(a) + int(b), "-": int(a) - int(b), "x": int(a) * int(b), "*": int(a) * int(b)}
                assert (computed[op] if op in computed else int(a) / int(b)) == int(c)


def test_money_and_thousands_keep_the_way_they_are_written() -> None:
    text = "She pays 3 * 2.50 = 7.50 dollars. Then 1,200 + 7.50 = $1,207.50.\n#### 1,207.50"
    found = {slip.text for seed in range(9) for slip in made(text, "result", "operand", seed=seed)}
    assert "She pays 3 * 4.50 = 13.50 dollars. Then 1,200 + 13.50 = $1,213.50.\n#### 1,213.50" in found
    assert all(re.search(r"#### (\d,\d{3}|\d{3})\.\d\d\Z", text) for text in found)


@pytest.mark.parametrize(
    "text",
    [
        "The capital of France is Paris, founded in 250 BC.",
        "3 + 4 = 8, so the answer is 8",  # wrong already: nobody knows what the writer meant
        "2 + 3 + 4 = 9",  # 3 + 4 = 9 is part of a longer sum
        "10 - 3 + 4 = 7",  # 3 + 4 = 7 holds, but is no equation of this text
        "7 / 0 = 7",
        f"{'1' * 5000} + 1 = {'1' * 4999}2",
        f"Step 1: {'1' * 5000} + 1 = 2",
        "",
    ],
)
def test_what_is_no_true_equation_is_left_alone(text: str) -> None:
    assert made(text) == []


def test_draws_decide_and_nothing_else() -> None:
    assert made(SOLUTION, seed=5) == made(SOLUTION, seed=5)
    assert Counter(made(SOLUTION, seed=5)).keys() != Counter(made(SOLUTION, seed=6)).keys()


@given(st.integers(0, 10_000))
def test_a_broken_solution_of_a_known_problem_is_wrong(seed: int) -> None:
    problem = make_problem(random.Random(seed), "heldout")
    text = right_solution(problem)
    for slip in slips(text, ALL, random.Random(seed)):
        assert first_wrong(problem, slip.text) is not None
        assert not is_correct(problem, slip.text)


def test_a_number_too_long_to_read_beside_an_equation_is_text() -> None:
    found = made(f"1 + 1 = 2, then {'7' * 5000} and 2", "result")
    assert found
    assert all("7" * 5000 in slip.text for slip in found)


@given(st.text(alphabet="0123456789+-x*/= .,$\nab", max_size=80))
def test_no_text_breaks_it(text: str) -> None:
    for slip in made(text):
        assert slip.text != text
