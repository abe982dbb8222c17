"""Pairs by construction: who stands against whom, what confirms or refutes the label, and what the rows say."""

from __future__ import annotations

import asyncio
import json
import math
import random
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from pydantic import ValidationError

from pipeline import ids
from pipeline.pair import Pair, Votes
from pipeline.records import Candidate, Judgment, Message, Prompt, Reject
from pipeline.stage import Context, Example
from stages.candidates.making import Making, constructed
from stages.pairs.chosen_side import chosen_refusal
from stages.pairs.pair_constructed import PairConstructed

MESSAGES = (Message("user", "What is 2 + 2, and why?"),)
PROMPT = Prompt(ids.prompt_id(MESSAGES), ids.prompt_id(MESSAGES), MESSAGES, "4")
LONG = "Two and two are four because counting two steps on from two ends at four, which anybody can try out."


def context() -> Context:
    return Context("pairs", "run", 7, "f" * 32, {})


def answer(name: str, relation: str | None = "on", text: str | None = None, **fields: Any) -> Candidate:
    written = f"answer {name} in its own words" if text is None else text
    return Candidate(PROMPT.prompt_id, name, written, "generate", policy_relation=relation, **fields)


def child(
    way: str, text: str, parent: str | None = None, role: str | None = None, group: str | None = None, **fields: Any
) -> Candidate:
    making = Making(way, parent, group, role, {"stated": "4 became 5"})
    return constructed(PROMPT, text, making, context(), **fields)


def rated(
    name: str, value: float | None, judge: str = "j", aspect: str = "good", job: str = "rate", k: int = 0
) -> Judgment:
    status: Any = "ok" if value is not None else "parse_error"
    key = f"{job}/{judge}/{aspect}/{name}/{k}"
    return Judgment(PROMPT.prompt_id, key, job, "aspect", judge, (name,), status, value, aspect=aspect, sample_idx=k)


def checked(name: str, outcome: bool | None) -> Judgment:
    status: Any = "na" if outcome is None else "ok"
    value = None if outcome is None else float(outcome)
    return Judgment(PROMPT.prompt_id, f"verify/{name}", "verify", "tool", "verify", (name,), status, value)


def compared(first: str, second: str, value: float | None, order: int) -> Judgment:
    status: Any = "ok" if value is not None else "parse_error"
    key = f"compare/{first}/{second}/{order}"
    return Judgment(PROMPT.prompt_id, key, "compare", "pairwise", "j", (first, second), status, value, order=order)


def run(
    kind: str, candidates: Sequence[Candidate], judgments: Sequence[Judgment] = (), **fields: Any
) -> tuple[list[Pair], list[Reject], dict[str, int]]:
    stage, ctx = PairConstructed.model_validate({"kind": kind, **fields}), context()
    example: Example[Any] = Example(PROMPT, candidates, judgments)
    rows = asyncio.run(stage.process(example, ctx))
    return [r for r in rows if isinstance(r, Pair)], [r for r in rows if isinstance(r, Reject)], ctx.counts


def arms(pair: Pair) -> tuple[str, str]:
    return pair.chosen_messages[0].content, pair.rejected_messages[0].content


STRONG, WEAK = answer("s", "strong"), answer("w", "weak")


def test_delta_sets_strong_over_weak_without_any_judge() -> None:
    [pair], rejects, counts = run("delta_weak_strong", [answer("o"), WEAK, STRONG])
    assert arms(pair) == (STRONG.text, WEAK.text)
    assert (pair.kind, pair.level, pair.label_source) == ("delta_weak_strong", "response", "construction")
    assert (pair.chosen_score, pair.score_gap, pair.votes, pair.soft_label) == (None, None, None, None)
    assert pair.chosen_gen is not None
    assert pair.rejected_gen is not None
    assert (pair.chosen_gen.policy_relation, pair.rejected_gen.policy_relation) == ("strong", "weak")
    assert pair.lineage is not None
    assert pair.lineage.parent_ids == ("s", "w")
    assert [f.name for f in pair.filters] == ["identical_text", "similarity", "clean_chosen"]
    assert (rejects, counts) == ([], {"kept": 1})


def test_a_decided_check_confirms_with_its_own_certainty() -> None:
    [pair], _, counts = run(
        "delta_weak_strong", [STRONG, WEAK], [checked("s", True), checked("w", False)], confirm="required"
    )
    assert (pair.dominance, pair.label_source, pair.soft_label) == ("checker", "construction", 0.98)
    assert (pair.chosen_score, pair.rejected_score, pair.score_gap) == (1.0, 0.0, 1.0)
    assert counts["confirmed"] == 1
    assert (pair.filters[0].name, pair.filters[0].value) == ("confirmed", 1.0)


