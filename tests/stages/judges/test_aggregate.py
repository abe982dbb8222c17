"""The stage aggregate: which pairs a jury makes, what becomes of labels that are there, and what it refuses."""

from __future__ import annotations

import asyncio
import json
import math
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from pipeline import ids
from pipeline.errors import PlanError
from pipeline.pair import Pair
from pipeline.plan import first_difference, make_plan
from pipeline.records import Candidate, Judgment, Message, Prompt, Reject
from pipeline.stage import Context, Example
from stages.judges.aggregate import Aggregate
from stages.judges.calibration_file import Calibration, GoldItems, JudgeCalibration
from stages.judges.swap import sigmoid
from stages.pairs.build import response_pair
from tests.stages.exports.example_rows import exported

MESSAGES = (Message("user", "Which is best?"),)
PROMPT = Prompt(ids.prompt_id(MESSAGES), ids.prompt_id(MESSAGES), MESSAGES)
WORDS = {"c0": "first answer", "c1": "second, longer answer", "c2": "a third", "c3": "and the last of them"}


def candidates(*names: str, models: Sequence[str | None] = ()) -> list[Candidate]:
    given_models = [*models, *[None] * len(names)]
    return [Candidate(PROMPT.prompt_id, n, WORDS[n], "generate", i, given_models[i]) for i, n in enumerate(names)]


def row(mode: str, cand_ids: tuple[str, ...], value: float | None, **more: Any) -> Judgment:
    fields = {"job": "compare", "judge_id": "judge", "logprob_source": "raw", **more}
    key = ids.content_hash(mode, cand_ids, fields)
    status = "ok" if value is not None else "parse_error"
    return Judgment(PROMPT.prompt_id, key, mode=mode, cand_ids=cand_ids, status=status, value=value, **fields)  # type: ignore[arg-type]


def compared(a: str, b: str, p: float | None, other: float | None = -1.0, **more: Any) -> list[Judgment]:
    """Both orders of a comparison; p: P(a better); `other`: the value of the second order, as p where not given."""
    values = (p, p if other == -1.0 else other)
    return [row("pairwise", (a, b), value, order=order, **more) for order, value in enumerate(values)]


def verified(name: str, right: bool) -> Judgment:
    return row("tool", (name,), float(right), job="verify", judge_id="verify:auto")


async def aggregate(
    judgments: list[Judgment], pool: Sequence[Candidate] | None = None, pairs: Sequence[Pair] = (), **fields: Any
) -> tuple[list[Pair], list[Reject], dict[str, int]]:
    ctx = Context("aggregate", "run", 7, "f", {})
    example: Example[Any] = Example(PROMPT, pool or candidates("c0", "c1"), judgments, (), pairs)
    rows = await Aggregate(**fields).process(example, ctx)
    return [r for r in rows if isinstance(r, Pair)], [r for r in rows if isinstance(r, Reject)], ctx.counts


def arms(pair: Pair) -> tuple[str, str]:
    assert pair.chosen_gen is not None
    assert pair.rejected_gen is not None
    return pair.chosen_gen.candidate_id, pair.rejected_gen.candidate_id


async def test_the_pair_of_the_worked_example() -> None:
    (pair,), _, _ = await aggregate(compared("c0", "c1", 0.9, 1 - 0.6))
    assert arms(pair) == ("c0", "c1")
    assert pair.pref_prob == pytest.approx(0.710102, abs=1e-6)
    assert pair.strength == pytest.approx(0.895880, abs=1e-6)
    assert (pair.n_judges, pair.n_orders_consistent, pair.position_consistent) == (1, 0.0, False)
    assert (pair.label_source, pair.ambiguous, pair.same_scc, pair.label_flipped) == ("judge", False, False, None)
    assert [s.judge for s in pair.signals] == ["compare:judge"]


@given(st.lists(st.tuples(st.floats(0.01, 0.99), st.floats(0.01, 0.99)), min_size=1, max_size=4), st.randoms())
async def test_neither_the_order_of_rows_nor_that_of_candidates_changes_a_pair(
    said: list[tuple[float, float]], shuffle: random.Random
) -> None:
    rows = [r for k, (p, q) in enumerate(said) for r in compared("c0", "c1", p, q, judge_id=f"j{k}")]
    turned = [
        row("pairwise", ("c1", "c0"), 1 - (r.value or 0), order=1 - (r.order or 0), judge_id=r.judge_id) for r in rows
    ]
    shuffle.shuffle(turned)
    one, _, _ = await aggregate(rows)
    other, _, _ = await aggregate(turned, candidates("c1", "c0"))
    assert [arms(p) for p in one] == [arms(p) for p in other]
    assert [p.pref_prob for p in one] == pytest.approx([p.pref_prob for p in other])


