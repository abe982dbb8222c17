"""Every pair is kept or refused with one reason."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from pipeline.records import Message
from stages.pairs.gate import Arm, Bounds, Gate, passed_filters, similarity, why_refused
from stages.pairs.truncation import TrainingLength

PROMPT = (Message("user", "How many?"),)


class Letters:
    """A tokenizer with one token per character."""

    def encode(self, text: str) -> list[int]:
        return [ord(c) for c in text]

    def chat(self, messages: Sequence[Message]) -> list[int]:
        return [0, *(ord(c) for m in messages for c in f"{m.content}\n")]


def reason(chosen: Arm, rejected: Arm, bounds: Bounds = Bounds(), gate: Gate | None = None) -> str | None:  # noqa: B008
    why = why_refused(PROMPT, chosen, rejected, bounds, gate or Gate(), None)
    return why[0] if why else None


@pytest.mark.parametrize(
    ("chosen", "rejected", "bounds", "gate", "wanted"),
    [
        (Arm("Four.", score=0.9), Arm("Five.", score=0.1), Bounds(0.1), Gate(), None),
        (Arm("Four.", score=0.5), Arm("Five.", score=0.5), Bounds(0.1), Gate(), "tie"),
        (Arm("Four.", score=0.55), Arm("Five.", score=0.5), Bounds(0.1), Gate(), "margin"),
        (Arm("Four.", score=0.9), Arm("Five.", score=0.8), Bounds(0.1), Gate(), None),
        (Arm("Four.", score=0.4), Arm("Five.", score=0.1), Bounds(0.1, chosen_min=0.5), Gate(), "chosen_low"),
        (Arm(" "), Arm("Five."), Bounds(), Gate(), "empty"),
        (Arm("Four."), Arm("5"), Bounds(), Gate(min_chars=2), "empty"),
        (Arm("Four.", "length"), Arm("Five.", "stop"), Bounds(), Gate(), "truncated"),
        (Arm("Four.", "stop"), Arm("Five.", "abort"), Bounds(), Gate(), "truncated"),
        (Arm("Four."), Arm(" Four.\n"), Bounds(), Gate(), "identical_text"),
        (Arm("a b"), Arm("a  b"), Bounds(), Gate(), "identical_text"),
        (Arm("4", n_judgments=3), Arm("5", n_judgments=1), Bounds(min_judgments=2), Gate(), "too_few_judgments"),
        (Arm("I’m sorry, but I can’t."), Arm("Five."), Bounds(), Gate(refusal=True), "refusal"),
        (Arm("I’m sorry, but I can’t."), Arm("Five."), Bounds(), Gate(), None),
        (Arm("Five."), Arm("I'm sorry, but I can't."), Bounds(), Gate(refusal=True), None),
        (Arm("Four." * 9), Arm("Five."), Bounds(), Gate(length_ratio=4), "length_ratio"),
        (Arm("one two three four"), Arm("one two three four!"), Bounds(), Gate(max_similarity=0.9), "too_similar"),
    ],
)
def test_each_rule_refuses_with_its_own_reason(
    chosen: Arm, rejected: Arm, bounds: Bounds, gate: Gate, wanted: str | None
) -> None:
    assert reason(chosen, rejected, bounds, gate) == wanted


def test_arms_that_differ_only_behind_max_length_are_refused() -> None:
    length = TrainingLength(Letters(), 30)
    common = "x" * 25
    assert length.why_refused(PROMPT, common + "right", common + "wrong") is not None
    assert length.why_refused(PROMPT, common + "right", common + "wrong")[0] == "identical_truncated"  # type: ignore[index]
    assert length.why_refused(PROMPT, "right" + common, "wrong" + common) is None
    assert length.why_refused((Message("user", "y" * 40),), "a", "b")[0] == "too_long"  # type: ignore[index]


def test_a_shorter_arm_that_ends_earlier_is_not_identical() -> None:
    length = TrainingLength(Letters(), 30)
    assert length.why_refused(PROMPT, "x" * 10, "x" * 25) is None


@settings(deadline=None)
@given(st.text(max_size=40), st.text(max_size=40), st.integers(1, 60))
def test_the_shortcut_for_short_pairs_agrees_with_counting_tokens(a: str, b: str, max_length: int) -> None:
    class Exact(TrainingLength):
        def __init__(self) -> None:
            super().__init__(Letters(), max_length)
            self._frame = 10**9  # never short

    if a != b:
        assert TrainingLength(Letters(), max_length).why_refused(PROMPT, a, b) == Exact().why_refused(PROMPT, a, b)


@settings(deadline=None)
@given(st.text(max_size=60), st.text(max_size=60))
def test_similarity_is_symmetric_and_one_for_the_same_text(a: str, b: str) -> None:
    assert similarity(a, b) == similarity(b, a)
    assert similarity(a, a) == 1.0
    assert 0.0 <= similarity(a, b) <= 1.0


def test_a_tokenizer_without_a_length_is_an_error() -> None:
    with pytest.raises(ValidationError, match="belong together"):
        Gate(tokenizer="models/abacus")


def test_the_filters_of_a_kept_pair_name_the_rules_that_were_asked() -> None:
    asked = passed_filters(0.5, Bounds(0.1, None, 2), Gate(refusal=True, length_ratio=4, max_similarity=0.9))
    assert [f.name for f in asked] == [
        "margin",
        "identical_text",
        "min_judgments",
        "refusal",
        "length_ratio",
        "similarity",
    ]
    assert all(f.passed for f in asked)
    assert (asked[0].value, asked[0].threshold) == (0.5, 0.1)