@pytest.mark.parametrize(
    ("judgments", "required", "unless_contradicted"),
    [
        ([], "unconfirmed", None),
        ([checked("s", False), checked("w", False)], "chosen_wrong", "chosen_wrong"),
        ([checked("s", False), checked("w", True)], "chosen_wrong", "chosen_wrong"),
        ([checked("s", None), checked("w", True)], "rejected_right", "rejected_right"),
        ([checked("s", True), checked("w", True)], "same_outcome", "same_outcome"),
        ([checked("s", True), checked("w", None)], "unconfirmed", None),
        ([checked("s", True), checked("w", False), rated("s", 0.1), rated("w", 0.9)], None, None),
        ([checked("s", True), checked("w", True), rated("s", 0.9), rated("w", 0.1)], None, None),
        ([checked("s", True), checked("w", True), rated("s", 0.5), rated("w", 0.5)], "tie", "tie"),
        ([rated("s", 0.9), rated("w", 0.1)], None, None),
        ([rated("s", 0.1), rated("w", 0.9)], "contradicted", "contradicted"),
        ([rated("s", 0.52), rated("w", 0.5)], "tie", None),
        ([rated("s", None), rated("w", 0.0)], "unconfirmed", None),
        ([compared("s", "w", 0.9, 0), compared("s", "w", 0.8, 1)], None, None),
        ([compared("w", "s", 0.9, 0), compared("w", "s", 0.8, 1)], "contradicted", "contradicted"),
        ([compared("s", "w", 0.9, 0), compared("s", "w", 0.2, 1)], "tie", None),
        ([compared("s", "w", 0.9, 0), compared("s", "w", None, 1)], "unconfirmed", None),
        ([rated("s", 0.9, f"j{k}") for k in (1, 2)] + [rated("w", 0.1, f"j{k}") for k in (1, 2)], None, None),
    ],
)
def test_what_checks_and_judges_say_confirms_or_refutes(
    judgments: list[Judgment], required: str | None, unless_contradicted: str | None
) -> None:
    for confirm, expected in (("required", required), ("unless_contradicted", unless_contradicted), ("off", None)):
        pairs, rejects, _ = run("delta_weak_strong", [STRONG, WEAK], judgments, confirm=confirm)
        assert [r.reason for r in rejects] == ([expected] if expected else [])
        assert [arms(p) for p in pairs] == ([] if expected else [(STRONG.text, WEAK.text)])


def test_a_share_of_the_votes_is_wanted_and_a_gap_is_above_zero_or_unknown() -> None:
    judgments = [rated("s", 0.9, j) for j in "abc"] + [rated("w", 0.1, j) for j in "ab"] + [rated("w", 1.0, "c")]
    [pair], _, _ = run("delta_weak_strong", [STRONG, WEAK], judgments, confirm="required", min_confirm=0.6)
    assert (pair.votes, pair.n_judges, pair.pref_prob) == (Votes(2, 1, 0, 0), 3, 2.5 / 4)
    _, [refused], _ = run("delta_weak_strong", [STRONG, WEAK], judgments, confirm="required", min_confirm=0.7)
    assert refused.reason == "unconfirmed"
    [unheard], _, _ = run("delta_weak_strong", [STRONG, WEAK], [rated("s", 0.1), rated("w", 0.9)], confirm="off")
    assert (unheard.score_gap, unheard.chosen_score) == (None, None)
    assert [(s.arm, s.normalized) for s in unheard.scores] == [("chosen", 0.1), ("rejected", 0.9)]


def test_a_reward_labels_a_pair_and_is_no_score_of_its_answers() -> None:
    off = answer("off", "strong")
    bounds = {"mode": "rm", "scale_min": -math.inf, "scale_max": math.inf}
    judgments = [replace(rated(name, value), **bounds) for name, value in (("on", -2.0), ("off", 3.0))]
    [pair], _, _ = run("on_vs_off", [answer("on"), off], judgments)
    assert pair.chosen_messages[0].content == off.text
    assert (pair.chosen_score, pair.rejected_score, pair.score_gap) == (None, None, None)
    [pair], _, _ = run("delta_weak_strong", [off, answer("on", "weak")], judgments)
    assert (pair.chosen_score, pair.score_gap) == (None, None)


