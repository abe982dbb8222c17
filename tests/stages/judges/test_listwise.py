"""All candidates in one prompt: orders, and the scores read from one answer."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.scripted_judges import asked_text, judged
from pipeline.engine import Completion, Request
from pipeline.errors import PlanError
from stages.judges.listwise import read_listed, read_scores, shuffled
from stages.judges.rate import Rate
from stages.judges.scores import candidate_scores
from stages.judges.verdicts import ScoreRule

RULE = ScoreRule(1, 5, {}, 0.5, False)
_SHOWN = re.compile(r"<response_(\d+)>\n(.*?)\n</response_\1>", re.DOTALL)


def numbers(text: str, reason: bool = False) -> dict[int, str]:
    return {number: score for number, (score, _) in read_scores(text, reason).items()}


@pytest.mark.parametrize(
    "text",
    [
        "Response 1: 4\nResponse 2: 2\nResponse 3: 5", "Response 1: 4\n\nResponse 2: 2\n\nResponse 3: 5\n",
        "**Response 1:** 4\n**Response 2:** 2\n**Response 3:** 5", "- Response 1: 4/5\n- Response 2: 2/5\n- Response 3: 5/5",
        "1: 4\n2: 2\n3: 5", "[1]: 4\n[2]: 2\n[3]: 5", '{"1": 4, "2": 2, "3": 5}',
        '```json\n{"Response 1": 4, "Response 2": "2", "Response 3": 5}\n```',
        "Fine.\nResponse 1: 4\nResponse 2: 2\nResponse 3: 5",
        "Response 1: 4\nResponse 2: 2\nResponse 3: 5\n\nThe first is good.",
        "Response 1: Rating: 4\nResponse 2: Rating: 2\nResponse 3: Rating: 5",
    ],
)  # fmt: skip
def test_a_score_stands_behind_the_number_of_its_response(text: str) -> None:
    assert numbers(text) == {1: "4", 2: "2", 3: "5"}


def test_fractions_are_kept_whole_and_absence_is_no_score() -> None:
    assert numbers("Response 1: 3.5\nResponse 2: N/A") == {1: "3.5", 2: "N/A"}
    assert numbers("Response 1: 4\nResponse 1: 2\nResponse 2: 3") == {2: "3"}
    assert numbers("The first is good.") == {}


def test_scores_that_a_reasoning_judge_quotes_do_not_count() -> None:
    text = "The first says\nResponse 1: 5\nResponse 2: 1\nwhich is a trick.\nResponse 1: 2\nResponse 2: 4"
    assert numbers(text, reason=True) == {1: "2", 2: "4"}
    assert numbers("Response 1: 5\nso it says.", reason=True) == {}


def test_what_is_missing_is_missing_for_that_response_alone() -> None:
    said = Completion("Response 1: 4\nResponse 3: 9\nResponse 4: N/A", "stop", 9, 9)
    found = [read_listed(said, RULE, number, na_allowed=True) for number in (1, 2, 3, 4)]
    assert [(r.status, r.value) for r in found] == [
        ("ok", 4.0), ("parse_error", None), ("out_of_range", None), ("na", None)
    ]  # fmt: skip
    assert read_listed(said, RULE, 4, na_allowed=False).status == "parse_error"
    cut = Completion("Response 1: 4\nResponse 2: 1", "length", 9, 9)
    assert read_listed(cut, RULE, 1, na_allowed=True).status == "truncated"


@given(st.lists(st.text(min_size=1, max_size=3), min_size=1, max_size=8, unique=True), st.integers(0, 9))
def test_orders_depend_on_who_is_shown_and_every_second_one_reverses(names: list[str], k: int) -> None:
    assert shuffled(names, k, "p") == shuffled(names[::-1], k, "p")
    assert sorted(shuffled(names, k, "p")) == sorted(names)
    assert shuffled(names, 2 * k + 1, "p") == shuffled(names, 2 * k, "p")[::-1]


def by_number(request: Request) -> Completion:
    """Scores each response with the digit it is."""
    shown = _SHOWN.findall(asked_text(request))
    return Completion("\n".join(f"Response {number}: {text}" for number, text in shown), "stop", 90, 12)


async def test_every_candidate_has_a_row_in_every_order_and_the_call_is_counted_once() -> None:
    stage = Rate(engine="judge", aspects=["clarity", "honesty"], listwise_orders=2)
    stage.check()
    rows, script = await judged(stage, by_number, "3", "1", "5", "4")
    assert (len(script.asked), len(rows)) == (4, 16)
    assert {(row.mode, row.cand_ids, row.value) for row in rows} == {
        ("listwise", (f"c{i}",), float(v)) for i, v in enumerate("3154")
    }
    places = [row.order or 0 for row in rows if row.cand_ids == ("c0",) and row.aspect == "clarity"]
    assert sum(places) == 3  # one order and its reverse
    assert [row.n_in for row in rows[:4]] == [90, 0, 0, 0]
    assert len({row.judgment_key for row in rows}) == 16
    assert all(request.labels == () for request in script.asked)
    assert stage.capabilities("judge") == {"generate"}
    assert candidate_scores(rows)["c2"].value == 1.0


async def test_only_the_missing_scores_are_asked_for_again() -> None:
    calls: list[Request] = []

    def forgetful(request: Request) -> Completion:
        calls.append(request)
        said = by_number(request)
        return said if len(calls) > 1 else Completion(said.text.rpartition("\n")[0], "stop", 90, 9)

    stage = Rate(engine="judge", aspects=["clarity"], listwise_orders=2)
    rows, _ = await judged(stage, forgetful, "3", "1", "5")
    first = [row for row in rows if row.sample_idx == 0]
    assert [(row.status, row.attempt) for row in first] == [("ok", 0), ("ok", 0), ("parse_error", 0), ("ok", 1)]
    assert first[2].cand_ids == first[3].cand_ids


async def test_what_is_not_shown_has_a_row_that_says_why() -> None:
    stage = Rate(engine="judge", aspects=["clarity"], listwise_orders=2, max_chars=40)
    rows, _ = await judged(stage, by_number, "3", "1" * 41, "5")
    assert [(row.cand_ids, row.status) for row in rows if row.status != "ok"] == [(("c1",), "too_long")]
    assert len(rows) == 5


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"listwise_orders": 1}, "bias of one order"),
        ({"template": "listwise"}, "shows all candidates"),
        ({"template": "prometheus", "listwise_orders": 2}, "shows one candidate"),
        ({"listwise_orders": 2, "structured": True}, "neither structured nor samples"),
        ({"listwise_orders": 2, "samples": 2}, "neither structured nor samples"),
    ],
)
def test_a_config_that_cannot_work_is_refused(fields: dict[str, object], message: str) -> None:
    with pytest.raises(PlanError, match=message):
        Rate(engine="judge", **fields).check()
