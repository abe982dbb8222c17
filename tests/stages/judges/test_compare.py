"""The compare stage with judges that answer from a script."""

from __future__ import annotations

import math
import random
import re
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.scripted_judges import Answer, Script, asked_text, context, example
from pipeline.engine import Completion, Request
from pipeline.errors import PlanError
from pipeline.records import Candidate, Judgment
from stages.judges.compare import Compare
from stages.judges.comparing import order_bit, settled
from stages.pairs.build import response_pair

_SHOWN = re.compile(r"<response_a>\n(.*?)\n</response_a>\n\n<response_b>\n(.*?)\n</response_b>", re.DOTALL)


def shown(request: Request) -> tuple[str, str]:
    found = _SHOWN.search(asked_text(request))
    assert found is not None
    return found[1], found[2]


def biased(bias: float = 0.0, tie: float = 0.0) -> Answer:
    """Prefers the larger number by its difference in logits, and the first place by `bias`."""

    def answer(request: Request) -> Completion:
        a, b = (float(text) for text in shown(request))
        p = 1 / (1 + math.exp(-(a - b) - bias))
        labels = {"A": p * (1 - tie), "B": (1 - p) * (1 - tie), "T": tie}
        logs = {label: math.log(labels[label]) if labels[label] else -math.inf for label in request.labels}
        return Completion("A" if p > 0.5 else "B", "stop", 40, 1, labels=logs or None)

    return answer


async def compare(answer: Answer, *texts: str, **fields: Any) -> tuple[list[Judgment], Script, dict[str, int]]:
    judgments = fields.pop("judgments", ())
    ctx, script = context(answer, "compare")
    stage = Compare(engine="judge", **({"schedule": "all"} | fields))
    stage.check()
    return await stage.process(example(*texts, judgments=judgments), ctx), script, ctx.counts


def rated(candidate: str, value: float | None) -> Judgment:
    status = "ok" if value is not None else "parse_error"
    return Judgment("p", f"k{candidate}", "rate", "aspect", "j", (candidate,), status, value)  # type: ignore[arg-type]


async def test_a_pair_is_two_calls_and_each_tells_the_chance_of_the_same_candidate() -> None:
    rows, script, _ = await compare(biased(bias=1.0), "3", "1")
    by_order = {row.order: row for row in rows}
    assert len(rows) == len(script.asked) == 2
    assert {row.cand_ids for row in rows} == {("c0", "c1")}
    assert by_order[0].value == pytest.approx(1 / (1 + math.exp(-3)))
    assert by_order[1].value == pytest.approx(1 / (1 + math.exp(-1)))
    row = by_order[1]
    assert (row.mode, row.status, row.value_mode, row.scale_min, row.scale_max) == ("pairwise", "ok", 1.0, 0.0, 1.0)
    assert row.label_probs is not None
    assert [p.label for p in row.label_probs] == ["A", "B", "T"]
    assert row.label_probs[0].p == pytest.approx(1 - (row.value or 0))
    assert {shown(request) for request in script.asked} == {("3", "1"), ("1", "3")}


@given(st.floats(-4, 4), st.floats(-3, 3))
async def test_both_orders_hold_the_preference_whatever_the_bias(delta: float, bias: float) -> None:
    rows, _, _ = await compare(biased(bias), str(delta), "0")
    logit = {row.order: math.log(row.value / (1 - row.value)) for row in rows if row.value is not None}
    assert (logit[0] + logit[1]) / 2 == pytest.approx(delta, abs=1e-6)
    assert (logit[0] - logit[1]) / 2 == pytest.approx(bias, abs=1e-6)


@given(st.integers(0, 999))
async def test_rows_do_not_depend_on_the_order_in_which_candidates_are_listed(seed: int) -> None:
    ctx, _ = context(biased(0.5))
    asked = example("3", "1", "2", "5", "4")
    for schedule in ("all", "swiss", "knockout"):
        stage = Compare(engine="judge", schedule=schedule)
        rows = await stage.process(asked, ctx)
        shuffled = list(asked.candidates)
        random.Random(seed).shuffle(shuffled)
        again = await stage.process(_listed(asked, shuffled), ctx)
        assert rows == again
    assert {order_bit(1, "p", ("a", "b"), "j", k) for k in range(20)} == {0, 1}
    assert order_bit(1, "p", ("a", "b"), "j", 0) == order_bit(1, "p", ("b", "a"), "j", 0)


def _listed(asked: Any, candidates: list[Candidate]) -> Any:
    return type(asked)(asked.prompt, candidates)


async def test_ties_count_half_and_can_be_refused() -> None:
    rows, script, _ = await compare(biased(tie=0.4), "1", "0")
    assert [row.value for row in rows if row.order == 0] == [pytest.approx(0.6 / (1 + math.exp(-1)) + 0.2)]
    assert "T: Neither" in asked_text(script.asked[0])
    _, script, _ = await compare(biased(), "1", "0", ties=False)
    assert script.asked[0].labels == ("A", "B")
    assert "tie" not in asked_text(script.asked[0])
    tied, _, _ = await compare(lambda r: Completion("It is a tie.", "stop", 1, 4), "1", "0", ties=False, max_attempts=1)
    assert {(row.status, row.value) for row in tied} == {("out_of_range", None)}


