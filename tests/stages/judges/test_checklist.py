"""The checklist stage with judges and authors that answer from a script."""

from __future__ import annotations

import json
import math
import re
from typing import Any

import pytest

from benchmarks.scripted_judges import Script, asked_text, context, example, judged
from pipeline.engine import Completion, Request
from pipeline.errors import PlanError, Rejected
from pipeline.records import Judgment
from stages.judges.checklist import Checklist
from stages.judges.scores import candidate_scores

CRITERIA = [{"text": "Says 42.", "weight": 3}, {"text": "Says 41.", "weight": -1}, "Greets."]
WRITTEN = json.dumps([{"criterion": f"Says {n}.", "weight": 1} for n in (41, 42, 43, 44)])


def literal(request: Request) -> Completion:
    """Says yes with probability 0.9 where the response holds the last word of the criterion."""
    shown = asked_text(request)
    criterion = re.search(r"<criterion>\n(?:Says )?(\S+)\.\n</criterion>", shown)
    response = re.search(r"<response>\n(.*)\n</response>", shown, re.DOTALL)
    assert criterion is not None
    assert response is not None
    yes = criterion[1] in response[1]
    labels = {"Yes": math.log(0.9 if yes else 0.1), "No": math.log(0.1 if yes else 0.9)}
    return Completion("Yes" if yes else "No", "stop", 30, 1, labels=labels if request.labels else None)


async def test_every_criterion_is_a_call_and_a_row_with_its_weight() -> None:
    rows, script = await judged(Checklist(engine="judge", criteria=CRITERIA), literal, "42", "41")
    assert len(rows) == len(script.asked) == 6
    assert [(r.cand_ids, r.aspect, r.weight, r.value_mode) for r in rows[:3]] == [
        (("c0",), "Says 42.", 3.0, 1.0), (("c0",), "Says 41.", -1.0, 0.0), (("c0",), "Greets.", 1.0, 0.0)
    ]  # fmt: skip
    assert rows[0].value == pytest.approx(0.9)
    assert (rows[0].mode, rows[0].scale_max) == ("criterion", 1.0)
    assert len({row.judgment_key for row in rows}) == 6


async def test_a_checklist_is_one_score_of_a_candidate() -> None:
    rows, _ = await judged(Checklist(engine="judge", criteria=CRITERIA, mode="parsed"), literal, "42", "41")
    scores = candidate_scores(rows)
    assert [scores[c].value for c in ("c0", "c1")] == [pytest.approx(4 / 5), 0.0]
    assert [(s.aspect, s.raw, s.scale_max) for s in scores["c0"].scores] == [("checklist", 80.0, 100.0)]


async def test_a_quarter_of_the_answers_may_be_missing_and_no_more() -> None:
    def silent(*unanswered: str) -> Any:
        return lambda request: (
            Completion("hm", "stop", 1, 1) if any(u in asked_text(request) for u in unanswered) else literal(request)
        )

    four = [*CRITERIA, {"text": "Ends.", "weight": 2}]
    stage = Checklist(engine="judge", criteria=four, mode="parsed", max_attempts=1)
    rows, _ = await judged(stage, silent("Greets"), "42")
    assert candidate_scores(rows)["c0"].value == pytest.approx(4 / 6)
    rows, _ = await judged(stage, silent("Greets", "Ends"), "42")
    assert [row.value for row in rows][2:] == [None, None]
    assert candidate_scores(rows)["c0"].value is None


async def test_the_criteria_of_a_prompt_can_come_with_it() -> None:
    ctx, script = context(literal)
    stage = Checklist(engine="judge", criteria_column="rubric")
    kept = json.dumps({"rubric": json.dumps([{"criterion": "Says 42.", "points": 2}])})
    rows = await stage.process(example("42", ext_json=kept), ctx)
    assert [(row.aspect, row.weight) for row in rows] == [("Says 42.", 2.0)]
    for ext in (None, json.dumps({"rubric": 5})):
        with pytest.raises(Rejected, match=r"no rubric|expected a list"):
            await stage.process(example("42", ext_json=ext), ctx)
    assert len(script.asked) == 1


def author(*answers: str) -> Any:
    said = iter(answers)
    return lambda request: (
        literal(request) if "<criterion>" in asked_text(request) else Completion(next(said), "stop", 20, 40)
    )


async def written(answer: Any, **fields: Any) -> tuple[list[Judgment], Script, dict[str, int]]:
    ctx, script = context(answer)
    rows = await Checklist(engine="judge", author="author", **fields).process(example("42", "41"), ctx)
    return rows, script, ctx.counts


async def test_a_model_writes_the_criteria_before_it_sees_an_answer() -> None:
    rows, script, _ = await written(author(WRITTEN))
    assert (rows[0].mode, rows[0].judge_id, rows[0].cand_ids, rows[0].raw_text) == ("meta", "org/Author-1", (), WRITTEN)
    assert "<response>" not in asked_text(script.asked[0])
    assert [row.aspect for row in rows[1:5]] == ["Says 41.", "Says 42.", "Says 43.", "Says 44."]
    assert len(rows) == 1 + 2 * 4
    assert candidate_scores(rows).keys() == {"c0", "c1"}


async def test_a_list_that_is_too_short_is_asked_for_again_and_kept() -> None:
    rows, script, _ = await written(author('["Says 42."]', WRITTEN))
    assert [(row.status, row.attempt) for row in rows[:2]] == [("parse_error", 0), ("ok", 1)]
    assert script.asked[0].seed != script.asked[1].seed
    assert len(rows) == 2 + 2 * 4


async def test_without_criteria_nobody_is_judged() -> None:
    rows, _, counts = await written(author("I'm sorry, but I can't help with that.", "?", "?"))
    assert [row.status for row in rows] == ["refused", "parse_error", "parse_error"]
    assert counts == {"no_criteria": 1}


async def test_the_prompt_can_be_hidden() -> None:
    for shown in (True, False):
        _, script = await judged(Checklist(engine="judge", criteria=CRITERIA, show_prompt=shown), literal, "42")
        assert ("17 + 25" in asked_text(script.asked[0])) is shown


def test_the_criteria_have_one_source() -> None:
    for fields in ({}, {"criteria": CRITERIA, "author": "author"}):
        with pytest.raises(PlanError, match="one of the three"):
            Checklist(engine="judge", **fields).check()
    stage = Checklist(engine="judge", author="author")
    stage.check()
    assert stage.engines() == ("judge", "author")
    assert stage.capabilities("author") == {"generate"}
    assert stage.capabilities("judge") == {"generate", "labels"}
    for template in stage.templates():
        template.check(Checklist.template_variables)
