"""Judgments of the same input as pairs: who is right, how far off, and what may be paired at all."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from pipeline.pair import Generation, Pair, Rater
from pipeline.records import Judgment, LabelProb, Message, Prompt, Status
from pipeline.stage import Context, Example
from stages.exports.arms import conditional_arms
from stages.exports.wanted import Wanted
from stages.pairs.judgment_pairs import Known, capped, judgment_pairs, majority
from stages.pairs.pair_judgments import PairJudgments

GOLDEN = Path(__file__).resolve().parents[3] / "../shared/spec/golden/judges.json"
VALUES = [4, 4, 2, 5, 4, 1, None]
ASKED = (Message("system", "You grade."), Message("user", "Grade: 3 + 4 = 7"))


@pytest.mark.skipif(not GOLDEN.exists(), reason="the golden values are not at hand")
@pytest.mark.parametrize("gap", [1, 2])
def test_the_pairs_of_a_graded_input_have_their_golden_values(gap: int) -> None:
    golden = json.loads(GOLDEN.read_text())
    found = judgment_pairs(VALUES, 4, gap)
    assert [(c, r, abs((VALUES[r] or 0) - 4)) for c, r in found] == [tuple(p) for p in golden[f"selfrat.pairs.m{gap}"]]
    assert len(found) == golden[f"selfrat.n.m{gap}"]
    assert majority(VALUES, 0.5) == Known(golden["selfrat.mode"], 0.5)


def test_nine_pairs_off_by_one_and_six_off_by_two() -> None:
    assert [len(judgment_pairs(VALUES, 4, gap)) for gap in (1, 2, 3, 4)] == [9, 6, 3, 0]
    assert judgment_pairs([1.0, 0.5, 0.0, None], 1.0, 0.0) == [(0, 1), (0, 2)]


@given(st.lists(st.none() | st.integers(1, 5), max_size=12), st.integers(1, 5), st.floats(0, 4), st.integers(1, 5))
def test_pairs_are_right_over_wrong_without_the_missing_and_a_cap_spreads_them(
    values: list[float | None], gold: int, gap: float, cap: int
) -> None:
    found = judgment_pairs(values, gold, gap)
    for chosen, rejected in found:
        value = values[rejected]
        assert values[chosen] == gold
        assert value is not None
        assert abs(value - gold) >= gap
        assert value != gold
    gaps = [abs((values[r] or 0) - gold) for _, r in found]
    taken = capped(found, gaps, cap, "k")
    assert len(taken) == len(set(taken)) == min(cap, len(found))
    assert set(taken) <= set(found)
    right, wrong = len({c for c, _ in found}), len({r for _, r in found})
    if cap <= min(right, wrong):
        assert len({n for pair in taken for n in pair}) == 2 * len(taken), "nobody is taken twice before others are"


def judged(values: Sequence[float | None], **fields: Any) -> list[Judgment]:
    made = []
    for n, value in enumerate(values):
        status: Status = "ok" if value is not None else "parse_error"
        row = Judgment(
            "p", f"{fields.get('cand_ids', 'x')}{n}", "rate", "aspect", "org/judge", ("a",), status, value, value, 1.0, 5.0,
            aspect="correctness", sample_idx=n, raw_text=f"Thought {n}. Score: {value}", messages=ASKED, n_out=9,
        )  # fmt: skip
        made.append(replace(row, **fields))
    return made


def outcome(who: str, right: bool) -> Judgment:
    return Judgment("p", "v" + who, "verify", "tool", "verify:math", (who,), "ok", float(right))


async def run(*judgments: Judgment, pairs: Sequence[Pair] = (), **fields: Any) -> tuple[list[Pair], dict[str, int]]:
    context = Context("pair_judgments", "run", 7, "f", {})
    example: Example[Judgment | Pair] = Example(
        Prompt("p", "base", (Message("user", "?"),)), judgments=judgments, pairs=pairs
    )
    return await PairJudgments(**fields).process(example, context), context.counts


async def test_a_right_answer_deserves_the_highest_score_and_the_prompt_is_the_judges() -> None:
    pairs, counts = await run(*judged([5, 4, 3, 1, None]), outcome("a", True), max_pairs=9)
    assert counts == {"kept": 2}
    for pair in pairs:
        assert pair.prompt_messages == ASKED
        assert pair.chosen_messages[0].content == "Thought 0. Score: 5"
        assert (pair.prompt_id, pair.level, pair.kind, pair.label_source) == (
            "p",
            "judgment",
            "judgment_outcome",
            "verifier",
        )
        assert pair.chosen_gen is not None
        assert pair.chosen_gen.model == "org/judge"
        assert conditional_arms(pair, Wanted()).chosen == "Thought 0. Score: 5"  # it can be exported
    assert sorted(p.rejected_score or 0 for p in pairs) == [0.0, 0.5]
    assert [p.chosen_score for p in pairs] == [1.0, 1.0]
    wrong, _ = await run(*judged([5, 4, 3, 1, None]), outcome("a", False), max_pairs=9)
    assert {p.chosen_messages[0].content for p in wrong} == {"Thought 3. Score: 1"}
    assert len({p.pair_id for p in (*pairs, *wrong)}) == 4


async def test_how_wrong_an_answer_is_no_check_says() -> None:
    pairs, _ = await run(*judged([1, 2, 3, 4, 5]), outcome("a", False), max_pairs=9)
    told = {(p.chosen_messages[0].content[-1], p.rejected_messages[0].content[-1]) for p in pairs}
    assert told == {("1", "4"), ("1", "5"), ("2", "4"), ("2", "5")}


async def test_a_right_score_behind_a_false_equation_is_not_chosen() -> None:
    lucky, sound, wrong = judged([5, 5, 1])
    rows = [replace(lucky, raw_text="3 + 4 = 8. Score: 5"), replace(sound, raw_text="3 + 4 = 7. Score: 5"), wrong]
    pairs, _ = await run(*rows, outcome("a", True), recompute=True)
    assert [p.chosen_messages[0].content for p in pairs] == ["3 + 4 = 7. Score: 5"]
    assert (await run(rows[0], wrong, outcome("a", True), recompute=True))[1] == {"no_pair:false_equation": 1}
    assert len((await run(*rows, outcome("a", True)))[0]) == 2


async def test_judgments_in_the_same_words_are_so_many_votes_and_one_text() -> None:
    right = [
        replace(j, raw_text="It is right. Score: 5", judgment_key=f"same{n}") for n, j in enumerate(judged([5] * 6))
    ]
    pairs, counts = await run(*right, *judged([1, 1]), gold="majority", max_pairs=9)
    assert counts == {"kept": 2}
    assert {p.chosen_messages[0].content for p in pairs} == {"It is right. Score: 5"}
    assert {p.agreement for p in pairs} == {0.75}


async def test_of_each_input_at_most_three_and_what_is_left_is_counted() -> None:
    pairs, counts = await run(*judged([5, 5, 1, 2, 1]), outcome("a", True))
    assert len(pairs) == counts["kept"] == 3
    assert counts["over_cap"] == 3


@pytest.mark.parametrize(
    ("values", "known", "why"),
    [
        ([5, 5, 4], outcome("a", True), "all_right"), ([1, 2, 4], outcome("a", True), "all_wrong"),
        ([5, 1], outcome("b", True), "no_gold"), ([None, None], outcome("a", True), "unread"),
    ],
)  # fmt: skip
async def test_an_input_without_a_pair_says_why(values: list[float | None], known: Judgment, why: str) -> None:
    pairs, counts = await run(*judged(values), known)
    assert (pairs, counts) == ([], {f"no_pair:{why}": 1})


async def test_only_judgments_of_the_very_same_prompt_are_paired() -> None:
    right, wrong = judged([5]), judged([1])
    for changes in ({"judge_id": "other"}, {"aspect": "style"}, {"job": "rate2"}, {"order": 1},
                    {"messages": (Message("user", "Grade anew"),)}):  # fmt: skip
        pairs, counts = await run(*right, *[replace(j, **changes) for j in wrong], outcome("a", True))
        assert pairs == []
        assert sum(counts.values()) == 2
    chosen = await run(
        *right, *[replace(j, job="rate2") for j in judged([5, 1])], outcome("a", True), judges=("rate2",)
    )
    assert [p.rejected_messages[0].content for p in chosen[0]] == ["Thought 1. Score: 1"]


async def test_a_judgment_without_its_prompt_or_decided_by_probabilities_is_left_out() -> None:
    for changes in (
        {"messages": None},
        {"label_probs": (LabelProb("5", 1.0),)},
        {"mode": "listwise"},
        {"raw_text": None},
    ):
        assert await run(*judged([5, 1], **changes), outcome("a", True)) == ([], {})


@pytest.mark.parametrize("weight", [-3.0, 1.0])
@pytest.mark.parametrize("right", [True, False])
async def test_whether_an_answer_is_right_does_not_say_which_criteria_it_meets(weight: float, right: bool) -> None:
    asked = {"mode": "criterion", "aspect": "States a false equation.", "weight": weight}
    said = judged([1.0, 1.0, 1.0, 0.0], **asked, scale_min=0.0, scale_max=1.0)
    given_score = Judgment("p", "g", "prompts", "aspect", "given", ("a",), "ok", 5.0, scale_min=1.0, scale_max=5.0)
    assert await run(*said, outcome("a", right)) == ([], {"no_pair:no_gold": 1})
    assert await run(*said, given_score, gold="scores") == ([], {"no_pair:no_gold": 1})
    pairs, _ = await run(*said, outcome("a", right), gold="majority")
    assert {p.rejected_messages[0].content for p in pairs} == {"Thought 3. Score: 0.0"}


async def test_equal_texts_are_one_judgment() -> None:
    twice = [replace(j, raw_text=f"Score: {j.value}") for j in judged([5, 5, 1, 1])]
    pairs, _ = await run(*twice, outcome("a", True))
    assert len(pairs) == 1


async def test_of_two_responses_any_wrong_preference_is_rejected() -> None:
    votes = judged(
        [1.0, 0.0, 0.5], mode="pairwise", cand_ids=("a", "b"), order=1, scale_min=0.0, scale_max=1.0, aspect=None
    )
    pairs, _ = await run(*votes, outcome("a", True), outcome("b", False))
    assert {p.rejected_messages[0].content[:9] for p in pairs} == {"Thought 1", "Thought 2"}
    undecided, counts = await run(*votes, outcome("a", True), outcome("b", True))
    assert (undecided, counts) == ([], {"no_pair:no_gold": 1})
    source = Pair(
        prompt_id="p", pair_id="1", unordered_id="1", base_prompt_id="p", kind="given", level="response",
        prompt_messages=(Message("user", "?"),), chosen_messages=ASKED[:1], rejected_messages=ASKED[1:], label_source="given",
        chosen_gen=Generation("b"), rejected_gen=Generation("a"),
    )  # fmt: skip
    pairs, _ = await run(*votes, pairs=[source], gold="pairs")
    assert {p.chosen_messages[0].content[:9] for p in pairs} == {"Thought 1"}
    assert (await run(*votes, pairs=[replace(source, label_source="judge")], gold="pairs"))[1] == {"no_pair:no_gold": 1}
    for elsewhere in ({"prompt_messages": ASKED}, {"context_id": "c"}, {"rater": Rater("r7"), "label_source": "human"}):
        pair = replace(source, **elsewhere)  # what one person or another prompt prefers is no gold for this prompt
        assert (await run(*votes, pairs=[pair], gold="pairs"))[1] == {"no_pair:no_gold": 1}
    assert PairJudgments(gold="pairs").needs() == (Judgment, Pair)
    assert PairJudgments().needs() == (Judgment,)


async def test_given_scores_are_read_on_the_judges_scale_and_the_majority_is_flagged() -> None:
    given_score = Judgment("p", "g", "prompts", "aspect", "given", ("a",), "ok", 7.0, scale_min=1.0, scale_max=10.0)
    pairs, _ = await run(*judged([4, 1]), given_score, gold="scores")  # 7 of 1–10 is 3.67 of 1–5
    assert [p.label_source for p in pairs] == ["given"]
    between = replace(given_score, value=6.625)
    assert (await run(*judged([4, 1]), between, gold="scores"))[1] == {"no_pair:no_gold": 1}
    pairs, _ = await run(*judged([4, 4, 4, 1]), gold="majority", max_pairs=9)
    assert {(p.flags, p.agreement, p.label_source) for p in pairs} == {(("majority_gold",), 0.75, "votes")}
    assert (await run(*judged([4, 4, 1, 1]), gold="majority"))[1] == {"no_pair:no_gold": 1}