@pytest.mark.parametrize("missing", [(0.9, None), (None, 0.9), (None, None)])
async def test_what_was_not_judged_in_both_orders_is_no_pair(missing: tuple[float | None, float | None]) -> None:
    pairs, _, counts = await aggregate(compared("c0", "c1", *missing))
    assert pairs == []
    assert counts == {"no_pair:not_compared": 1}


async def test_one_order_counts_where_the_config_says_so() -> None:
    (pair,), _, _ = await aggregate(compared("c0", "c1", 0.9, None), both_orders=False)
    assert pair.pref_prob == pytest.approx(0.9)
    assert pair.n_orders_consistent == 0.0
    assert pair.position_consistent is None


async def test_no_pair_is_made_across_a_cycle() -> None:
    pool = candidates("c0", "c1", "c2", "c3")
    said = {("c0", "c1"): 0.8, ("c1", "c2"): 0.75, ("c0", "c2"): 0.3}
    rows = [
        r for (a, b), p in {**said, **{(c, "c3"): 0.9 for c in ("c0", "c1", "c2")}}.items() for r in compared(a, b, p)
    ]
    pairs, rejects, _ = await aggregate(rows, pool, strategy="all_pairs", max_pairs=9)
    assert {arms(p) for p in pairs} == {("c0", "c3"), ("c1", "c3"), ("c2", "c3")}
    assert {r.reason for r in rejects} == {"cycle"}
    assert pairs[0].cyclic_fraction == pytest.approx(0.203904, abs=1e-6)


async def test_canaries_are_never_paired_and_what_an_author_wrote_is_no_verdict() -> None:
    pool = candidates("c0", "c1", "c2")
    pool[2] = replace(pool[2], policy_relation="canary")
    meta = row("meta", (), None, judge_id="author")
    rows = [*compared("c0", "c1", 0.8), *compared("c2", "c0", 0.99), *compared("c2", "c1", 0.99), meta]
    pairs, _, counts = await aggregate(rows, pool, strategy="all_pairs", max_pairs=9)
    assert {arms(p) for p in pairs} == {("c0", "c1")}
    assert counts["dropped:canary"] == 1


async def test_a_check_that_tells_two_apart_overrules_the_jury() -> None:
    (pair,), _, _ = await aggregate([*compared("c0", "c1", 0.95), verified("c0", False), verified("c1", True)])
    assert arms(pair) == ("c1", "c0")
    assert (pair.label_source, pair.dominance) == ("verifier", "checker")
    assert pair.soft_label == pytest.approx(0.98)


async def test_an_answer_that_a_check_found_wrong_is_never_the_preferred_one() -> None:
    rows = [*compared("c0", "c1", 0.9), verified("c0", False), verified("c1", False)]
    pairs, (reject,), counts = await aggregate(rows)
    assert (pairs, reject.reason) == ([], "chosen_wrong")
    assert counts["refused:chosen_wrong"] == counts["no_pair:chosen_wrong"] == 1
    (pair,), _, _ = await aggregate([*compared("c0", "c1", 0.9), verified("c1", False)])  # the worse one may be wrong
    assert arms(pair) == ("c0", "c1")


def rated(name: str, score: float | None) -> Judgment:
    return row("aspect", (name,), score, job="rate", scale_min=1.0, scale_max=5.0)


async def test_the_better_of_two_bad_answers_is_refused_where_a_least_score_is_set() -> None:
    rows = [*compared("c0", "c1", 0.9), rated("c0", 3.0), rated("c1", 1.0)]
    assert len((await aggregate(rows))[0]) == len((await aggregate(rows, min_chosen=0.5))[0]) == 1
    pairs, (reject,), _ = await aggregate(rows, min_chosen=0.75)
    assert (pairs, reject.reason) == ([], "chosen_low")
    assert "has the score 0.500, below 0.75" in reject.detail
    unscored = [*compared("c0", "c1", 0.9), rated("c0", None), rated("c1", 1.0)]
    assert len((await aggregate(unscored, min_chosen=0.75))[0]) == 1  # what failed is not low


def scored(rows: list[Judgment]) -> tuple[float | None, float | None, float | None]:
    """Both scores and their gap."""
    (pair,), _, _ = asyncio.run(aggregate(rows))
    assert pair.selection is not None
    assert pair.selection.chosen_rank == 1
    return pair.chosen_score, pair.rejected_score, pair.score_gap


