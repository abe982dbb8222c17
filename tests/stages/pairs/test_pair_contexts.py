"""Pairs that hold under a condition: groups whole or not at all, gates, and what the rows say."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from pydantic import ValidationError

from pipeline import ids
from pipeline.pair import Pair
from pipeline.records import Candidate, Judgment
from pipeline.stage import Example
from stages.contexts.conditions import Condition, Trait, context_id, in_context
from stages.exports.arms import conditional_arms
from stages.exports.wanted import Wanted
from stages.pairs.context_kinds import word_edit_ratio
from stages.pairs.pair_contexts import PairContexts
from tests.stages.contexts.worlds import (
    FULL,
    PROMPT,
    SHORT,
    TEXTS,
    answers,
    arms,
    checked,
    compared,
    effect,
    rated,
    reversal,
    run,
    stance,
)
from tests.stages.exports.example_rows import exported

REVERSAL = PairContexts(kind="context_reversal")
BARE = tuple(c.model_copy(update={"scenario": None}) for c in (SHORT, FULL))


def exchanged(group: Sequence[Pair]) -> bool:
    """I11: two rows per pair of contexts, arms exchanged, contexts differ, base equal; and I4, and complete (V13)."""
    whole = {p.group_size for p in group} == {len(group)} and len({p.group_id for p in group}) == 1
    one_base = len({(p.base_prompt_id, p.prompt_id, p.split) for p in group}) == 1
    contexts = [p.context_id for p in group]
    turned = all(arms(a) == arms(b)[::-1] for a, b in zip(group[::2], group[1::2], strict=True))
    return whole and one_base and turned and len(set(contexts)) == len(group)


def test_a_group_holds_both_orientations_under_criteria_and_scenarios() -> None:
    a, b = answers(SHORT, FULL)
    pairs, rejects, counts = run(REVERSAL, [a, b], reversal(a, b))
    assert (len(pairs), rejects, counts["kept"]) == (4, [], 4)
    assert exchanged(pairs)
    by_role = {p.group_role: p for p in pairs}
    assert set(by_role) == {"short:0", "full:0", "short:1", "full:1"}
    row = by_role["short:0"]
    assert arms(row) == (TEXTS["short"], TEXTS["full"])
    assert (row.kind, row.level, row.label_source) == ("context_reversal", "response", "judge")
    assert row.pref_prob == pytest.approx(0.9)
    assert {(p.chosen_score, p.rejected_score, p.score_gap) for p in pairs} == {(None, None, None)}  # better, not good
    assert exported(Example(PROMPT, pairs=pairs), format="trl-kto").reasons == ["no_scores"] * 4
    measured = {f.name: (f.value, f.threshold) for f in row.filters}
    assert measured["no_context"] == (0.5, 0.15)
    assert measured["with_context"] == pytest.approx((0.9, 0.7))
    assert measured["context_effect_judge"][0] == pytest.approx(0.4)
    assert row.context is not None
    assert (row.context.type, row.context.placement) == ("criterion", "system")
    assert by_role["full:1"].context is not None
    assert by_role["full:1"].context.type == "scenario"


def test_the_prompt_says_the_context_and_ids_are_of_that_prompt() -> None:
    for placement in ("system", "before", "after"):
        a, b = answers(*BARE, placement=placement)
        pairs, _, _ = run(REVERSAL, [a, b], reversal(a, b, BARE))
        for pair in pairs:
            assert pair.context is not None
            assert pair.prompt_id == pair.base_prompt_id == PROMPT.prompt_id
            assert pair.prompt_messages == in_context(PROMPT.messages, pair.context)
            assert pair.context_id == context_id(pair.context)
            hashed = [ids.arm(ids.prompt_id(pair.prompt_messages), None, text) for text in arms(pair)]
            assert pair.pair_id == ids.pair_id(pair.kind, pair.context_id, *hashed)
            assert pair.unordered_id == ids.unordered_id(pair.context_id, *hashed)
            assert conditional_arms(pair, Wanted()).chosen == arms(pair)[0]


A, B = answers(SHORT, FULL)


@pytest.mark.parametrize(
    ("judgments", "reason"),
    [
        (reversal(A, B, control=0.7), "control"),
        (reversal(A, B, control=0.3), "control"),
        (reversal(A, B, p=0.6), "unconfirmed"),
        (reversal(A, B, p=0.2), "contradicted"),
        ([], "no_control"),
        ([r for r in reversal(A, B) if r.aspect != "none"], "no_control"),
        ([r for r in reversal(A, B) if r.order == 0], "no_control"),
        (compared(A, B, None, 0.5), "unconfirmed"),
        ([*compared(A, B, None, 0.5), *compared(A, B, SHORT, 0.9)], "unconfirmed"),
        ([*reversal(A, B)[:-2], *compared(B, A, FULL.contexts("system")[1], 0.4)], "contradicted"),
        ([*reversal(A, B)[:-2], *compared(B, A, FULL.contexts("system")[1], None)], "unconfirmed"),
        ([checked(A, True), checked(B, True), effect(A, B, SHORT, 3.0)], "unconfirmed"),
        ([checked(A, True), checked(B, True), effect(B, A, FULL, -3.0)], "no_effect"),
    ],
)  # fmt: skip
def test_one_row_that_does_not_hold_drops_the_group(judgments: list[Judgment], reason: str) -> None:
    pairs, rejects, counts = run(REVERSAL, [A, B], judgments)
    assert (pairs, [r.reason for r in rejects]) == ([], [reason])
    assert (counts[f"refused:{reason}"], counts["no_pair"]) == (1, 1)


def test_a_reversal_may_rest_on_checks_and_the_effect_on_a_model() -> None:
    a, b = answers(*BARE)
    judgments = [checked(a, True), checked(b, True), effect(a, b, BARE[0], 3.0), effect(a, b, BARE[1], -2.0)]
    pairs, _, _ = run(REVERSAL, [a, b], judgments)
    assert exchanged(pairs)
    assert {(p.label_source, p.score_gap) for p in pairs} == {("construction", None)}
    assert {f.value for p in pairs for f in p.filters if f.name == "context_effect_logp"} == {3.0, 2.0}
    wrong = [checked(a, True), checked(b, False), *judgments[2:]]
    _, _, counts = run(REVERSAL, [a, b], wrong)
    assert (counts["dropped:wrong_answer"], counts["no_pair"]) == (1, 1)


def test_an_answer_that_quotes_its_criterion_gives_itself_away() -> None:
    long = BARE[0].model_copy(update={"text": "Say it in very few words and leave out all the reasons."})
    a, b = answers(long, BARE[1], texts={"short": "I say it in very few words and leave out all the rest."})
    _, [refused], _ = run(REVERSAL, [a, b], reversal(a, b, (long, BARE[1])))
    assert refused.reason == "context_leak"


def test_the_same_context_twice_or_the_same_answer_twice_is_no_reversal() -> None:
    same = BARE[1].model_copy(update={"text": BARE[0].text})
    a, b = answers(BARE[0], same)
    assert [r.reason for r in run(REVERSAL, [a, b])[1]] == ["same_context"]
    a, b = answers(*BARE, texts={"full": TEXTS["short"]})
    assert [r.reason for r in run(REVERSAL, [a, b])[1]] == ["identical_text"]


def test_every_two_of_three_contexts_make_a_group() -> None:
    third = Condition(name="rhyme", text="Answer in a rhyme.", type="system")
    made = answers(*BARE, third, texts={"rhyme": "An egg, an egg, seven minutes I beg."})
    judgments = [
        row
        for one in made
        for other in made
        if one is not other
        for c in (*BARE, third)
        if f'"role":"{c.name}"' in (one.ext_json or "")
        for row in compared(one, other, c, 0.9)
    ]
    pairs, rejects, counts = run(PairContexts(kind="cross_context", max_pairs=6), made, judgments)
    assert (len(pairs), rejects) == (6, [])
    for group in {p.group_id for p in pairs}:
        assert exchanged([p for p in pairs if p.group_id == group])
    pairs, _, counts = run(PairContexts(kind="cross_context"), made, judgments)
    assert (len(pairs), counts["over_cap"]) == (4, 2)  # groups are never cut


def test_stances_need_both_sides_taken_and_like_lengths() -> None:
    support = Condition(name="support", text="You are for it.", type="stance")
    oppose = Condition(name="oppose", text="You are against it.", type="stance")
    texts = {"support": "Yes, eggs are good for all of us.", "oppose": "No, eggs are bad for all of us."}
    a, b = answers(support, oppose, texts=texts)
    stage = PairContexts(kind="stance")
    pairs, _, _ = run(stage, [a, b], [stance(a, support=0.9, neutral=0.1), stance(b, oppose=0.85, neutral=0.15)])
    assert exchanged(pairs)
    assert {s.aspect for s in pairs[0].scores} == {"stance"}
    assert next(f for f in pairs[0].filters if f.name == "stance").value == pytest.approx(0.85)
    for judgments, reason in (
        ([stance(a, support=0.9, neutral=0.1), stance(b, oppose=0.7, neutral=0.3)], "stance"),
        ([stance(a, support=1.0), stance(b, support=1.0)], "stance"),
        ([stance(a, support=1.0)], "no_stance"),
    ):
        assert [r.reason for r in run(stage, [a, b], judgments)[1]] == [reason]
    a, b = answers(support, oppose, texts=texts | {"oppose": "No."})
    _, [refused], _ = run(stage, [a, b], [stance(a, support=1.0), stance(b, oppose=1.0)])
    assert refused.reason == "length_ratio"


def test_values_mirror_and_what_a_judge_says_must_agree() -> None:
    honest = Condition(name="to_do", text="Honesty matters most to me.", type="value")
    loyal = Condition(name="not_to_do", text="Loyalty matters most to me.", type="value")
    a, b = answers(honest, loyal, texts={"to_do": "Report your colleague.", "not_to_do": "Protect your colleague."})
    stage = PairContexts(kind="value")
    assert exchanged(run(stage, [a, b])[0])
    assert [r.reason for r in run(stage, [a, b], compared(a, b, loyal, 0.9))[1]] == ["contradicted"]


STORY = "Tom has 5 red eggs and 4 blue eggs in one basket. How many eggs are there in all?"


def passages(other: str) -> tuple[Condition, Condition]:
    return Condition(name="a", text=STORY, type="passage"), Condition(name="b", text=other, type="passage")


def test_counterfactual_passages_differ_in_few_words_and_a_solver_agrees_with_each() -> None:
    stage = PairContexts(kind="counterfactual_context", solver="solve", answers=("answers",))
    edited = passages(STORY.replace("4 blue", "7 blue"))
    texts = {"a": "5 + 4 = 9\nAnswer: 9", "b": "5 + 7 = 12\nAnswer: 12"}
    arms_ = answers(*edited, texts=texts, placement="before")

    def solvers(right: int, n: int = 3) -> list[Candidate]:
        wrong = {"a": "Answer: 8", "b": "Answer: 8"}
        return [
            c
            for k in range(n)
            for c in answers(
                *edited, texts=texts if k < right else wrong, job="solve", sample=k, placement="before"
            )
        ]  # fmt: skip

    pairs, _, _ = run(stage, [*arms_, *solvers(3)])
    assert exchanged(pairs)
    measured = {f.name: f.value for f in pairs[0].filters}
    assert measured["solvers"] == 3.0
    assert measured["edit_ratio"] == pytest.approx(word_edit_ratio(*[c.text for c in edited]))
    for candidates, reason in (
        ([*arms_, *solvers(2)], "solver_disagrees"),
        ([*arms_, *solvers(2, 2)], "few_solvers"),
        (arms_, "few_solvers"),
    ):
        assert [r.reason for r in run(stage, candidates)[1]] == [reason]
    far = answers(*passages("Ann buys twelve pens at the market."), texts=texts, placement="before")
    assert [r.reason for r in run(stage, far)[1]] == ["edit_ratio"]


@pytest.mark.parametrize(
    ("a", "b", "ratio"),
    [("a b c d", "a b x d", 0.25), ("a b", "a b", 0.0), ("", "a", 1.0), ("Old cat.", "old dog.", 1 / 3)],
)
def test_edits_are_counted_in_words(a: str, b: str, ratio: float) -> None:
    assert word_edit_ratio(a, b) == pytest.approx(ratio)


NURSE = Condition(
    name="nurse", text="A nurse between two calls.", type="persona",
    traits=(Trait(name="length", importance=3), Trait(name="next step", importance=1)),
)  # fmt: skip
GENERIC = "Put the egg in boiling water and take it out when it is done."


def nurse(*values: float | None, plain: Sequence[float | None] = (1, 1)) -> tuple[list[Candidate], list[Judgment]]:
    own, generic = answers(NURSE, texts={"nurse": "Seven minutes, then cold water."}, generic=GENERIC)
    ratings = [
        rated(c, NURSE, t.name, v)
        for c, given in ((own, values), (generic, plain))
        for t, v in zip(NURSE.traits, given, strict=True)
    ]
    return [own, generic], ratings


def test_a_personal_answer_must_beat_the_generic_one_by_the_personas_rubric() -> None:
    stage = PairContexts(kind="persona")
    both, ratings = nurse(3, 2)
    moved = [effect(both[0], both[1], NURSE, 2.0)]
    [pair], _, _ = run(stage, both, [*ratings, *moved])
    assert arms(pair) == ("Seven minutes, then cold water.", GENERIC)
    assert (pair.chosen_score, pair.rejected_score, pair.dominance) == (0.875, 0.0, "strict_pareto")
    assert (pair.group_id, pair.context and pair.context.attributes[0].importance) == (None, 3.0)
    assert json.loads(pair.ext_json or "") == {"made_for": {"chosen": "nurse", "rejected": "generic"}}
    for (candidates, judgments), more, reason in (
        (nurse(3, 2), [], "effect_unknown"),
        (nurse(3, 2), [effect(both[0], both[1], NURSE, -1.0)], "no_effect"),
        (nurse(3, 2, plain=(3, 3)), moved, "generic_is_better"),
        (nurse(3, 2, plain=(3, 2)), moved, "tie"),
        (nurse(3, 2, plain=(3, 1.5)), moved, "margin"),
        (nurse(3, None), moved, "not_rated"),
    ):
        pairs, rejects, _ = run(stage, candidates, [*judgments, *more])
        assert (pairs, [r.reason for r in rejects]) == ([], [reason])


def test_without_traits_judges_compare_the_personal_answer_with_the_generic_one() -> None:
    plain = NURSE.model_copy(update={"traits": ()})
    own, generic = answers(plain, texts={"nurse": "Seven minutes."}, generic=GENERIC)
    stage = PairContexts(kind="persona")
    [pair], _, _ = run(stage, [own, generic], [*compared(own, generic, plain, 0.8), *compared(own, generic, None, 0.4)])
    assert pair.pref_prob == pytest.approx(0.8)
    assert (pair.score_gap, pair.label_source) == (None, "judge")
    better_anyhow = [*compared(own, generic, plain, 0.8), *compared(own, generic, None, 0.9)]
    assert [r.reason for r in run(stage, [own, generic], better_anyhow)[1]] == ["no_effect"]


def test_a_role_is_hard_where_it_says_so_and_weighs_the_rest() -> None:
    role = Condition(
        name="role", text="You are a pharmacist.", type="role",
        traits=(Trait(name="safety", kind="hard", importance=1), Trait(name="plain", kind="soft", importance=3)),
    )  # fmt: skip
    made = [answers(role, texts={"role": text}, sample=k)[0] for k, text in enumerate(("one pill", "ask a doctor"))]
    stage = PairContexts(kind="role_constitution")

    def judged(first: tuple[float, float], second: tuple[float, float]) -> list[Judgment]:
        return [
            rated(c, role, t.name, v)
            for c, values in zip(made, (first, second), strict=True)
            for t, v in zip(role.traits, values, strict=True)
        ]

    [pair], _, _ = run(stage, made, judged((3, 1), (3, 3)))
    assert (arms(pair), pair.label_source, pair.dominance) == (
        ("ask a doctor", "one pill"), "role_constitution", "strict_pareto",
    )  # fmt: skip
    assert [r.reason for r in run(stage, made, judged((3, 1), (2, 3)))[1]] == ["trade_off"]
    [pair], _, _ = run(stage, made, judged((3, 1), (3, 2)))
    assert pair.context is not None
    assert [(a.name, a.kind) for a in pair.context.attributes] == [("safety", "hard"), ("plain", "soft")]


def given_two(**kept: Any) -> tuple[Any, list[Candidate]]:
    prompt = replace(PROMPT, ext_json=msgspec.json.encode(kept).decode())
    return prompt, [Candidate(PROMPT.prompt_id, f"g{i}", text, "prompts", i) for i, text in enumerate(("Ten.", "Two."))]


def test_a_raters_choice_goes_with_who_the_rater_is_and_what_they_chose_before() -> None:
    history = [{"prompt": f"q{i}", "chosen": f"good {i}", "rejected": f"bad {i}"} for i in range(3)]
    prompt, both = given_two(user="u7", y=1, past=[*history, {"prompt": "q", "chosen": "", "rejected": "x"}])
    columns = {"rater": "user", "label": "y", "history": "past", "max_history": 3}
    stage = PairContexts.model_validate({"kind": "rater", "rater": columns})
    [pair], _, _ = run(stage, both, prompt=prompt)
    assert (arms(pair), pair.label_source) == (("Two.", "Ten."), "human")
    assert pair.rater is not None
    assert (pair.rater.rater_id, pair.rater.rater_type) == ("u7", "human")
    assert pair.history_pair_ids is not None
    assert len(pair.history_pair_ids) == 2
    system = pair.prompt_messages[0].content
    assert system.startswith("The person who asks is rater u7.")
    for i in (1, 2):
        shown = system.split(f"Earlier this person asked:\nq{i}\n")[1]
        preferred = shown.split("They preferred answer ")[1][0]
        assert shown.split(f"Answer {preferred}:\n")[1].startswith(f"good {i}")


@pytest.mark.parametrize(("label", "first"), [(-1, True), (1, False), ("left", True), ("B", False), (0, True)])
def test_a_label_names_the_first_or_the_second_answer(label: Any, first: bool) -> None:
    prompt, both = given_two(user=3, y=label)
    stage = PairContexts.model_validate({"kind": "rater", "rater": {"rater": "user", "label": "y"}})
    [pair], _, _ = run(stage, both, prompt=prompt)
    assert arms(pair)[0] == ("Ten." if first else "Two.")


def test_raters_who_differ_are_no_contradiction_and_a_label_that_is_none_is_a_reject() -> None:
    stage = PairContexts.model_validate({"kind": "rater", "rater": {"rater": "user", "label": "y"}})
    rows = []
    for user, label in (("a", -1), ("b", 1)):
        prompt, both = given_two(user=user, y=label)
        rows += run(stage, both, prompt=prompt)[0]
    assert arms(rows[0]) == arms(rows[1])[::-1]
    assert rows[0].context_id != rows[1].context_id
    assert rows[0].unordered_id != rows[1].unordered_id
    for none in (True, "both", 2, 0.3):
        prompt, both = given_two(user="a", y=none)
        assert [r.reason for r in run(stage, both, prompt=prompt)[1]] == ["no_label"]


def test_a_kind_and_its_fields_belong_together() -> None:
    with pytest.raises(ValidationError, match="kind rater needs the columns"):
        PairContexts(kind="rater")
    with pytest.raises(ValidationError, match="needs `solver`"):
        PairContexts(kind="counterfactual_context")


@given(st.permutations(range(6)), st.floats(0.35, 0.65), st.floats(0.5, 1.0))
def test_rows_do_not_depend_on_the_order_of_what_is_read(order: list[int], control: float, p: float) -> None:
    made = [c for k in range(3) for c in answers(*BARE, sample=k, texts={n: f"{t} {k}" for n, t in TEXTS.items()})]
    judgments = [r for k in range(3) for r in reversal(made[2 * k], made[2 * k + 1], BARE, p, control)]
    expected = run(REVERSAL, made, judgments)
    assert run(REVERSAL, [made[i] for i in order], judgments[::-1]) == expected
    pairs = expected[0]
    oriented = {(p.unordered_id, arms(p)) for p in pairs}
    assert len({unordered for unordered, _ in oriented}) == len(pairs) <= 4  # I4
    for group in {p.group_id for p in pairs}:
        assert exchanged([p for p in pairs if p.group_id == group])
    assert bool(pairs) == (p >= 0.7 and p - control > 0 and p - (1 - control) > 0) or p - 0.7 == pytest.approx(0)


@given(st.integers(0, 10_000))
def test_failures_never_make_a_pair_more_and_never_break_a_group(seed: int) -> None:
    draw = random.Random(seed)
    conditions = (SHORT, FULL) if draw.random() < 0.5 else BARE
    made = [
        c for k in range(2) for c in answers(*conditions, sample=k, texts={n: f"{t} {k}" for n, t in TEXTS.items()})
    ]
    judgments = [r for k in range(2) for r in reversal(made[2 * k], made[2 * k + 1], conditions)]
    whole, _, _ = run(PairContexts(kind="context_reversal", max_pairs=8), made, judgments)
    broken = [
        msgspec.structs.replace(r, value=None, status="parse_error") if draw.random() < 0.15 else r
        for r in judgments
        if draw.random() > 0.1
    ]
    candidates = [c for c in made if draw.random() > 0.1]
    cut = [replace(c, finish_reason="length") if draw.random() < 0.1 else c for c in candidates]
    pairs, _, _ = run(PairContexts(kind="context_reversal", max_pairs=8), cut, broken)
    assert {p.pair_id for p in pairs} <= {p.pair_id for p in whole}
    for group in {p.group_id for p in pairs}:
        assert exchanged([p for p in pairs if p.group_id == group])
