"""Pairs by yes/no criteria: exact sets of questions, certain answers, and the defects of UltraIF that make none."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from pipeline import ids
from pipeline.pair import Pair
from pipeline.records import Candidate, Judgment, Message, Prompt
from pipeline.stage import Context, Example
from stages.pairs.pair_criteria import PairCriteria

MESSAGES = (Message("user", "Name a tree in two words."),)
PROMPT = Prompt(ids.prompt_id(MESSAGES), ids.prompt_id(MESSAGES), MESSAGES)


def answer(who: str, question: str, value: float | None, **fields: Any) -> Judgment:
    status: Any = "ok" if value is not None else "parse_error"
    key = ids.content_hash(who, question, fields)
    return Judgment(
        PROMPT.prompt_id, key, "checklist", "criterion", "judge", (who,), status, value, aspect=question, **fields
    )


def run(judgments: Sequence[Judgment], names: str = "ab", **fields: Any) -> tuple[list[Pair], dict[str, int]]:
    ctx = Context("pairs", "run", 7, "f" * 32, {})
    candidates = [Candidate(PROMPT.prompt_id, name, f"tree {name}", "generate") for name in names]
    example: Example[Any] = Example(PROMPT, candidates, judgments)
    rows = asyncio.run(PairCriteria.model_validate(fields).process(example, ctx))
    return [row for row in rows if isinstance(row, Pair)], ctx.counts


def table(values: Mapping[str, Sequence[float | None]]) -> list[Judgment]:
    return [answer(who, f"Question {i}?", value) for who, row in values.items() for i, value in enumerate(row)]


def arms(pairs: Sequence[Pair]) -> set[tuple[str, str]]:
    return {(p.chosen_messages[0].content[-1], p.rejected_messages[0].content[-1]) for p in pairs}


def test_who_keeps_all_is_chosen_over_who_breaks_one() -> None:
    [pair], counts = run(table({"a": [0.9, 1.0], "b": [0.95, 0.1]}))
    assert arms([pair]) == {("a", "b")}
    assert (pair.label_source, pair.dominance, pair.score_gap) == ("judge", "strict_pareto", 0.5)
    assert [(c.text, c.chosen_ok, c.rejected_ok) for c in pair.constraints or ()] == [
        ("Question 0?", True, True), ("Question 1?", True, False),
    ]  # fmt: skip
    assert counts["kept"] == 1


def test_dominance_needs_no_perfect_answer_and_incomparable_answers_make_no_pair() -> None:
    values = {"a": [1.0, 0.0, 1.0], "b": [1.0, 0.0, 0.0], "c": [0.0, 1.0, 0.0]}
    assert arms(run(table(values), "abc", rule="dominance")[0]) == {("a", "b")}
    assert run(table(values), "abc")[1]["no_pair:no_contrast"] == 1


@pytest.mark.parametrize(
    "judgments",
    [
        [],  # UltraIF: an empty verdict is "all kept"
        table({"a": [1.0, 1.0], "b": []}),
        table({"a": [1.0], "b": [0.0, 1.0]}),  # UltraIF: a missing question is a yes
        table({"a": [1.0, None], "b": [1.0, 0.0]}),
        table({"a": [1.0, 0.6], "b": [1.0, 0.0]}),  # not certain
        table({"a": [1.0, 1.0], "b": [1.0, 0.4]}),
        [*table({"a": [1.0], "b": [0.0]}), answer("a", "Question 0?", 0.0, sample_idx=1)],  # two answers disagree
        table({"x": [1.0], "y": [0.0]}),  # answers to other candidates
        table({"a": [7.0], "b": [0.0]}),  # off the scale
    ],
)
def test_what_is_missing_or_uncertain_is_neither_kept_nor_broken(judgments: list[Judgment]) -> None:
    pairs, counts = run(judgments)
    assert pairs == []
    assert counts["no_pair:no_criteria" if not judgments else "no_pair:no_contrast"] == 1


def test_the_answer_that_mended_a_failed_call_counts() -> None:
    judgments = table({"a": [1.0, 1.0], "b": [1.0, 0.0]})
    failed = [answer(who, "Question 1?", None) for who in "ab"]
    pairs, counts = run([*failed, *judgments])
    assert arms(pairs) == {("a", "b")}
    assert counts["undecided"] == 0
    assert run([*judgments, *failed])[0] == pairs  # or a sample that failed for good
    assert run([*failed, *table({"a": [1.0], "b": [1.0]})])[1]["undecided"] == 2


def test_an_uncertain_answer_is_an_answer_that_disagrees_with_a_certain_one() -> None:
    judgments = [*table({"a": [1.0], "b": [0.0]}), answer("a", "Question 0?", 0.6, sample_idx=1)]
    assert run(judgments)[1]["undecided"] == 1


def test_a_criterion_of_negative_weight_is_kept_where_the_answer_is_no() -> None:
    judgments = [answer("a", "Insults.", 0.0, weight=-2.0), answer("b", "Insults.", 1.0, weight=-2.0)]
    assert arms(run(judgments)[0]) == {("a", "b")}


def test_the_order_of_answers_decides_nothing_and_the_cap_holds() -> None:
    judgments = table({"a": [1.0], "b": [1.0], "c": [0.0], "d": [0.0]})
    pairs, counts = run(judgments, "abcd", max_pairs=3)
    assert run(judgments[::-1], "dcba", max_pairs=3)[0] == pairs
    assert (len(pairs), counts["over_cap"]) == (3, 1)


def test_only_the_named_jobs_ask() -> None:
    judgments = table({"a": [1.0], "b": [0.0]})
    assert run(judgments, jobs=["other"])[1] == {"undecided": 2, "no_pair:no_criteria": 1}