def test_who_loses_a_comparison_is_not_thereby_bad() -> None:
    rows = [*compared("c0", "c1", 0.9), verified("c0", True), verified("c1", True)]
    (pair,), _, _ = asyncio.run(aggregate(rows))
    assert pair.pref_prob == pytest.approx(0.9)
    assert scored(rows) == scored(compared("c0", "c1", 0.9)) == (None, None, None)
    for name, options in (("trl-kto", {}), ("ultrafeedback-binarized", {}), ("nemo-aligner", {"scores": True})):
        assert exported(Example(PROMPT, pairs=[pair]), format=name, **options).reasons == ["no_scores"]


def test_scores_are_what_ratings_and_checks_say_of_each_answer_by_itself() -> None:
    preferred = compared("c0", "c1", 0.9)
    ratings = [rated("c0", 4.0), rated("c1", 3.0)]
    assert scored([*preferred, *ratings]) == (0.75, 0.5, 0.25)
    both_right = [verified("c0", True), verified("c1", True)]
    assert scored([*preferred, *ratings, *both_right]) == pytest.approx((0.55 + 0.45 * 0.75, 0.55 + 0.45 * 0.5, 0.1125))
    assert scored([*preferred, *preferred, rated("c0", 3.0), rated("c1", 3.0)]) == (None, None, None)
    assert scored([verified("c0", True), verified("c1", False)]) == (1.0, 0.0, 1.0)
    assert scored([*preferred, verified("c0", True)]) == (None, None, None)
    refuted = verified("c1", False)  # by a check that can do no more, so that it says nothing of the other
    assert scored([*preferred, *ratings, refuted]) == pytest.approx((0.75, 0.45 * 0.5, 0.525))
    rewards = [row("rm", (c,), v, job="score_reward") for c, v in (("c0", 3.0), ("c1", -3.0))]
    rewards = [replace(reward, scale_min=-math.inf, scale_max=math.inf) for reward in rewards]
    assert scored([*preferred, *rewards]) == (None, None, None)


async def test_of_equal_answers_the_one_that_was_compared_stands_for_all() -> None:
    pool = candidates("c0", "c1", "c2")
    pool = [replace(c, text="the same text" if c.candidate_id != "c1" else "another") for c in pool]
    for asked in ("c0", "c2"):
        rows = [*compared(asked, "c1", 0.9), *[rated(c, 4.0 if c != "c1" else 2.0) for c in ("c0", "c1", "c2")]]
        (pair,), _, _ = await aggregate(rows, pool)
        assert arms(pair) == (asked, "c1")
        assert pair.n_judges == 2


async def test_divided_judges_make_an_ambiguous_pair_which_is_refused_or_marked() -> None:
    rows = [*compared("c0", "c1", 0.95, judge_id="x"), *compared("c0", "c1", 0.15, judge_id="y")]
    pairs, (reject,), _ = await aggregate(rows)
    assert (pairs, reject.reason) == ([], "ambiguous")
    (pair,), _, _ = await aggregate(rows, ambiguous="flag")
    assert pair.ambiguous


async def test_a_judge_is_not_asked_about_its_own_family_among_rivals() -> None:
    pool = candidates("c0", "c1", models=("Qwen/Qwen3-8B", "llama-3"))
    rows = [*compared("c0", "c1", 0.9, judge_id="q", judge_family="qwen"), *compared("c0", "c1", 0.2, judge_id="g")]
    (pair,), _, _ = await aggregate(rows, pool)
    assert (arms(pair), pair.n_judges) == (("c1", "c0"), 1)
    (pair,), _, _ = await aggregate(rows, pool, exclude_same_family=False, ambiguous="flag")
    assert pair.n_judges == 2


async def test_scores_and_rewards_speak_by_their_differences() -> None:
    rows = [row("aspect", (c,), v, job="rate", scale_min=1.0, scale_max=5.0) for c, v in (("c0", 4.0), ("c1", 2.0))]
    rows += [row("rm", (c,), v, job="score_reward", judge_id=m) for m in "xy" for c, v in (("c0", 1.5), ("c1", 0.5))]
    (pair,), _, _ = await aggregate(rows)
    assert {s.judge: s.raw for s in pair.signals} == {
        "rate:judge": 0.5, "score_reward:x": 1.0, "score_reward:y": 1.0,
    }  # fmt: skip
    assert pair.strength == pytest.approx((0.5 / 0.25 + 1.0) / 2)  # both reward models together weigh as one judge


async def test_a_judge_that_failed_is_absent_and_not_a_low_score() -> None:
    rows = [row("aspect", ("c0",), 2.0, job="rate", scale_max=5.0), row("aspect", ("c1",), None, job="rate")]
    assert (await aggregate(rows))[0] == []


