"""What the benchmarks of true labels call right: whole answers, unfinished ones, and reasons."""

from __future__ import annotations

import pytest

from benchmarks.judge_labels import faultless
from benchmarks.kinds import is_right
from models.abacus.problems import Problem, make_problems
from models.abacus.solutions import right_solution, step_text

SHOWN = {"A": "Step 1: 7 x 9 = 63\nAnswer: 63", "B": "Step 1: 7 + 9 = 16\nAnswer: 16"}
GOOD = """Step 1 of response B is wrong: 7 x 9 = 63.
- Response B says "Step 1: 7 + 9 = 16": a sum
Response A is much better than Response B."""


@pytest.fixture(scope="module")
def problem() -> Problem:
    return next(p for p in make_problems(1, 20, "heldout") if len(p.lines) == 3)


def test_a_whole_answer_needs_every_result_and_the_answer_in_any_dress(problem: Problem) -> None:
    right = right_solution(problem)
    assert is_right(right, problem, whole=True)
    assert is_right(right.replace("\nAnswer", ";\nAnswer"), problem, whole=True)
    steps = right.split("\n")
    assert not is_right("\n".join([*steps[:1], *steps[2:]]), problem, whole=True), "a step is missing"
    assert not is_right("\n".join(steps[:-1]), problem, whole=True), "no answer"
    wrong = steps[0].rpartition("= ")[0] + f"= {problem.lines[0].result + 10}"
    assert not is_right("\n".join([wrong, *steps[1:]]), problem, whole=True), "two mistakes that cancel"


def test_an_unfinished_answer_is_right_as_far_as_it_has_come(problem: Problem) -> None:
    steps = [step_text(i, line) for i, line in enumerate(problem.lines, 1)]
    for n in range(1, 4):
        told = "\n".join(steps[:n])
        assert is_right(told, problem, whole=False)
        assert is_right(told + "\nStep ", problem, whole=False) == (n < 3), "another step behind the last"
        assert is_right(told + "\nAnswer", problem, whole=False) == (n == 3), "the answer before the last"
    assert not is_right(steps[1], problem, whole=False)


@pytest.mark.parametrize(
    ("was", "now"),
    [
        ("Response A is much", "Response B is much"),
        ("7 x 9 = 63.", "7 x 9 = 61."),
        ("7 + 9 = 16", "7 + 9 = 18"),
        ("a sum", "7 x 9 is 63, not 16"),
    ],
)
def test_a_rationale_is_at_fault_by_its_verdict_its_sums_its_quotes_and_what_it_reports(was: str, now: str) -> None:
    assert faultless(GOOD, "A", SHOWN)
    assert not faultless(GOOD.replace(was, now), "A", SHOWN)
