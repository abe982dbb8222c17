"""Final answers: found, read and compared; what cannot be read is unknown."""

from __future__ import annotations

import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.judges.answers import (
    Answer,
    equal_choice,
    equal_numbers,
    marked_answer,
    read_answer,
    read_reference,
)
from stages.judges.choices import read_choice
from stages.judges.numbers import canonical_fraction, last_number, read_number, same_number
from stages.judges.texts import equal_text


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("18", "18"), ("20.0", "20"), ("1,000", "1000"), ("$1,234.50", "1234.5"), ("18.", "18"), ("50%", "50"),
        ("007", "7"),
        ("-5", "-5"), ("−5", "-5"), ("- 5", "-5"), ("-$5", "-5"), ("-0", "0"), (".5", "0.5"), ("3/4", "0.75"),
        ("1/3", "1/3"),
        ("2/6", "1/3"), ("3 1/2", "3.5"), ("-3 1/2", "-3.5"), (r"\frac{1}{2}", "0.5"), (r"$\dfrac34$", "0.75"),
        (r"20\text{ cm}", "20"), (r"90^\circ", "90"), (r"10{,}000", "10000"), (r"\$18", "18"),
        ("18 eggs per day", "18"),
        ("5km", "5"), ("x = 5", "5"), ("3 x 4 = 12 dollars", "12"), ("2 million", "2000000"), ("1e3", "1000"),
        ("**18**", "18"), ("18 (which is 9*2)", "18"), ("twelve", "12"), ("twenty-one", "21"),
        ("three hundred and five", "305"), ("one thousand two hundred", "1200"),
    ],
)  # fmt: skip
def test_numbers_are_read_as_people_write_them(text: str, number: str) -> None:
    assert read_number(text) == number


@pytest.mark.parametrize(
    "text",
    ["", "none", r"2\sqrt{3}", "2^{10}", "10**10**10", "2x", "5k", "20-30", "20 - 30", "1, 2", "(1, 2)", "5!", "7:30",
     "5 hours and 30 minutes", "12 or 13", "two or three", "H2O", "1/0", "1e999999999", "12,34", "not 5", "1 234"],
)  # fmt: skip
def test_what_is_no_single_number_is_unreadable(text: str) -> None:
    assert read_number(text) is None


@settings(deadline=None)
@given(st.fractions(-(10**20), 10**20, max_denominator=10**6))  # at most 30 digits are read
def test_a_fraction_and_its_decimal_are_the_same_number(value) -> None:  # type: ignore[no-untyped-def]
    assert read_number(f"{value.numerator}/{value.denominator}") == canonical_fraction(value)


@settings(deadline=None)
@given(st.decimals(allow_nan=False, allow_infinity=False, places=4, min_value=-(10**9), max_value=10**9))
def test_zeros_and_commas_do_not_change_a_number(value) -> None:  # type: ignore[no-untyped-def]
    assert read_number(f"{value:,.4f}") == read_number(f"{value:.4f}000") == read_number(str(value))


@settings(deadline=None)
@given(st.text(alphabet=string.digits + string.ascii_letters + " .,-+*/\\{}$()=^%", max_size=80))
def test_any_text_is_read_without_an_error(text: str) -> None:
    number = read_number(text)
    assert number is None or same_number(number, number)


@pytest.mark.timeout(20)
@pytest.mark.parametrize("unit", ["9", "1,", "(", "-", "\\frac", "1e", "$", "\\text{", "1/", " ", "="])
def test_a_hostile_answer_costs_no_time(unit: str) -> None:
    assert read_number(unit * 200_000 + "x") is None
    assert last_number(unit * 200_000) is None or unit in ("9", "1,", "1/", "1e")


def test_a_million_digits_are_compared_and_not_computed_with() -> None:
    assert read_number("9" * 10**6) != read_number("72")
    assert not same_number("9" * 10**6, "72", tolerance=0.1)


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("so 3\n#### 72", "72"), ("A: 64", "64"), ("x\nA: 1\ny\nA: 2", "2"), ("NASA: 5", None), ("Answer: 20", "20"),
        ("**Answer:** 20", "20"), ("The final answer is 7.", "7."), ("Answer:\n\n5", "5"),
        (r"so \boxed{\frac{1}{2}}", r"\frac{1}{2}"),
        (r"\boxed{1} then \boxed{2}", "2"), (r"Answer: $\boxed{5}$", "5"), (r"\boxed{\frac{1}{2", None),
        ("no marker 5", None),
    ],
)  # fmt: skip
def test_the_last_marker_counts(text: str, answer: str | None) -> None:
    assert marked_answer(text) == answer


def test_a_configured_marker_is_a_literal_or_a_pattern() -> None:
    assert marked_answer("Total (final): 5", "(final):") == "5"
    assert marked_answer("Result = 5", r"Result\s*=") == "5"
    assert marked_answer("NASA: 5", "A:") is None
    assert marked_answer("x [broken 5", "[broken") == "5"


def test_the_reference_decides_how_to_compare() -> None:
    methods = {text: reference.method for text in ("…\n#### 72", "C", "(B)", r"\sqrt{2}", "(1,2)", "Paris", "1/2")
               if (reference := read_reference(text)) is not None}  # fmt: skip
    assert methods == {
        "…\n#### 72": "numbers", "C": "choice", "(B)": "choice", r"\sqrt{2}": "latex", "(1,2)": "latex",
        "Paris": "exact",
        "1/2": "numbers",
    }  # fmt: skip
    assert read_reference("") is None
    assert read_reference("A long story about nothing in particular. " * 10) is None


@pytest.mark.parametrize(
    ("answer", "letter"),
    [("C", "C"), ("(c)", "C"), ("C. 5 apples", "C"), ("option B", "B"),
     (r"\text{(D)}", "D"), ("**B**", "B"), ("B because", "B"),
     ("A man", None), ("I think", None), ("A or B", None), ("a mix of both", None), ("Cats", None), ("5", None)],
)  # fmt: skip
def test_an_option_is_a_letter_and_no_word(answer: str, letter: str | None) -> None:
    assert read_choice(answer) == letter


def test_a_choice_that_names_no_option_is_unknown() -> None:
    reference = read_reference("C")
    assert reference is not None
    assert equal_choice(Answer("C) because", True), reference) is True
    assert equal_choice(Answer("B", True), reference) is False
    assert equal_choice(Answer("none of these", True), reference) is None


def test_an_operand_of_a_broken_off_calculation_is_never_credited() -> None:
    reference = read_reference("4")
    assert reference is not None
    cut = read_answer("He needs more.\nSo it takes 3 miles / 440 * 4", reference)
    wrong = read_answer("He needs more.\nSo it takes 3 miles / 440 * 5", reference)
    assert cut is not None
    assert wrong is not None
    assert equal_numbers(cut, reference, 0.0) is None
    assert equal_numbers(wrong, reference, 0.0) is False


def test_texts_are_equal_apart_from_case_blanks_and_marks() -> None:
    assert equal_text("**Paris.**", "paris")
    assert equal_text("1,000", "1000")
    assert not equal_text("Paris", "paris", case_sensitive=True)
    assert not equal_text("London", "Paris")
