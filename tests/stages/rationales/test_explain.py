"""The explain stage with an engine that answers from a script."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, ClassVar, get_args

import msgspec
import pytest

from pipeline.engine import Request, Sampling, ScoreRequest
from pipeline.errors import PlanError, Rejected
from pipeline.records import Message, Prompt
from pipeline.stage import Context, Example
from stages.rationales.attempts import chosen_place
from stages.rationales.explain import Explain
from stages.rationales.kinds import Kind
from tests.stages.rationales.scripts import BAD, GOOD, QUESTION, Script, explain, honest, pair, shown_text, verdict


async def test_a_blind_rationale_that_agrees_with_the_label_is_kept() -> None:
    rows, engine, context = await explain(honest, samples=4)
    assert [r.status for r in rows] == ["ok"] * 4
    assert len(engine.asked) == 4
    assert context.counts == {"kept": 4}
    for row, request in zip(rows, engine.asked, strict=True):
        assert not row.label_visible
        assert "found to be the better" not in shown_text(request)
        place, other = ("A", "B") if row.shown_order == 0 else ("B", "A")
        assert row.statement == f"Response {place} is much better than Response {other}."
        assert (row.implied_label, row.implied_strength, row.kind) == (1, 3, "detailed")
        assert row.text is not None
        assert f"Response {other} goes wrong in step 1" in row.text
        assert row.spans is not None
        assert (row.spans[0].side, BAD[row.spans[0].start : row.spans[0].end]) == ("b", "3 + 4 = 8")
        assert (row.verify.votes_for, row.verify.votes_n) == (4, 4)
    assert {r.shown_order for r in rows} == {0, 1}


async def test_the_label_is_shown_only_after_blindness_failed() -> None:
    def stubborn(request: Request) -> str:
        told = shown_text(request).partition("After careful study Response ")[2][:1]
        return verdict(told) if told else "I cannot say."

    rows, engine, context = await explain(stubborn)
    assert [(r.label_visible, r.status, r.reject_reason) for r in rows] == [
        (False, "rejected", "parse_error"), (False, "rejected", "parse_error"), (True, "ok", None), (True, "ok", None)
    ]  # fmt: skip
    assert context.counts == {"refused:parse_error": 2, "kept": 2}
    assert len({r.rationale_id for r in rows}) == len({q.seed for q in engine.asked}) == 4
    only_blind, _, _ = await explain(stubborn, post_hoc=False)
    assert not any(r.label_visible for r in only_blind)


async def test_a_verdict_for_the_other_side_is_refused() -> None:
    def contrary(request: Request) -> str:
        return verdict("B" if json.loads(honest(request))["verdict"]["label"] == "A" else "A")

    rows, _, _ = await explain(contrary, post_hoc=False)
    assert {(r.status, r.reject_reason, r.implied_label, r.implied_strength) for r in rows} == {
        ("rejected", "label_mismatch", -1, -3)
    }


async def test_the_place_depends_on_neither_label_nor_company() -> None:
    forward, backward = pair(), pair(chosen=BAD, rejected=GOOD)
    places = [(chosen_place(forward, 7, "j", k), chosen_place(backward, 7, "j", k)) for k in range(64)]
    assert {p for p, _ in places} == {"A", "B"}
    assert all(mine != other for mine, other in places)
    alone, _, _ = await explain(honest, pair("x"))
    together, _, _ = await explain(honest, pair("y", chosen=GOOD + " 7"), pair("x"))
    assert alone == [r for r in together if r.pair_id == "x"]


async def test_a_pair_too_long_to_show_is_refused_once_and_not_asked_again() -> None:
    rows, engine, _ = await explain(honest, samples=1, max_chars=20)
    assert [(r.status, r.reject_reason) for r in rows] == [("rejected", "prompt_too_long")]
    assert not engine.asked

    def narrow(request: Request) -> str:
        raise Rejected("context_overflow", "9000 tokens, 4096 fit")

    rows, _, _ = await explain(narrow, samples=1)
    assert [(r.status, r.reject_reason) for r in rows] == [("rejected", "prompt_too_long")]


async def test_arms_of_two_prompts_are_not_compared_under_one() -> None:
    rows, engine, context = await explain(honest, pair(rejected_prompt_messages=(Message("user", "other"),)))
    assert rows == []
    assert not engine.asked
    assert context.counts == {"skipped:two_prompts": 1}


@pytest.mark.parametrize("level", ["judgment", "rationale"])
async def test_pairs_of_what_judges_and_authors_wrote_are_passed_over(level: str) -> None:
    rows, engine, context = await explain(honest, pair(level=level), kinds=("detailed", "critique"))
    assert (rows, engine.asked, context.counts) == ([], [], {"skipped:no_responses": 2})


async def test_the_author_sees_no_scores_and_no_ids() -> None:
    _, engine, _ = await explain(honest, pair(chosen_score=0.93, rejected_score=0.11), kinds=("general", "detailed"))
    for request in engine.asked:
        for hidden in ("0.93", "0.11", "id-", "verifier", "chosen"):
            assert hidden not in shown_text(request)


async def test_structured_answers_follow_the_schema_with_the_verdict_last() -> None:
    _, engine, _ = await explain(honest, structured=True)
    schema = (engine.asked[0].structured or {})["json"]
    assert list(schema["properties"]) == ["evidence", "elaboration", "statement", "verdict"]
    assert Explain(engine="judge", structured=True).capabilities("judge") == {"generate", "json"}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"blind": False, "post_hoc": False}, "switch one on"),
        ({"sampling": Sampling(n=3)}, "set by samples"),
        ({"kinds": ("general", "general")}, "name each once"),
        ({"kinds": ("argument_graph",)}, "add detailed"),
        ({"verifier": {"engine": "judge"}}, "name another engine"),
    ],
)
def test_a_config_that_cannot_work_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(PlanError, match=message):
        Explain(engine="judge", **fields).check()


@pytest.mark.parametrize("template", ["default", "abacus"])
def test_the_shipped_templates_use_what_the_stage_provides(template: str) -> None:
    kinds = get_args(Kind)
    stage = Explain(engine="judge", template=template, kinds=kinds, verifier={"engine": "small"})
    names = [found.name for found in stage.templates()]
    assert names == [f"explain/{n}" for n in (template, "critique", "argument_graph", "verify", "claim")]
    for found in stage.templates():
        found.check(Explain.template_variables)


async def test_how_sure_the_author_was_is_told_of_kept_rationales_and_decides_nothing() -> None:
    class Measured(Script):
        scored: ClassVar[list[ScoreRequest]] = []

        async def score(self, requests: Sequence[ScoreRequest]) -> list[list[float]]:
            self.scored.extend(requests)
            return [[1.0, 2.0, 6.0] for _ in requests]

    author = Measured(honest)
    context = Context("explain", "run", 7, "f", {"judge": author}, engine_models={"judge": "org/Judge-1"})
    example: Example[Any] = Example(Prompt("p", "p", (QUESTION,)), pairs=(pair(),))
    rows = await Explain(engine="judge", self_certainty=True, samples=1, post_hoc=False).process(example, context)
    [plain], _, _ = await explain(honest, samples=1, post_hoc=False)
    assert [row.verify.self_certainty for row in rows] == [3.0]
    [request] = author.scored
    assert (request.continuation, request.messages, request.measure) == (
        rows[0].raw_text, author.asked[0].messages, "certainty",
    )  # fmt: skip
    assert msgspec.structs.replace(rows[0].verify, self_certainty=None) == plain.verify
    assert (rows[0].status, rows[0].rationale_id) == (plain.status, plain.rationale_id)


async def test_nobody_is_asked_how_sure_it_was_of_what_was_refused() -> None:
    rows, _, _ = await explain(lambda request: "no rationale", self_certainty=True, samples=1, post_hoc=False)
    assert [(row.status, row.verify.self_certainty) for row in rows] == [("rejected", None)]
    assert Explain(engine="judge", self_certainty=True).capabilities("judge") == {"generate", "score", "certainty"}
