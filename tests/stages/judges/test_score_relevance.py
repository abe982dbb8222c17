"""The stage score_relevance: its parts are rows of their own, and what fails is no number."""

from __future__ import annotations

import math
from typing import Any

import pytest

from pipeline.engines.scripted import Scripted
from pipeline.errors import EngineError, Rejected
from pipeline.records import Candidate, Judgment, Message, Prompt
from pipeline.stage import Context, Example
from stages.judges.score_relevance import ScoreRelevance

HERE = "tests.stages.judges.test_score_relevance"
ASKED = (Message("system", "Be brief."), Message("user", "Name a fruit."))
asked: list[str] = []


def letters(text: str) -> list[float]:
    """How often a, p and e come; what is too long, is refused."""
    asked.append(text)
    if "very long" in text:
        raise Rejected("context_overflow", "9000 tokens, 512 fit")
    return [float(text.count(letter)) for letter in "ape"]


def gone(text: str) -> list[float]:
    """An engine that fails."""
    raise EngineError("gone")


async def measured(
    *texts: str, reference: str | None = None, embed: str = "letters", **fields: Any
) -> dict[str, list[Judgment]]:
    asked.clear()
    engine = await Scripted(function=f"{HERE}:letters", embed=f"{HERE}:{embed}").open()
    ctx = Context("r3", "run", 7, "f", {"e": engine}, engine_models={"e": "org/Encoder"})
    candidates = [Candidate("p", f"c{i}", text, "generate") for i, text in enumerate(texts)]
    example: Example[Candidate] = Example(Prompt("p", "p", ASKED, reference), candidates)
    rows = await ScoreRelevance(engine="e", **fields).process(example, ctx)
    assert [r.mode for r in rows] == ["relevance"] * 4 * len(texts)
    assert len({r.judgment_key for r in rows}) == len(rows)
    return {c.candidate_id: [r for r in rows if r.cand_ids == (c.candidate_id,)] for c in candidates}


async def test_each_part_is_a_row_with_its_scale() -> None:
    found = await measured("an apple", normalise="none")
    assert [(r.aspect, r.value, r.scale_min, r.scale_max) for r in found["c0"]] == [
        ("r3_relevance", 5.0, -math.inf, math.inf),
        ("r3_length", 0.02, 0.0, 4.0),
        ("r3_variety", 1.0, 0.0, 1.0),
        ("r3", 5.0 * 0.02, -math.inf, math.inf),
    ]
    assert asked == ["Name a fruit.", "an apple"]
    assert {(r.judge_id, r.judge_family, r.status) for r in found["c0"]} == {("org/Encoder", "encoder", "ok")}


async def test_a_prompt_with_a_reference_is_compared_with_that_unless_it_is_said_to_be_open() -> None:
    await measured("an apple", reference="a pear")
    assert asked == ["a pear", "an apple"]
    await measured("an apple", reference="a pear", prompts="open")
    assert asked == ["Name a fruit.", "an apple"]
    with pytest.raises(Rejected, match="no_reference"):
        await measured("an apple", prompts="closed")


async def test_scores_are_standardised_over_the_candidates_and_repetition_costs() -> None:
    found = await measured("apple pear grape", "pear " * 30, "pear " * 30, li_cap=0.03)
    assert found["c0"][1].value == found["c1"][1].value == 0.03
    assert found["c1"][2].value == pytest.approx(1 / 28)
    assert found["c1"][3].value == found["c2"][3].value
    total = [found[c][3].value or 0.0 for c in found]
    assert math.fsum(total) == pytest.approx(0)
    assert asked.count("pear " * 29 + "pear") == 1


async def test_what_cannot_be_embedded_has_no_relevance_and_no_score_but_its_other_parts() -> None:
    found = await measured("an apple", "a very long answer", "")
    assert [(r.status, r.value is None) for r in found["c1"]] == [
        ("too_long", True), ("ok", False), ("ok", False), ("too_long", True)
    ]  # fmt: skip
    assert [found["c2"][i].value for i in (0, 3)] == [None, None]
    assert all(r.status == "ok" for r in found["c0"])


async def test_an_engine_failure_is_not_a_judgment() -> None:
    with pytest.raises(EngineError, match="gone"):
        await measured("an apple", embed="gone")
