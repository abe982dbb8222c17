"""Samples become children: dropped, merged, ended; and what their scores are worth."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.tree import Rollout
from stages.pairs.distance import edit_distance, normalised_distance
from stages.search import values
from stages.search.children import children, normal_step
from stages.search.fields import SearchFields
from stages.search.machine import TreeSearch
from stages.search.presets import PRESETS, with_preset
from stages.search.priors import priors
from stages.search.rules import SearchRules, ValueRules
from stages.search.tickets import Answer, Child, Ticket


def ticket(**changes: Any) -> Ticket:
    given: dict[str, Any] = {
        "number": 0, "kind": "expand", "node_id": 1, "path": "0.0", "depth": 1, "attempt": 0, "sim": 1, "n": 4,
        "max_tokens": 64, "finish": False, "seed": 1, "prefix_ids": (1, 2), "prefix_text": "First.\n",
    }  # fmt: skip
    return Ticket(**{**given, **changes})


def step(text: str, *ids: int, **changes: Any) -> Child:
    return Child(text, ids or tuple(map(ord, text)), **changes)


def test_empty_aborted_and_cut_off_steps_are_dropped() -> None:
    samples = [step(" \n"), step("a", finish_reason="abort"), step("b", finish_reason="length"), step("c")]
    assert [c.text for c in children(samples, ticket(), SearchRules())] == ["c"]
    assert [c.text for c in children(samples, ticket(), SearchRules(keep_truncated=True))] == ["b", "c"]


def test_equal_steps_are_merged_and_counted() -> None:
    samples = [step("2 + 2 = 4\n", 7, 8), step("other", 9), step("1. 2 +  2 = 4", 5), step("x", 7, 8), step("Other", 6)]
    found = children(samples, ticket(), SearchRules())
    assert [(c.text, c.multiplicity) for c in found] == [("2 + 2 = 4\n", 3), ("other", 1), ("Other", 1)]


def test_near_duplicates_are_merged_when_asked() -> None:
    samples = [step("He buys 12 apples."), step("He buys 12 apples!"), step("She sells 3 pears.")]
    found = children(samples, ticket(), SearchRules(near_duplicate=0.1))
    assert [c.multiplicity for c in found] == [2, 1]


@pytest.mark.parametrize(
    ("child", "changes", "reason"),
    [
        (step("so 4", final_answer="4"), {}, "answer"),
        (step("done", finish_reason="eos"), {}, "answer"),
        (step("on"), {"depth": 11, "finish": True}, "max_depth"),
        (step("cut", finish_reason="length"), {"finish": True}, "max_tokens"),
        (step("on"), {"prefix_ids": tuple(range(2047))}, "max_tokens"),
        (step("I try again and again and again." * 8), {}, "repetition"),
        (
            step("I try again and again and again."),
            {"prefix_text": "I try again and again and again." * 7},
            "repetition",
        ),
        (step("I try again and again and again."), {"prefix_text": "I try again and again and again." * 6}, None),
        (step("on"), {}, None),
    ],
)
def test_why_a_branch_ends(child: Child, changes: dict[str, Any], reason: str | None) -> None:
    (found,) = children([child], ticket(**changes), SearchRules())
    assert found.terminal_reason == reason


def test_list_markers_do_not_make_a_step_another_one() -> None:
    assert {normal_step(text) for text in ("- So  x = 2", "3) So x = 2", "Step 2: So x = 2", " So x = 2\n")} == {
        "So x = 2"
    }


def test_priors_of_the_literature() -> None:
    """Example E of the specification: the sum over 8 and over 20 tokens."""
    pair = [step("a", *range(8), logprob_sum=-6.0), step("b", *range(20), logprob_sum=-6.0, multiplicity=3)]
    raw = priors(pair, SearchRules(prior="logp_len", length_penalty=1.25))
    assert [round(p, 6) for p in raw] == [0.640214, 0.867742]
    mean = priors(pair, SearchRules(prior="logp_len", length_penalty=1.0))
    assert [round(p, 6) for p in mean] == [0.472367, 0.740818]
    normal = priors(pair, SearchRules(prior="logp_mean"))
    assert normal == pytest.approx([m / sum(mean) for m in mean])
    assert priors(pair, SearchRules(prior="empirical")) == [0.25, 0.75]
    assert priors([*pair, step("c")], SearchRules(prior="logp_mean")) == [1 / 3] * 3


def test_self_evaluation_is_normalised_over_both_options() -> None:
    confidence = values.option_confidence(right=-1.2, wrong=-0.9)
    assert confidence is not None
    assert (round(confidence, 6), round(2 * confidence - 1, 6)) == (0.425557, -0.148885)
    assert values.option_confidence(-math.inf, -math.inf) is None
    assert values.option_confidence(-9.0, -9.0, min_mass=0.01) is None
    assert values.both_orders([0.9, None]) == 0.9
    assert values.both_orders([0.9, 0.5]) == pytest.approx(0.7)
    assert values.both_orders([None, None]) is None


def test_graded_and_numeric_scores_are_put_on_the_same_scale() -> None:
    grades = {"A": -1.0, "B": -0.5, "C": 0.5, "D": 1.0}
    assert values.graded({"A": 0.0, "B": 0.0, "C": 0.2, "D": 0.2}, grades) == pytest.approx(0.75)
    assert values.graded(dict.fromkeys(grades, 0.0), grades) is None
    assert [values.linear(x, 1, 5) for x in (1, 3, 5)] == [-1, 0, 1]


def test_missing_sources_lose_their_weight() -> None:
    rules = ValueRules(weights={"self_eval": 1.0, "judge_score": 3.0})
    assert values.child_value(step("a", self_eval=0.75), None, 1, 0.0, rules) == 0.5
    assert values.child_value(step("a", self_eval=0.75, judge_score=-0.5), None, 1, 0.0, rules) == -0.25
    assert values.child_value(step("a", prm_score=0.9), None, 1, 0.0, rules) is None
    assert values.child_value(step("a", self_eval=0.75, outcome=-1), None, 1, 0.0, rules) == -1.0
    shaped = ValueRules(length_shaping=True)
    assert values.child_value(step("a", self_eval=1.0), None, 5, 0.0, shaped) == 0.5


def test_rollouts_of_a_step_give_its_value() -> None:
    drawn = tuple(Rollout("…", (1,), outcome) for outcome in (1, 1, 1, -1, None))
    search = TreeSearch(SearchRules(), "t", 0)
    (first,) = search.next_tickets()
    search.deliver(first, Answer(((step("a", rollouts=drawn),),)))
    node = search.tree.nodes[1]
    assert (node.rollouts_n, node.rollouts_c, node.value) == (4, 3, 0.5)


def test_a_score_off_its_scale_is_refused() -> None:
    with pytest.raises(ValueError, match=r"a value of 80 lies outside \[-1, 1\]; rescale"):
        values.child_value(step("a", judge_score=80.0), None, 1, 0.0, ValueRules())


def test_ends_without_outcome_count_by_the_bounds_where_given() -> None:
    rules = ValueRules(good=0.5, bad=-0.5)
    assert [values.counted_outcome(None, v, rules) for v in (0.5, 0.0, -0.7, None)] == [1, 0, -1, 0]
    assert values.counted_outcome(None, 1.0, ValueRules()) == 0
    assert values.counted_outcome(-1, 1.0, rules) == -1


@pytest.mark.parametrize("name", PRESETS)
def test_presets_are_valid_rules(name: str) -> None:
    assert SearchFields(engine="policy", preset=name, sims=7).sims == 7


def test_a_config_overrides_a_preset_field_by_field() -> None:
    fields = with_preset({"preset": "omega_prm", "omega": {"rollouts": 8}})
    assert (fields["omega"]["rollouts"], fields["omega"]["max_rollouts"], fields["mode"]) == (8, 200, "omega")
    with pytest.raises(ValueError, match="unknown preset 'best'; presets: default, mcts_dpo"):
        with_preset({"preset": "best"})


@given(st.text("abc", max_size=40), st.text("abc", max_size=40))
def test_edit_distance_is_levenshtein(a: str, b: str) -> None:
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        above, row = row, [i]
        for j, y in enumerate(b, 1):
            row.append(min(above[j] + 1, row[-1] + 1, above[j - 1] + (x != y)))
    assert edit_distance(a, b) == row[-1]
    assert 0 <= normalised_distance(a, b) <= 1
