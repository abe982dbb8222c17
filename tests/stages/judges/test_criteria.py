"""Checklists read from data and from what a model wrote, and their score."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from pipeline.errors import Rejected
from stages.judges.criteria import MOST, Criterion, checklist_score, read_criteria, written_criteria

GOLDEN = Path(__file__).resolve().parents[3] / "../shared/spec/golden/judges.json"
WEIGHTS, MET = [3, 2, -3, 1, -1], [1, 0, 0, 1, 1]  # spec judges §12
answered = st.lists(
    st.tuples(st.sampled_from([-3, -2, -1, 1, 2, 3]), st.none() | st.floats(0, 1)), min_size=1, max_size=20
)


@pytest.mark.skipif(not GOLDEN.exists(), reason="the golden values are not at hand")
def test_the_score_has_its_golden_values() -> None:
    golden = json.loads(GOLDEN.read_text())
    score = checklist_score(list(zip(WEIGHTS, MET, strict=True)))
    assert score == pytest.approx(golden["more.code"], abs=1e-9)
    assert score is not None
    assert score / 50 - 1 == pytest.approx(golden["more.paper"], abs=1e-9)
    assert score * 1000 / 3500 == pytest.approx(golden["more.hard3500"], abs=1e-9)


def test_what_was_not_answered_leaves_both_sums() -> None:
    assert checklist_score([(3, 1.0), (1, 1.0), (1, 0.0), (2, None)]) == pytest.approx(80)
    assert checklist_score([(3, 1.0), (1, 1.0), (2, None)]) is None
    assert checklist_score([(3, None)]) is None
    assert checklist_score([]) is None


@given(answered)
def test_a_score_is_between_none_and_all_and_a_failed_call_never_lowers_it_below_the_rest(
    answers: list[tuple[float, float | None]],
) -> None:
    score = checklist_score(answers)
    missing = sum(value is None for _, value in answers)
    assert (score is None) == (missing == len(answers) or missing > len(answers) / 4)
    if score is not None:
        assert -1e-9 <= score <= 100 + 1e-9
        assert score == checklist_score([(w, v) for w, v in answers if v is not None])


@pytest.mark.parametrize(
    "given_as",
    [
        ["States the year.", "Insults."],
        [{"criterion": "States the year.", "weight": 3}, {"text": "Insults.", "points": "-2"}],
        [{"title": "States the year.", "weight": "3"}, {"description": "Insults.", "weight": "−2"}],
        "- (3) States the year.\n- [-2] Insults.",
        "1. States the year. (weight: 3)\n2) Insults. [weight -2]",
    ],
)
def test_criteria_are_read_in_the_forms_data_sets_use(given_as: Any) -> None:
    found = read_criteria(given_as)
    assert [c.text.rstrip(".") for c in found] == ["States the year", "Insults"]
    if given_as != ["States the year.", "Insults."]:
        assert [c.weight for c in found] == [3.0, -2.0]


@pytest.mark.parametrize(
    "bad",
    [
        [],
        "no list here",
        {"a": 1},
        [{"weight": 1}],
        [{"text": "x", "weight": 9}],
        [{"text": "x", "weight": 0}],
        [1],
        None,
    ],
)
def test_data_that_holds_no_criteria_is_rejected_with_what_is_wrong(bad: Any) -> None:
    with pytest.raises(Rejected, match=r"expected a list|no text with a weight"):
        read_criteria(bad)


def test_criteria_a_model_wrote_are_found_in_prose_and_fences() -> None:
    items = [{"criterion": f"Does {i}.", "weight": 1 + i % 3} for i in range(5)]
    for text in (json.dumps(items), f"Here they are:\n```json\n{json.dumps(items, indent=1)}\n```\nGood luck."):
        assert [(c.text, c.weight) for c in written_criteria(text)] == [(f"Does {i}.", 1 + i % 3) for i in range(5)]
    listed = written_criteria("Criteria:\n* **Names it.** (weight: 2)\n* Is rude. (weight: -3)\nDone")
    assert [(c.text, c.weight) for c in listed] == [("Names it.", 2.0), ("Is rude.", -3.0)]


def test_what_is_no_criterion_is_left_out_and_repeats_count_once() -> None:
    text = json.dumps([{"criterion": "A."}, {"criterion": "a"}, {"criterion": "B.", "weight": 0}, 7, {"x": 1}, "C."])
    assert [c.text for c in written_criteria(text)] == ["A.", "C."]
    assert len(written_criteria(json.dumps([f"Number {i}." for i in range(50)]))) == MOST


@given(st.text(max_size=300) | st.text(alphabet='[]{}"\\,:-1 criteonwght\n', max_size=120))
def test_any_text_is_read_without_failing(text: str) -> None:
    for criterion in written_criteria(text):
        assert criterion.text
        assert 0 < abs(criterion.weight) <= 3


@pytest.mark.timeout(20)
def test_a_hostile_list_costs_no_time() -> None:
    assert written_criteria("[" * 50_000) == ()
    assert written_criteria("- " + "(" * 50_000) == ()
    assert written_criteria("- a" + " (weight" * 5_000) == ()
    assert written_criteria("[1]" * 20_000 + "]" * 20_000) == ()


def test_a_weight_of_nothing_is_refused_in_a_config() -> None:
    with pytest.raises(ValidationError, match="decides nothing"):
        Criterion(text="x", weight=0)
