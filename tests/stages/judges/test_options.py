"""Verdicts by name read from a judge's words and label probabilities."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.engine import Completion
from stages.judges.options import BETTER, YES_NO, parse_side, parse_yes_no, read_preference, read_yes_no
from stages.judges.verdicts import ScoreRule

SIDES = ScoreRule(0, 1, BETTER, 0.5, False)
NO_LABELS = ScoreRule(0, 1, {}, 0.5, True)
ANSWERS = ScoreRule(0, 1, YES_NO, 0.5, False)


def said(text: str, labels: dict[str, float] | None = None, finish: str = "stop") -> Completion:
    logs = {label: math.log(p) for label, p in labels.items()} if labels else None
    return Completion(text, finish, 10, 5, labels=logs)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("A", 1), (" B.\n", 0), ("T", 0.5), ("**Answer: A**", 1), ("[[B]]", 0), ("[[C]]", 0.5), ("x\nAnswer: A", 1),
        ("Response A is better", 1), ("Good points on both. Response B is the clearly better response.", 0),
        ("It is a tie.", 0.5), ("Verdict: tie", 0.5), ("Answer: T (tie)", 0.5), ('{"why": "x", "verdict": "A"}', 1),
        ("Feedback [RESULT] B", 0), ("The better response is B", 0), ("A and B differ.\n(A)", 1), ("A\n\nBecause B fails", 1),
        ("Step 1: 50 + 24 = 74; A 74 correct; B 4 wrong\nAnswer: A", 1),
    ],
)  # fmt: skip
def test_the_side_is_the_last_thing_said(text: str, value: float) -> None:
    parsed = parse_side(text, reason=False)
    assert parsed is not None
    assert parsed.value == value


@pytest.mark.parametrize(
    "text",
    ["", "A better response is hard to find", "I do not think Response A is better", "C", "Answer: C", "the answer is a",
     "Answer: A or B", "Answer: A because it is right", "I think A", "ABBA"],
)  # fmt: skip
def test_a_letter_that_is_no_verdict_is_no_side(text: str) -> None:
    assert parse_side(text, reason=False) is None


def test_a_judge_that_reasons_has_not_decided_by_its_first_letter() -> None:
    assert parse_side("A\n\nThen again, B is right.", reason=True) is None
    assert parse_yes_no("Yes\n\nThen again, hm.", reason=True) is None


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("Yes", 1), ("no.", 0), ("Yes, because it does", 1), ("No\n\nThe response does not.", 0), ("**No**", 0),
        ("reasons\nAnswer: Yes", 1), ("It does. So the answer is yes", 1), ('{"met": "No"}', 0), ("I know it.\nNo", 0),
        ("[[Yes]]", 1), ("Well [RESULT] no", 0), ("Yes, it names it, but not here. So the answer is no", 0),
    ],
)  # fmt: skip
def test_yes_and_no_are_read_where_a_line_begins_or_behind_the_word_answer(text: str, value: float) -> None:
    parsed = parse_yes_no(text, reason=False)
    assert parsed is not None
    assert parsed.value == value


@pytest.mark.parametrize("text", ["", "not", "I know", "Yes and no", "Yes/No", "no doubt", "It says yes", "Not yes"])
def test_words_that_hold_a_no_are_no_verdict(text: str) -> None:
    assert parse_yes_no(text, reason=False) is None


def test_the_preference_is_the_share_of_the_first_with_half_of_the_ties() -> None:
    labels = {"A": 0.54, "B": 0.18, "T": 0.18}
    reading = read_preference(said("A", labels), SIDES, first=True, ties=True)
    assert reading.value == pytest.approx((0.54 + 0.09) / 0.9)
    assert reading.mode == 1.0
    assert reading.mass == pytest.approx(0.9)
    assert reading.probs is not None
    assert {p.label: p.p for p in reading.probs} == pytest.approx({"A": 0.6, "B": 0.2, "T": 0.2})


def test_label_probabilities_do_not_count_where_another_letter_follows_the_verdict() -> None:
    reading = read_preference(said("B\n\nResponse A is wrong in", {"A": 0.99, "B": 0.01}), SIDES, first=True, ties=True)
    assert (reading.value, reading.mass) == (0.0, None)


REASONED = ScoreRule(0, 1, BETTER, 0.5, True)


@pytest.mark.parametrize("verdict", ["It is a tie.", "[[C]]", "Verdict: tie"])
def test_a_tie_in_words_is_no_letter_of_the_reasoning(verdict: str) -> None:
    text = f"Response B is every bit as clear as Response A. {verdict}"
    reading = read_preference(said(text, {"A": 0.98, "B": 0.01, "T": 0.01}), REASONED, first=True, ties=True)
    assert (reading.status, reading.value, reading.mode, reading.mass) == ("ok", 0.5, 0.5, None)


def test_a_tie_that_was_not_offered_is_out_of_range_whatever_the_letters_before_it_weigh() -> None:
    rule = ScoreRule(0, 1, {"A": 1.0, "B": 0.0}, 0.5, True)
    for labels in ({"A": 0.98, "B": 0.02}, {"A": 0.1, "B": 0.1}):
        reading = read_preference(said("As clear as Response A.\nAnswer: T", labels), rule, first=True, ties=False)
        assert (reading.status, reading.value) == ("out_of_range", None)


@pytest.mark.parametrize(("verdict", "value"), [("no", 0.0), ("NO", 0.0), ("yes", 1.0)])
def test_a_yes_or_no_that_is_not_spelled_as_the_label_is_no_label_of_the_reasoning(verdict: str, value: float) -> None:
    text = f"Yes, it names the capital, but of another country.\nSo the answer is {verdict}"
    reading = read_yes_no(said(text, {"Yes": 0.95, "No": 0.05}), ANSWERS)
    assert (reading.status, reading.value, reading.mass) == ("ok", value, None)


def test_a_verdict_that_is_spelled_as_a_label_has_the_probabilities_of_the_label() -> None:
    text = "Yes, it names the capital, but of another country. So the answer is No."
    reading = read_yes_no(said(text, {"Yes": 0.2, "No": 0.7}), ANSWERS)
    assert reading.value == pytest.approx(0.2 / 0.9)
    assert reading.reasoning == "Yes, it names the capital, but of another country. So the"
    reading = read_preference(said("Close to a tie.\nAnswer: A", {"A": 0.7, "B": 0.2}), REASONED, first=True, ties=True)
    assert reading.value == pytest.approx(0.7 / 0.9)


def test_a_tie_that_was_not_offered_is_out_of_range_and_no_half() -> None:
    assert read_preference(said("tie"), NO_LABELS, first=True, ties=True).value == 0.5
    reading = read_preference(said("tie"), NO_LABELS, first=True, ties=False)
    assert (reading.status, reading.value) == ("out_of_range", None)


def test_little_mass_on_the_labels_is_no_preference() -> None:
    reading = read_preference(said("A", {"A": 0.3, "B": 0.1}), SIDES, first=True, ties=True)
    assert (reading.status, reading.value) == ("low_mass", None)
    assert reading.mass == pytest.approx(0.4)
    assert read_yes_no(said("Yes", {"Yes": 0.3, "No": 0.1}), ANSWERS).status == "low_mass"


@given(st.floats(0.01, 1), st.floats(0.01, 1), st.floats(0, 1), st.sampled_from("ABT"))
def test_who_was_shown_first_turns_the_preference_around_exactly(a: float, b: float, t: float, letter: str) -> None:
    labels = {"A": a / 3, "B": b / 3, "T": t / 3 + 1e-9}
    rule = ScoreRule(0, 1, BETTER, 0.0, False)
    first = read_preference(said(letter, labels), rule, first=True, ties=True)
    second = read_preference(said(letter, labels), rule, first=False, ties=True)
    assert first.value is not None
    assert second.value == 1 - first.value
    assert second.probs == first.probs


@given(st.text(max_size=200) | st.text(alphabet="AB T[]:yesno\n.answer", max_size=60))
def test_any_answer_has_either_a_preference_or_a_reason(text: str) -> None:
    for reading in (
        read_preference(said(text), SIDES, first=True, ties=True),
        read_preference(said(text), NO_LABELS, first=False, ties=False),
        read_yes_no(said(text), ANSWERS),
    ):
        assert (reading.status == "ok") == (reading.value is not None)
        assert reading.value in (None, 0, 0.5, 1)
