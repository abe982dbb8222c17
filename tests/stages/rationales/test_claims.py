"""Claims: what a rationale calculates is recomputed; what it quotes, reports or leaves open is not."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.rationales.claims import find_claims

RESPONSE = "Step 1: 3 + 4 = 8\nStep 2: 12 / 4 = 4\nAnswer: 4"


@pytest.mark.parametrize(
    ("text", "verdicts"),
    [
        ("39 - 31 = 8", [True]), ("39 - 31 = 9", [False]), ("39−31 = 8", [True]), ("(3 + 4) * 2 = 14", [True]),
        ("3 + 4 * 2 = 14", [False]), ("16 - 3 - 4 = 9 eggs", [True]), ("8 ÷ 2 = 4", [True]), ("8 × 2 = 15", [False]),
        ("2 x 3 = 6", [True]), ("1,000 + 500 = 1,600", [False]), ("$3 * 4 = $12", [True]), ("−3 + 5 = 2", [True]),
        ("3 x 5 is 15, not 12", [True]), ("12 / 4 is 3, not 4.", [True]), ("5 * 1/2 = 2.5", [True]),
        ("12 = 3 * 5", [False]),
        ("3 + 4 = 7 = 14 / 2", [True]), ("3 + 4 = 10 - 3", [True]), ("- 3 + 4 = 8", [False]),
        ("Step 1: 39 - 31 = 8", [True]),
        ("50% of 20 is 10", [True]), ("200 * 15% = 30", [True]), ("3 / 4 = 75%", [True]), ("30 / 40 * 100 = 75%",
        [True]),
        ("March 5, 2024 was a Tuesday", [True]), ("March 5, 2024 was a Monday", [False]),
        ("February 30, 2024 is a Monday", [False]), ("20 - 5 = 15 dollars, and 15 * 2 = 31", [True, False]),
    ],
)  # fmt: skip
def test_every_calculation_is_recomputed(text: str, verdicts: list[bool]) -> None:
    assert [c.true for c in find_claims(text)] == verdicts


@pytest.mark.parametrize(
    "text",
    ["is 15, not 12", "the total is 12.", "2x + 3 = 7", "2x - 3 = 7", "x + 3 + 4 = 9", "3 + 4 = 7x",
    "f(3) + 4 = 9", "2^3 + 5 = 13",
     "17 / 5 = 3 remainder 2", "half of 20 + 5 = 15", "3 + 4 is not 8", "3 + 4 ≠ 8", "1/0 = 5",
     "3 apples + 4 apples = 8 apples",
     "step 2 is 3", "100 - 20% = 80", "9" * 50 + " + 1 = 3"],
)  # fmt: skip
def test_what_is_no_whole_calculation_is_no_claim(text: str) -> None:
    assert find_claims(text) == []


@pytest.mark.parametrize(
    ("text", "true"),
    [("10 / 3 = 3.33", True), ("10 / 3 = 3.3", True), ("2 / 3 = 0.66", True), ("2 / 3 = 0.65", False),
    ("7 / 2 = 3", False),
     ("10 / 3 = 3", False), ("1000 / 3 ≈ 330", True), ("1000 / 3 ≈ 400", False)],
)  # fmt: skip
def test_a_printed_rounding_is_allowed_and_a_whole_number_is_exact(text: str, true: bool) -> None:
    assert [c.true for c in find_claims(text)] == [true]


@pytest.mark.parametrize(
    ("text", "false"),
    [
        ('It says "3 + 4 = 8" there.', 0),
        ('It says "3 + 5 = 9" there.', 1),  # no quote of the response
        ("Response B says 3 + 4 = 8, which is wrong.", 0),
        ("Response B computes 3 + 4 = 8. It should be 7.", 0),
        ("Response B correctly computes 3 + 4 = 8.", 1),
        ("Response B computes 3 + 4 = 8 and goes on.", 1),
        ("Response B wrongly says 12 / 4 = 4, but 12 / 4 = 2.", 1),
        ("Response B wrongly says 12 / 4 = 4, but 12 / 4 = 3.", 0),
        ("This is wrong: 5 + 5 = 11.", 1),  # wrong, and nobody's but the author's
    ],
)
def test_a_reported_error_is_not_the_authors(text: str, false: int) -> None:
    assert sum(not c.true for c in find_claims(text, [RESPONSE])) == false


@settings(deadline=None)
@given(
    st.lists(st.integers(0, 999), min_size=2, max_size=5),
    st.lists(st.sampled_from("+-*"), min_size=4, max_size=4),
    st.integers(-3, 3),
)
def test_a_claim_holds_exactly_when_the_arithmetic_does(numbers: list[int], operators: list[str], off: int) -> None:
    left = str(numbers[0]) + "".join(f" {op} {n}" for op, n in zip(operators, numbers[1:], strict=False))
    terms = [Fraction(numbers[0])]
    for op, n in zip(operators, numbers[1:], strict=False):
        if op == "*":
            terms[-1] *= n
        else:
            terms.append(Fraction(n if op == "+" else -n))
    (claim,) = find_claims(f"so {left} = {sum(terms) + off}")
    assert claim.true == (off == 0)


@settings(deadline=None)
@given(st.text(alphabet="0123456789+-*/=().,%x $is\"'", max_size=200))
def test_any_text_is_searched_without_an_error(text: str) -> None:
    for claim in find_claims(text, [text]):
        assert text[claim.start : claim.start + len(claim.text)] == claim.text


@pytest.mark.timeout(60)
@pytest.mark.parametrize("unit", ["1+", "(", "1 = ", "1+1=3. ", '"', "9", "1%", "1% of ", "-1"])
def test_a_hostile_text_costs_little_time(unit: str) -> None:
    assert len(find_claims(unit * 20_000, [unit * 20_000])) <= 100
