"""Where a step ends: at tokens, behind a delimiter; and how a critic is shown it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from pipeline.engine import Completion
from pipeline.errors import PlanError
from stages.search.steps import all_steps, first_step, joined, shown, whole
from stages.search.tickets import Child

words = st.lists(st.sampled_from(["4 + 9", " = 13", "\nStep ", "\n", "Answer", ": 7", " ", ""]), max_size=12)


def answer(*texts: str, finish: str = "stop", logps: bool = True) -> Completion:
    ids = tuple(range(10, 10 + len(texts)))
    return Completion(
        "".join(texts), finish, 5, len(texts), token_ids=ids, token_texts=texts, mean_logp=-1.0,
        token_logps=tuple(-float(i) for i in ids) if logps else None,
    )  # fmt: skip


def test_a_step_ends_with_the_token_that_completes_its_delimiter() -> None:
    step = first_step(answer("1", " + 1", "\nStep ", "2"), ["\n"])
    assert (step.text, step.token_ids, step.finish_reason) == ("1 + 1\nStep ", (10, 11, 12), "stop")
    assert step.logprob_sum == -33.0


def test_a_delimiter_may_be_spelled_by_several_tokens() -> None:
    assert first_step(answer("a", "\n", "\n", "b"), ["\n\n"]).token_ids == (10, 11, 12)
    assert first_step(answer("a", "\nb", "\n", "b"), ["\n\n"]).text == "a\nb\nb"


def test_blank_beginnings_are_no_steps() -> None:
    assert first_step(answer("\n", " \n", "a", "\n", "b"), ["\n"]).text == "\n \na\n"


def test_an_engine_that_stopped_at_a_delimiter_did_not_end_the_answer() -> None:
    stopped = replace(answer("\nStep "), stop_reason="\n")
    assert first_step(stopped, ["\n"]).finish_reason == "stop"
    assert first_step(replace(stopped, stop_reason=None), ["\n"]).finish_reason == "eos"


@pytest.mark.parametrize(("finish", "ended"), [("stop", "eos"), ("length", "length"), ("abort", "abort")])
def test_without_a_delimiter_a_step_ends_as_the_answer_did(finish: str, ended: str) -> None:
    assert first_step(answer("a", "b", finish=finish), ["\n"]).finish_reason == ended
    assert all_steps(answer("a\n", "b", finish=finish), ["\n"])[-1].finish_reason == ended


def test_an_end_token_behind_the_last_delimiter_belongs_to_the_last_step() -> None:
    steps = all_steps(answer("a\n", "b\n", ""), ["\n"])
    assert [(s.text, s.token_ids, s.finish_reason) for s in steps] == [
        ("a\n", (10,), "stop"),
        ("b\n", (11, 12), "eos"),
    ]


@given(words)
def test_steps_are_the_answer_cut_and_nothing_else(texts: list[str]) -> None:
    made = answer(*texts)
    steps = all_steps(made, ["\n"])
    assert "".join(step.text for step in steps) == made.text
    assert tuple(i for step in steps for i in step.token_ids) == made.token_ids
    assert all("\n" in step.text.lstrip() and step.text.strip() for step in steps[:-1])
    first = first_step(made, ["\n"])
    assert first.token_ids == (made.token_ids or ())[: len(first.token_ids)]


def test_without_log_probabilities_of_tokens_only_a_whole_answer_has_a_sum() -> None:
    made = answer("a\n", "b", logps=False)
    assert whole(made).logprob_sum == -2.0
    assert first_step(made, ["\n"]).logprob_sum is None


def test_an_engine_that_names_no_tokens_is_told() -> None:
    with pytest.raises(PlanError, match="text and id of every token"):
        first_step(Completion("a", "stop", 1, 1), ["\n"])


@pytest.mark.parametrize(
    ("before", "step", "told"),
    [
        ("", "Step 1: 7 x 7 = 49\nStep ", ("", "Step 1: 7 x 7 = 49")),
        ("Step 1: 7 x 7 = 49\nStep ", "2: 49 - 27 = 22\nAnswer", ("Step 1: 7 x 7 = 49", "Step 2: 49 - 27 = 22")),
        ("Step 1: 1\nStep 2: 2\nAnswer", ": 46", ("Step 1: 1\nStep 2: 2", "Answer: 46")),
        ("one\n", "two\n", ("one", "two")),
        ("", "the end", ("", "the end")),
    ],
)
def test_a_critic_is_shown_whole_lines(before: str, step: str, told: tuple[str, str]) -> None:
    assert shown(before, step, ["\n"]) == told


def test_a_step_that_is_too_short_takes_in_the_next() -> None:
    sampled = answer("1", "\n", "2", "2", "\n", "3", "\n", "4")
    assert [step.text for step in all_steps(sampled, ["\n"], least=3)] == ["1\n22\n", "3\n4"]
    assert [len(step.token_ids) for step in all_steps(sampled, ["\n"], least=9)] == [8]


@given(words, st.integers(0, 5))
def test_steps_of_a_least_length_are_the_whole_answer_still(texts: list[str], least: int) -> None:
    steps = all_steps(answer(*texts), ["\n"], least)
    assert "".join(step.text for step in steps) == "".join(texts)
    assert all(len(step.token_ids) >= least for step in steps[:-1])


def test_joined_steps_end_as_the_last_does() -> None:
    first, second = first_step(answer("1", "\n"), ["\n"]), whole(answer("2", finish="length"))
    assert joined(first, second) == Child("1\n2", (10, 11, 10), -31.0, "length")
    assert joined(first, whole(answer("2", logps=False))).logprob_sum == -22.0
