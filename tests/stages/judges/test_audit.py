"""The audit: what it counts of judges and labels, the rates it makes of that, and the page and exit code they give."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.audit import crossed
from pipeline.errors import PlanError
from pipeline.pair import Generation, Pair, Rater
from pipeline.records import Candidate, Judgment, Message, Prompt, Rationale, Status, Verification
from pipeline.stage import Context, Example
from stages.judges.audit import Audit
from stages.judges.health import judge_health, pair_health, probe_health
from stages.judges.measures import measures
from tests.conftest import Site


def answer(name: str, text: str = "answer", canary: str | None = None) -> Candidate:
    ext = f'{{"canary":"{canary}"}}' if canary else None
    return Candidate("p", name, text, "generate", policy_relation="canary" if canary else "on", ext_json=ext)


def said(judge: str, name: str, value: float | None, mode: str = "aspect", status: Status = "ok") -> Judgment:
    key = f"{judge}{name}{mode}"
    return Judgment("p", key, "judge", mode, judge, (name,), status, value, label_mass=None if mode == "tool" else 0.9)


def compared(judge: str, order: int, value: float | None) -> Judgment:
    status: Status = "ok" if value is not None else "parse_error"
    return Judgment("p", f"{judge}{order}", "compare", "pairwise", judge, ("a", "b"), status, value, order=order)


def pair(chosen: str, rejected: str, **more: Any) -> Pair:
    arms = [(Message("assistant", text),) for text in (chosen, rejected)]
    fields: dict[str, Any] = {
        "label_source": "given", "chosen_gen": Generation("a"), "rejected_gen": Generation("b")
    } | more  # fmt: skip
    return Pair(
        prompt_id="p", pair_id="1", unordered_id="1", base_prompt_id="p", kind="given", level="response",
        prompt_messages=(Message("user", "?"),), chosen_messages=arms[0], rejected_messages=arms[1], **fields,
    )  # fmt: skip


def test_a_judge_is_compared_with_outcomes_with_labels_and_with_other_judges() -> None:
    answers = [answer("a"), answer("b", "a much longer answer")]
    rows = [said("one", "a", 0.9), said("one", "b", 0.2), said("two", "a", 0.1), said("two", "b", 0.3)]
    outcomes = [said("verify", "a", 1.0, "tool"), said("verify", "b", 0.0, "tool")]
    found = judge_health(answers, [*rows, *outcomes], [pair("answer", "a much longer answer")])
    judges = measures(found.counts).judges
    one, two = judges["judge/one"], judges["judge/two"]
    assert (one.outcome_agreement, one.given_agreement, one.agreement) == (1.0, 1.0, 0.0)
    assert (two.outcome_agreement, two.given_agreement) == (0.0, 0.0)
    assert (one.length_lean, two.length_lean) == (0.0, 1.0)  # the verified outcome prefers the shorter one as well
    assert [(case.what, case.judge) for case in found.cases] == [("against_outcome", "judge/two")]
    assert measures(found.counts).worst["outcome_agreement"] == 0.0


def test_failed_calls_lower_the_parse_rate_and_those_that_do_not_apply_do_not() -> None:
    rows = [said("one", "a", 0.5), said("one", "b", None, status="parse_error"), said("one", "c", None, status="na")]
    assert measures(judge_health([], rows, []).counts).judges["judge/one"].parse_rate == 0.5


@given(st.floats(0.02, 0.98), st.floats(-3, 3))
def test_a_preference_for_the_first_place_is_found_whatever_the_better_answer(p: float, bias: float) -> None:
    import math

    def shifted(q: float, by: float) -> float:
        return 1 / (1 + math.exp(-(math.log(q / (1 - q)) + by)))

    rows = [compared("one", 0, shifted(p, bias)), compared("one", 1, shifted(p, -bias))]
    found = measures(judge_health([answer("a"), answer("b")], rows, []).counts).judges["compare/one"]
    assert found.position_bias == pytest.approx(bias, abs=0.01)


def test_orders_that_disagree_are_counted_and_told_and_half_a_question_is_none() -> None:
    found = judge_health([answer("a"), answer("b")], [compared("one", 0, 0.9), compared("one", 1, 0.2)], [])
    assert found.counts["orders:compare/one:flipped"] == 1
    assert found.cases[0].what == "order_flipped"
    half = judge_health([], [compared("one", 0, 0.9), compared("one", 1, None)], [])
    assert half.counts["orders:compare/one:missing"] == 1
    assert measures(half.counts).judges["compare/one"].order_consistency is None


def test_probes_tell_right_from_wrong_from_silent_and_a_check_that_tells_nothing_apart_is_silent() -> None:
    answers = [answer("a"), answer("b")]
    rows = [said("one", "a", 0.9), said("one", "b", 0.2), said("two", "a", 0.1), said("two", "b", 0.3)]
    rows += [said("three", "a", 0.9), said("three", "b", None, status="timeout")]
    rows += [said("check", "a", 1.0, "tool"), said("check", "b", 1.0, "tool")]
    found = probe_health("a", answers, rows)
    told = measures(found.counts)
    assert {judge: m.probe_accuracy for judge, m in told.judges.items()} == {
        "judge/one": 1.0, "judge/two": 0.0, "judge/three": None, "judge/check": None,
    }  # fmt: skip
    assert {judge for judge, n in told.probes.items() if n.get("silent")} == {"judge/three", "judge/check"}
    assert told.worst["probe_accuracy"] == 0.0
    assert [(case.what, case.judge) for case in found.cases] == [("probe_missed", "judge/two")]
    assert measures(probe_health("b", answers, rows).counts).worst["probe_accuracy"] == 0.0


@pytest.mark.parametrize(("canary", "best", "won"), [(0.9, 0.5, True), (0.5, 0.5, True), (0.2, 0.5, False)])
def test_a_canary_wins_when_no_answer_beats_it(canary: float, best: float, won: bool) -> None:
    answers = [answer("a"), answer("b"), answer("x", ".", "near_empty")]
    rows = [said("one", "a", best), said("one", "b", 0.1), said("one", "x", canary)]
    found = judge_health(answers, rows, [])
    assert measures(found.counts).judges["judge/one"].canary_wins == float(won)
    assert [case.what for case in found.cases] == ["canary_won"] * won
    assert not any(name.startswith(("agree", "length")) and "x" in name for name in found.counts)


def test_pairs_tell_of_lengths_labels_and_canaries() -> None:
    pairs = [pair("a long answer", "short"), pair("short", "a long answer", ambiguous=True), pair("same", "size")]
    counts = pair_health(pairs, [], ["a"])
    found = measures(counts).pairs
    assert (found["pairs"], found["longer_chosen"], found["canaries_chosen"]) == (3.0, 0.5, 3.0)
    assert found["ambiguous"] == pytest.approx(1 / 3)


def test_the_lower_end_of_how_sure_authors_were_is_told() -> None:
    def sure(value: float | None) -> Rationale:
        fields: dict[str, Any] = {"kind": "detailed", "format": "json", "label_visible": False, "shown_order": 0}
        who: dict[str, Any] = {
            "author_model": "m",
            "sample_idx": 0,
            "status": "ok",
            "chosen_id": "a",
            "rejected_id": "b",
        }
        return Rationale("p", "r", "1", "explain", verify=Verification(self_certainty=value), **fields, **who)

    rationales = [sure(0.51), *[sure(2.0)] * 2, *[sure(3.19)] * 57, sure(None)]
    assert measures(pair_health([], rationales, [])).pairs["self_certainty_p5"] == 3.1
    assert measures(pair_health([], rationales[:40], [])).pairs["self_certainty_p5"] == 2.0
    assert measures(pair_health([], [], [])).pairs["self_certainty_p5"] is None


def test_counts_of_shards_add_up() -> None:
    rows = [said("one", "a", 0.9), said("one", "b", 0.2)]
    one = judge_health([answer("a"), answer("b")], rows, []).counts
    assert measures(one + one).judges["judge/one"].calls == 2 * measures(one).judges["judge/one"].calls
    assert measures(Counter(one + one)).worst["parse_rate"] == measures(one).worst["parse_rate"]


def test_bounds_are_compared_with_what_was_measured() -> None:
    worst = {"parse_rate": 0.9, "position_bias": 1.5, "agreement": None}
    assert crossed(["parse_rate<0.9", "position_bias>2", "agreement<0.5"], worst) == []
    assert len(crossed(["parse_rate<0.95", "position_bias > 1"], worst)) == 2
    for wrong in ("parse_rate=1", "speed<1", "parse_rate<a"):
        with pytest.raises(PlanError, match="measures: parse_rate"):
            crossed([wrong], worst)


def test_the_command_leaves_a_page_and_fails_on_a_crossed_bound(site: Site) -> None:
    config = site.config()
    config["jobs"].insert(2, {"stage": "plant_canaries", "share": 1.0})
    site.run(config)
    run = str(site.folder / "runs" / "t")
    code, out, _ = site.command("audit", run, "--fail-on", "parse_rate<0.5", "canaries_chosen>0")
    assert code == 0, out
    page = (site.folder / "runs/t/audited/audit.html").read_text(encoding="utf-8")
    assert "<script" not in page
    assert "Canaries" in page
    stored = json.loads((site.folder / "runs/t/audited/audit.json").read_text(encoding="utf-8"))
    assert sum(stored["canaries"]["rate/" + next(iter(stored["judges"])).split("/", 1)[1]].values()) == 24
    code, _, err = site.command("audit", run, "--fail-on", "parse_rate>0.5")
    assert code == 4
    assert "bound parse_rate>0.5" in err
    assert site.command("audit", run, "--fail-on", "nonsense")[0] == 2


@pytest.mark.parametrize(
    ("elsewhere", "agreement"), [({}, 1.0), ({"context_id": "c"}, None), ({"rater": Rater("r")}, None)]
)
async def test_a_judge_is_not_held_to_what_one_person_or_another_prompt_prefers(
    elsewhere: dict[str, Any], agreement: float | None
) -> None:
    answers, rows = [answer("a"), answer("b")], [said("one", "a", 0.9), said("one", "b", 0.2)]
    label = pair("x", "y", label_source="human", **elsewhere)
    ctx = Context("audit", "run", 7, "f", {})
    asked: Example[Any] = Example(Prompt("p", "p", label.prompt_messages), answers, rows, pairs=[label])
    assert await Audit().process(asked, ctx) == []
    assert measures(Counter(ctx.counts)).judges["judge/one"].given_agreement == agreement