def test_on_and_off_policy_answers_are_labelled_by_their_score() -> None:
    on, off = answer("on"), answer("off", "off")
    [pair], _, _ = run("on_vs_off", [on, off], [rated("on", 0.2), rated("off", 0.9)])
    assert (arms(pair), pair.label_source) == ((off.text, on.text), "judge")
    assert pair.score_gap == pytest.approx(0.7)
    [pair], _, _ = run("on_vs_off", [on, off], [checked("on", True), checked("off", False), rated("off", 0.9)])
    assert (arms(pair), pair.label_source) == ((on.text, off.text), "verifier")
    for judgments, reason in (
        ([], "no_score"),
        ([checked("on", False), checked("off", False)], "same_outcome"),
        ([rated("on", 0.5), rated("off", 0.5)], "tie"),
        ([rated("on", 0.5), rated("off", 0.55)], "margin"),
    ):
        assert [r.reason for r in run("on_vs_off", [on, off], judgments)[1]] == [reason]
    with pytest.raises(ValidationError, match="confirm cannot be off"):
        PairConstructed(kind="on_vs_off", confirm="off")


def test_gold_beats_the_policys_own_unless_it_is_nearly_the_same() -> None:
    gold, own, near = answer("g", "gold", LONG), answer("o", text="It is 4."), answer("n", text=LONG[:-1] + "!")
    pairs, [refused], _ = run("spin", [gold, own, near])
    assert [arms(p) for p in pairs] == [(LONG, "It is 4.")]
    assert refused.reason == "too_similar"
    assert [r.reason for r in run("spin", [gold, own], [checked("g", True), checked("o", True)])[1]] == ["same_outcome"]


def test_a_revision_needs_a_judge_and_keeps_what_it_was_made_from() -> None:
    draft = answer("d")
    revision = child("revise", "a better answer", "d", "revision", policy_relation="edited")
    stray = child("revise", "of a draft that is not here", "gone", "revision", policy_relation="edited")
    both = [draft, revision, stray]
    assert [r.reason for r in run("revision", both)[1]] == ["unconfirmed"]
    [pair], _, _ = run("revision", both, [rated("d", 0.2), rated(revision.candidate_id, 0.8)])
    assert arms(pair) == ("a better answer", draft.text)
    made = json.loads(pair.ext_json or "")["made"]["chosen"]
    assert (made["way"], made["parent_id"], made["role"]) == ("revise", "d", "revision")


def test_both_sides_of_one_contrast_stand_against_each_other() -> None:
    made = [
        child("contrast", f"{role} {group}", None, role, group) for group in "ab" for role in ("plus", "minus")
    ]  # fmt: skip
    half = child("contrast", "plus alone", None, "plus", "c")
    pairs, _, _ = run("contrast_prompt", [*made, half], confirm="off")
    assert {arms(p) for p in pairs} == {("plus a", "minus a"), ("plus b", "minus b")}


def test_a_corrupted_answer_needs_a_witness_and_a_small_edit() -> None:
    good = answer("g", text=LONG)
    wrong = child("corrupt", LONG.replace("are four", "are five"), "g", policy_relation="corrupted")
    other = child("corrupt", "Five.", "g", policy_relation="corrupted")
    seen = [checked("g", True), *[checked(c.candidate_id, False) for c in (wrong, other)]]
    assert {r.reason for r in run("corrupted", [good, wrong, other])[1]} == {"unconfirmed"}
    [pair], [refused], _ = run("corrupted", [good, wrong, other], seen)
    assert arms(pair) == (LONG, wrong.text)
    assert refused.reason == "edit_ratio"
    measured = {f.name: (f.value, f.threshold) for f in pair.filters}
    value, threshold = measured["edit_ratio"]
    assert (value, threshold) == (3 / len(LONG), 0.2)
    assert json.loads(pair.ext_json or "")["made"]["rejected"]["detail"] == {"stated": "4 became 5"}


def test_an_answer_to_another_instruction_is_the_worse_one() -> None:
    good = answer("g")
    other = child("modify_instruction", "two times three makes six", "g", policy_relation="off")
    assert arms(run("modified_instruction", [other, good])[0][0]) == (good.text, other.text)


def student(name: str, right: int, n: int) -> list[Judgment]:
    return [rated(name, float(k < right), "student", "icl_acc", "student_gain", k) for k in range(n)]