async def test_without_log_probabilities_each_order_is_sampled() -> None:
    rows, script, _ = await compare(biased(), "3", "1", mode="parsed", samples=3)
    assert len(rows) == 6
    assert {(row.value, row.label_mass, row.logprob_source) for row in rows} == {(1.0, None, "none")}
    assert script.asked[0].labels == ()
    assert script.asked[0].sampling.temperature > 0
    assert len({request.seed for request in script.asked}) == 6
    with pytest.raises(PlanError, match="samples to 3 or more"):
        Compare(engine="judge", mode="parsed").check()


async def test_the_shortlist_is_what_earlier_scores_leave_open() -> None:
    scores = {"c0": 0.9, "c1": 0.85, "c2": 0.6, "c3": 0.3, "c4": 0.1}
    judgments = [rated(c, v) for c, v in scores.items()] + [rated("c5", None)]
    rows, _, _ = await compare(biased(), *"543210", judgments=judgments, schedule="shortlist", close=0.2)
    met = list(dict.fromkeys(row.cand_ids for row in rows))
    assert met[0] == ("c0", "c4")
    assert set(met) == {("c0", "c4"), ("c0", "c1"), ("c3", "c4"), ("c0", "c3"), ("c1", "c4"), ("c1", "c3")}
    rows, _, counts = await compare(biased(), *"543210", judgments=judgments, schedule="shortlist", max_per_prompt=2)
    assert list(dict.fromkeys(row.cand_ids for row in rows)) == met[:2]
    assert counts["over_budget"] > 0


@pytest.mark.parametrize("schedule", ["all", "knockout", "swiss"])
async def test_the_budget_is_hard(schedule: str) -> None:
    rows, _, _ = await compare(biased(), *[str(i) for i in range(9)], schedule=schedule, max_per_prompt=5)
    assert len({row.cand_ids for row in rows}) == 5


async def test_a_knockout_costs_one_pair_fewer_than_there_are_candidates_and_swiss_half_of_them_a_round() -> None:
    texts = [str(i) for i in range(8)]
    rows, script, _ = await compare(biased(), *texts, schedule="knockout")
    assert len(script.asked) == 14
    assert rows[-1].cand_ids[1] == "c7"
    _, script, _ = await compare(biased(), *texts, schedule="swiss", rounds=3)
    assert len(script.asked) == 24
    _, script, _ = await compare(biased(), *texts, schedule="all", max_per_prompt=99)
    assert len(script.asked) == 56


async def test_given_pairs_are_compared_and_nothing_else() -> None:
    ctx, script = context(biased())
    asked = example("1", "2", "3")
    pair = response_pair("t", asked.prompt, asked.candidates[2], asked.candidates[0], label_source="given")
    asked.pairs = [pair, pair]
    rows = await Compare(engine="judge", schedule="pairs").process(asked, ctx)
    assert [row.cand_ids for row in rows] == [("c0", "c2")] * 2
    assert len(script.asked) == 2


async def test_equal_texts_and_the_judges_own_family_are_not_compared() -> None:
    rows, _, counts = await compare(biased(), "1", "2", " 1 ")
    assert {row.cand_ids for row in rows} == {("c0", "c1")}
    assert counts["same_text"] == 1
    ctx, script = context(biased())
    asked = example("1", "2", "3")
    models = ["org/judge-9b", "gemma-3", "qwen-3"]
    asked.candidates = [msgspec.structs.replace(c, model=m) for c, m in zip(asked.candidates, models, strict=True)]
    rows = await Compare(engine="judge", schedule="all").process(asked, ctx)
    assert {row.cand_ids for row in rows if row.status == "na"} == {("c0", "c1"), ("c0", "c2")}
    assert len(script.asked) == 2
    rows, script, _ = await compare(biased(), "1", "2" * 50, max_chars=40)
    assert ({row.status for row in rows}, script.asked) == ({"too_long"}, [])


async def test_one_aspect_can_be_compared() -> None:
    rows, script, _ = await compare(biased(), "1", "2", aspect="clarity")
    assert {row.aspect for row in rows} == {"clarity"}
    assert "one aspect alone: clarity" in asked_text(script.asked[0])


def test_a_next_round_goes_by_both_orders_or_not_at_all() -> None:
    def row(order: int, value: float | None) -> Judgment:
        status = "ok" if value is not None else "parse_error"
        return Judgment("p", "k", "c", "pairwise", "j", ("a", "b"), status, value, order=order)  # type: ignore[arg-type]

    assert settled([row(0, 0.9), row(1, 0.6)]) == {("a", "b"): 0.75}
    assert settled([row(0, 0.9), row(1, None)]) == {}
    assert settled([row(0, 1.0), row(0, 0.0), row(1, None), row(1, 0.5)]) == {("a", "b"): 0.5}


def test_what_is_needed_follows_the_schedule() -> None:
    needed = {s: [t.__name__ for t in Compare(engine="j", schedule=s).needs()] for s in ("shortlist", "pairs", "all")}
    assert needed == {"shortlist": ["Candidate", "Judgment"], "pairs": ["Candidate", "Pair"], "all": ["Candidate"]}


@pytest.mark.parametrize("template", ["default", "abacus"])
def test_the_shipped_templates_use_what_the_stage_provides(template: str) -> None:
    [found] = Compare(engine="judge", template=template).templates()
    found.check(Compare.template_variables)
    assert found.name == f"compare/{template}"