def given_pair(label: str) -> Pair:
    pool = {c.candidate_id: c for c in candidates("c0", "c1")}
    other = "c1" if label == "c0" else "c0"
    return response_pair("given", PROMPT, pool[label], pool[other], label_source="given")


def signals(jury: float | None, rewards: float | None) -> list[Judgment]:
    """P(c0 better) by a jury of one and by a reward model."""
    rows = compared("c0", "c1", jury)
    if rewards is not None:
        odds = 0.0 if rewards == 0.5 else float(2.0 * (rewards - 0.5))
        rows += [row("rm", ("c0",), odds * 3, job="score_reward"), row("rm", ("c1",), 0.0, job="score_reward")]
    return rows


async def test_a_label_that_both_signals_support_is_kept_with_its_id() -> None:
    old = given_pair("c0")
    (pair,), _, counts = await aggregate(signals(0.9, 0.9), pairs=[old], relabel=True)
    assert (pair.pair_id, arms(pair), pair.label_flipped, pair.label_source) == (old.pair_id, arms(old), False, "given")
    assert counts == {"kept": 1}
    assert pair.soft_label == pair.pref_prob


async def test_a_label_that_both_signals_are_surely_against_is_turned_round() -> None:
    old = given_pair("c1")
    (pair,), _, counts = await aggregate(signals(0.9, 0.9), pairs=[old], relabel=True)
    assert arms(pair) == ("c0", "c1")
    assert pair.chosen_messages == old.rejected_messages
    assert (pair.label_flipped, pair.original_chosen_id, pair.label_source) == (True, "c1", "judge")
    assert pair.pair_id == given_pair("c0").pair_id
    assert pair.unordered_id == old.unordered_id
    assert pair.lineage is not None
    assert pair.lineage.parent_ids == (old.pair_id,)
    assert pair.weight == 0.5
    assert pair.pref_prob is not None
    assert pair.pref_prob > 0.75
    assert counts == {"flipped": 1}


@pytest.mark.parametrize(
    ("jury", "rewards", "reason"),
    [
        (0.1, None, "one_signal"),
        (0.52, None, "one_signal"),
        (None, None, "no_signal"),
        (0.35, 0.4, "ambiguous"),
        (0.9, 0.05, "ambiguous"),
    ],
)
async def test_a_label_in_doubt_is_a_reject_with_its_reason(
    jury: float | None, rewards: float | None, reason: str
) -> None:
    pairs, (reject,), _ = await aggregate(signals(jury, rewards), pairs=[given_pair("c0")], relabel=True)
    assert pairs == []
    assert (reject.reason, reject.subject_id) == (reason, given_pair("c0").pair_id)


async def test_a_check_turns_a_label_round_by_itself() -> None:
    rows = [*compared("c0", "c1", 0.9), verified("c0", False), verified("c1", True)]
    (pair,), _, _ = await aggregate(rows, pairs=[given_pair("c0")], relabel=True)
    assert (arms(pair), pair.label_source, pair.label_flipped) == (("c1", "c0"), "verifier", True)


async def test_a_named_job_can_be_the_second_opinion() -> None:
    rows = [*compared("c0", "c1", 0.1), *compared("c0", "c1", 0.2, job="stronger")]
    _, (reject,), _ = await aggregate(rows, pairs=[given_pair("c0")], relabel=True)
    assert reject.reason == "one_signal"
    (pair,), _, _ = await aggregate(rows, pairs=[given_pair("c0")], relabel=True, second_opinion=["stronger"])
    assert pair.label_flipped


async def test_pairs_of_steps_pass_as_they_are() -> None:
    import msgspec

    step = msgspec.structs.replace(given_pair("c0"), level="step")
    pairs, _, counts = await aggregate(signals(0.1, 0.1), pairs=[step], relabel=True)
    assert (pairs, counts) == ([step], {"passed": 1})


def calibration(**judges: JudgeCalibration) -> Calibration:
    gold = GoldItems(items=9, ties=0, adversarial=0, domains={}, content="", length_std=10.0, length_slope=0.0)
    return Calibration(gold=gold, judges=judges, error_correlation=0.0, error_correlations={})


def known(**changes: Any) -> JudgeCalibration:
    fields: dict[str, Any] = {
        "kind": "pairwise", "template_hash": None, "both_orders": True, "n": 100, "accuracy": 0.8,
        "accuracy_shrunk": 0.8, "wilson_low": 0.7, "enabled": True, "weight": 1.4, "temperature": 2.0,
        "position_bias": 0.5, "position_bias_abs": 0.5, "order_consistency": 0.9, "length_slope": 0.0,
        "length_effect": 0.0, "tie_rate": 0.0, "parse_rate": 1.0, "refusal_rate": 0.0, "ece": 0.1, "brier": 0.2,
        "kappa": 0.5,
    }  # fmt: skip
    return JudgeCalibration(**{**fields, **changes})