def test_a_draft_has_to_help_a_student_more_than_chance_would() -> None:
    a, b = answer("a"), answer("b")
    [pair], _, _ = run("student_icl", [a, b], [*student("a", 10, 40), *student("b", 30, 40)])
    assert (arms(pair), pair.label_source, pair.score_gap) == ((b.text, a.text), "student_icl", 0.5)
    measured = {f.name: f.threshold for f in pair.filters}
    assert measured["gain_above_noise"] == pytest.approx(1.64 * (0.5 * 0.5 * 2 / 40) ** 0.5)
    for judgments, reason in (
        ([*student("a", 18, 40), *student("b", 24, 40)], "noise"),
        ([*student("a", 0, 8), *student("b", 8, 8)], "few_probes"),
        (student("a", 0, 40), "no_score"),
    ):
        assert [r.reason for r in run("student_icl", [a, b], judgments)[1]] == [reason]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("As ChatGPT, I would say four.", "identity"),
        ("I was trained by OpenAI to say four.", "identity"),
        ("Four.<|im_end|>", "special_token"),
        ("it goes on and on and on for ever and ever, " * 5, "loop"),
        ("As a language, Latin has six cases; Claude Monet painted.", None),
        ("Four.", None),
    ],
)
def test_what_a_chosen_answer_must_not_contain_is_no_fault_of_a_rejected_one(text: str, reason: str | None) -> None:
    found = chosen_refusal(text)
    assert (found[0] if found else None) == reason
    pairs, rejects, _ = run("delta_weak_strong", [answer("s", "strong", text), WEAK])
    assert [r.reason for r in rejects] == ([reason] if reason else [])
    assert len(run("delta_weak_strong", [STRONG, answer("w", "weak", text)])[0]) == 1
    assert len(pairs) == (reason is None)


def test_lengths_may_differ_by_so_many_tokens() -> None:
    strong, weak = answer("s", "strong", n_tokens=250), answer("w", "weak", n_tokens=100)
    assert [r.reason for r in run("delta_weak_strong", [strong, weak], length_gap_tokens=100)[1]] == ["length_gap"]
    assert len(run("delta_weak_strong", [strong, weak], length_gap_tokens=150)[0]) == 1


def test_the_same_two_texts_make_one_pair() -> None:
    twins = [answer("s1", "strong", "the same"), answer("s2", "strong", "the same"), WEAK]
    pairs, rejects, counts = run("delta_weak_strong", twins)
    assert ([arms(p) for p in pairs], rejects, counts) == ([("the same", WEAK.text)], [], {"kept": 1, "duplicate": 1})


def test_unfinished_blank_and_planted_answers_stand_in_no_pair() -> None:
    weak = [answer("a", "weak", finish_reason="length"), answer("b", "weak", " "), answer("c", "canary")]
    pairs, rejects, counts = run("delta_weak_strong", [STRONG, *weak])
    assert (pairs, rejects, counts) == ([], [], {"no_pair": 1})


@given(st.permutations(range(8)), st.lists(st.sampled_from([None, 0.0, 0.3, 0.9]), min_size=8, max_size=8))
def test_rows_do_not_depend_on_the_order_of_what_is_read(order: list[int], values: list[float | None]) -> None:
    relations = ["strong", "strong", "weak", "weak", "on", "on", "gold", "off"]
    candidates = [answer(str(i), relation) for i, relation in enumerate(relations)]
    judgments = [rated(str(i), value) for i, value in enumerate(values)]
    for kind in ("delta_weak_strong", "on_vs_off", "spin"):
        expected = run(kind, candidates, judgments)
        assert run(kind, [candidates[i] for i in order], [judgments[i] for i in reversed(order)]) == expected
        assert len(expected[0]) <= 4


@given(st.integers(0, 10_000))
def test_failures_never_make_a_pair_more(seed: int) -> None:
    draw = random.Random(seed)
    candidates = [answer(str(i), draw.choice(["strong", "weak", "on", "gold"])) for i in range(6)]
    judgments = [rated(str(i), draw.choice([0.0, 0.5, 1.0])) for i in range(6)]
    broken = [rated(str(i), None) if draw.random() < 0.5 else judgments[i] for i in range(6)]
    for kind in ("delta_weak_strong", "on_vs_off"):
        before = {p.pair_id for p in run(kind, candidates, judgments, confirm="required", max_pairs=99)[0]}
        after = {p.pair_id for p in run(kind, candidates, broken, confirm="required", max_pairs=99)[0]}
        assert after <= before
