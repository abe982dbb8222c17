"""The stage score_reward, and what its rows are worth as scores."""

from __future__ import annotations

import math
from typing import Any

import pytest
from pydantic import ValidationError

from pipeline.engine import RewardRequest
from pipeline.engines.scripted import Scripted
from pipeline.errors import EngineError, Rejected
from pipeline.records import Candidate, Judgment, Message, Prompt
from pipeline.stage import Context, Example
from stages.judges.score_reward import ScoreReward
from stages.judges.scores import candidate_scores

HERE = "tests.stages.judges.test_score_reward"
PROMPT = Prompt("p", "p", (Message("system", "Be brief."), Message("user", "What is 2 + 2?")), "4")
asked: list[RewardRequest] = []


def likes_length(request: RewardRequest) -> float:
    """Reward models of all answers but the word it names."""
    assert request.messages is not None
    text = request.messages[-1].content
    asked.append(request)
    if text == "long":
        raise Rejected("context_overflow", "9000 tokens, 4096 fit")
    if text == "odd":
        raise Rejected("bad_response", "no JSON")
    return math.nan if text == "nan" else float(len(text))


def gone(request: RewardRequest) -> float:
    """An engine that fails."""
    raise EngineError("gone")


async def scored(*texts: str, reward: str = "likes_length", models: Any = None, **fields: Any) -> list[Judgment]:
    asked.clear()
    engine = await Scripted(function=f"{HERE}:likes_length", reward=f"{HERE}:{reward}").open()
    names = models or {"rm": "org/Rm-1", "other": "org/Other-2"}
    ctx = Context("rewards", "run", 7, "f", dict.fromkeys(names, engine), engine_models=names)
    candidates = [Candidate("p", f"c{i}", text, "generate") for i, text in enumerate(texts)]
    return await ScoreReward(**{"engine": "rm"} | fields).process(Example(PROMPT, candidates), ctx)


async def test_every_model_scores_every_candidate_in_its_own_row_without_bounds() -> None:
    rows = await scored("four", "5", engine=["rm", "other"])
    assert [(r.cand_ids, r.judge_id, r.value) for r in rows] == [
        (("c0",), "org/Rm-1", 4.0), (("c0",), "org/Other-2", 4.0), (("c1",), "org/Rm-1", 1.0), (("c1",), "org/Other-2", 1.0)
    ]  # fmt: skip
    assert {(r.mode, r.status, r.scale_min, r.scale_max, r.job) for r in rows} == {
        ("rm", "ok", -math.inf, math.inf, "rewards")
    }
    assert [r.judge_family for r in rows[:2]] == ["rm", "other"]
    assert len({r.judgment_key for r in rows}) == 4


async def test_the_model_sees_the_whole_conversation_and_equal_answers_are_asked_once() -> None:
    rows = await scored("four", "four", "5")
    assert [request.messages for request in reversed(asked)] == [
        (*PROMPT.messages, Message("assistant", text)) for text in ("four", "5")
    ]
    assert {request.key for request in asked} == {rows[0].judgment_key, rows[2].judgment_key}
    assert [r.value for r in rows] == [4.0, 4.0, 1.0]
    await scored("four", system="Judge.")
    assert asked[0].messages == (Message("system", "Judge."), PROMPT.messages[1], Message("assistant", "four"))


async def test_what_a_model_cannot_score_is_null_with_a_status_and_the_others_stand() -> None:
    rows = await scored("four", "long", "odd", "nan", "x" * 60, max_chars=50)
    assert [(r.status, r.value) for r in rows] == [
        ("ok", 4.0), ("too_long", None), ("parse_error", None), ("parse_error", None), ("too_long", None)
    ]  # fmt: skip


async def test_an_engine_failure_is_not_a_judgment() -> None:
    with pytest.raises(EngineError, match="gone"):
        await scored("four", reward="gone")


async def test_members_of_an_ensemble_with_one_name_are_told_apart() -> None:
    rows = await scored("four", engine=["a", "b"], models={"a": "org/Rm", "b": "org/Rm"})
    assert [r.judge_id for r in rows] == ["org/Rm:a", "org/Rm:b"]
    with pytest.raises(ValidationError, match="names a reward model twice"):
        ScoreReward(engine=("rm", "rm"))


async def test_no_candidates_are_no_rows() -> None:
    assert await scored() == []


def rewards(*values: float | None) -> list[Judgment]:
    return [
        Judgment("p", f"j{i}", "rewards", "rm", "rm", (f"c{i}",), "ok" if v is not None else "too_long", v,
                 scale_min=-math.inf, scale_max=math.inf)
        for i, v in enumerate(values)
    ]  # fmt: skip


def test_rewards_are_compared_within_a_prompt_whatever_their_level() -> None:
    low, high = candidate_scores(rewards(-1.0, 1.0, None)), candidate_scores(rewards(31.0, 33.0, None))
    assert [low[c].value for c in ("c0", "c1", "c2")] == [high[c].value for c in ("c0", "c1", "c2")]
    assert low["c1"].value == pytest.approx(1 / (1 + math.exp(-1)))
    assert (low["c2"].value, low["c2"].n_failed) == (None, 1)
    assert high["c1"].scores[0].raw == 33.0


def test_signals_count_where_their_aspect_is_given_a_weight() -> None:
    signal = Judgment("p", "s", "likely", "flr", "m", ("c0",), "ok", 2.0, scale_min=-math.inf, scale_max=math.inf,
                      aspect="flr")  # fmt: skip
    assert candidate_scores([signal]) == {}
    assert candidate_scores([signal], {"flr": 1.0})["c0"].value == 0.5