def stored(folder: Path, **judges: JudgeCalibration) -> str:
    path = folder / "calibration.json"
    named = {name.replace("__", ":"): judge for name, judge in judges.items()}
    path.write_text(calibration(**named).model_dump_json(), encoding="utf-8")
    return str(path)


async def test_a_calibration_divides_by_its_temperature_and_weighs_by_its_weights(tmp_path: Path) -> None:
    path = stored(tmp_path, compare__judge=known(), compare__bad=known(enabled=False))
    rows = [*compared("c0", "c1", 0.9), *compared("c0", "c1", 0.1, judge_id="bad")]
    (pair,), _, _ = await aggregate(rows, calibration=path)
    assert pair.pref_prob == pytest.approx(float(sigmoid(2.1972245773 / 2)))
    assert pair.margin_logit == pytest.approx(2.1972245773 / 2)
    assert [s.judge for s in pair.signals] == ["compare:judge"]


async def test_a_margin_is_calibrated_or_none_and_one_that_was_given_goes_with_its_label() -> None:
    (made,), _, _ = await aggregate(compared("c0", "c1", 0.9))
    assert made.margin_logit is None
    assert made.strength == pytest.approx(2.1972245773)
    for label, margin in (("c0", 1.5), ("c1", None)):  # kept, and turned round
        old = replace(given_pair(label), margin_logit=1.5)
        (pair,), _, _ = await aggregate(signals(0.9, 0.9), pairs=[old], relabel=True)
        assert (arms(pair), pair.margin_logit) == (("c0", "c1"), margin)


async def test_what_a_judge_gives_to_length_alone_is_taken_off(tmp_path: Path) -> None:
    fair, fond = known(length_effect=1.0), known(length_slope=2.0, length_effect=1.0)
    (plain,), _, _ = await aggregate(compared("c0", "c1", 0.1), calibration=stored(tmp_path, compare__judge=fair))
    (less,), _, _ = await aggregate(compared("c0", "c1", 0.1), calibration=stored(tmp_path, compare__judge=fond))
    assert plain.strength is not None
    assert less.strength is not None
    assert less.strength < plain.strength  # the chosen answer is the longer one


@pytest.mark.parametrize(
    ("judge", "told"),
    [
        ({"other__judge": known()}, "knows no judge compare:judge; it knows other:judge"),
        ({"compare__judge": known(template_hash="abc")}, "calibrated with template abc, this run has none"),
        ({"compare__judge": known(kind="rm")}, "calibrated with kind rm, this run has pairwise"),
    ],
)
async def test_a_calibration_of_another_judge_or_template_is_refused(
    tmp_path: Path, judge: dict[str, JudgeCalibration], told: str
) -> None:
    with pytest.raises(PlanError, match=told):
        await aggregate(compared("c0", "c1", 0.9), calibration=stored(tmp_path, **judge))


def test_the_content_of_a_calibration_is_part_of_the_recipe_and_its_path_is_not(tmp_path: Path) -> None:
    gold = tmp_path / "gold.jsonl"
    gold.write_text(json.dumps({"prompt": "?", "response_a": "x", "response_b": "y"}), encoding="utf-8")

    def recipe(path: str) -> Any:
        jobs = [{"stage": "gold_items", "path": str(gold)}, {"stage": "aggregate", "calibration": path}]
        return make_plan({"name": "t", "jobs": jobs}).jobs["aggregate"].recipe

    (tmp_path / "elsewhere").mkdir()
    first, same = (recipe(stored(f, compare__judge=known())) for f in (tmp_path, tmp_path / "elsewhere"))
    assert first == same
    changed = first_difference(first, recipe(stored(tmp_path, compare__judge=known(weight=1.0))))
    assert changed is not None
    assert changed[0] == "fields.calibration_sha256"


def test_a_calibration_that_is_not_there_or_none_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match="no calibration at"):
        Aggregate(calibration=str(tmp_path / "none.json")).check()
    other = tmp_path / "other.json"
    other.write_text('{"format": "prefsynth-calibration/9"}', encoding="utf-8")
    with pytest.raises(PlanError, match="is no calibration this version reads: format"):
        Aggregate(calibration=str(other)).check()
    with pytest.raises(PlanError, match="has no domain 'law'"):
        Aggregate(calibration=stored(tmp_path, compare__judge=known()), domain="law").check()
