"""The scripted engine: functions in, completions out."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from pipeline.engine import Request, RewardRequest, Sampling, ScoreRequest, engine_class
from pipeline.engines.scripted import Scripted, ScriptedEngine
from pipeline.errors import EngineError, PlanError, Rejected
from pipeline.records import Message

FUNCTIONS = """
from pipeline.engine import Completion
from pipeline.errors import Rejected

seen = []

def echo(request):
    return request.messages[-1].content

def by_seed(request):
    return f"seed {request.seed} of {request.sampling.n}"

async def later(request):
    return ["one", Completion("two", "length", 3, 9, labels={"A": -0.5})]

def too_few(request):
    return ["one"]

def broken(request):
    raise ZeroDivisionError("no")

def refuses(request):
    raise Rejected("too_long", "really")

def score(request):
    return [-1.0, -2.0]

def reward(request):
    if request.key == "refused":
        raise Rejected("too_long", "really")
    if request.key == "broken":
        raise ZeroDivisionError("no")
    return [float(len(step)) for step in request.steps] or 2

def embed(text):
    return [len(text), 0.0]
"""


@pytest.fixture(autouse=True)
def functions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "scripted_answers.py").write_text(FUNCTIONS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))


async def open_with(function: str, **fields: str) -> ScriptedEngine:
    return await Scripted(function=f"scripted_answers:{function}", **fields).open()


def ask(n: int = 1, text: str = "what is it") -> Request:
    return Request(Sampling(n=n), "k", 7, messages=(Message("user", text),))


async def test_a_text_becomes_a_completion_that_counts_words() -> None:
    engine = await open_with("echo")
    [[completion]] = await engine.generate([ask()])
    assert (completion.text, completion.finish_reason) == ("what is it", "stop")
    assert (completion.n_prompt_tokens, completion.n_tokens) == (3, 3)
    assert engine.stats() == {"requests": 1, "prompt_tokens": 3, "tokens": 3}


async def test_each_character_is_a_token_where_token_texts_are_wanted() -> None:
    engine = await open_with("echo")
    [[one]] = await engine.generate([msgspec.structs.replace(ask(text="née"), want_token_texts=True)])
    assert (one.token_ids, one.token_texts) == ((110, 233, 101), ("n", "é", "e"))
    assert one.prompt_token_ids == tuple(map(ord, "née\n"))


async def test_a_function_of_one_answer_is_asked_once_per_sample_with_the_next_seed() -> None:
    engine = await open_with("by_seed")
    [answers] = await engine.generate([ask(n=3)])
    assert [a.text for a in answers] == ["seed 7 of 3", "seed 8 of 1", "seed 9 of 1"]


async def test_an_async_function_may_return_texts_and_completions_mixed() -> None:
    engine = await open_with("later")
    [[first, second]] = await engine.generate([ask(n=2)])
    assert first.text == "one"
    assert (second.n_tokens, second.finish_reason, second.labels) == (9, "length", {"A": -0.5})


async def test_answers_come_in_the_order_of_the_requests() -> None:
    engine = await open_with("echo")
    answers = await engine.generate([ask(text=f"prompt {i}") for i in range(20)])
    assert [a[0].text for a in answers] == [f"prompt {i}" for i in range(20)]


async def test_a_wrong_number_of_answers_is_an_engine_error() -> None:
    engine = await open_with("too_few")
    with pytest.raises(EngineError, match="gave 1 answers where 2 were asked"):
        await engine.generate([ask(n=2)])


async def test_an_exception_names_the_function_and_what_it_raised() -> None:
    engine = await open_with("broken")
    with pytest.raises(EngineError, match="scripted_answers:broken raised ZeroDivisionError: no"):
        await engine.generate([ask()])


async def test_a_rejection_raised_by_the_function_stays_one() -> None:
    engine = await open_with("refuses")
    with pytest.raises(Rejected, match="too_long: really"):
        await engine.generate([ask()])


async def test_score_and_embed_use_their_functions() -> None:
    engine = await open_with("echo", score="scripted_answers:score", embed="scripted_answers:embed")
    assert await engine.score([ScoreRequest("a b")]) == [[-1.0, -2.0]]
    found = await engine.embed(["a", "abc"])
    assert found.tolist() == [[1.0, 0.0], [3.0, 0.0]]
    assert found.dtype == "float32"


async def test_a_reward_is_a_number_or_one_for_each_step_and_its_failures_are_the_engines() -> None:
    engine = await open_with("echo", reward="scripted_answers:reward")
    assert "reward" in Scripted(function="m:f", reward="m:g").capabilities()
    whole, steps = RewardRequest("a"), RewardRequest("b", steps=("one", "three"))
    assert await engine.reward([whole, steps]) == [[2.0], [3.0, 5.0]]
    with pytest.raises(Rejected, match="really"):
        await engine.reward([RewardRequest("refused")])
    with pytest.raises(EngineError, match="scripted reward of scripted_answers:echo raised ZeroDivisionError"):
        await engine.reward([RewardRequest("broken")])


async def test_score_reward_and_embed_without_functions_say_what_to_set() -> None:
    engine = await open_with("echo")
    with pytest.raises(PlanError, match="set score:"):
        await engine.score([ScoreRequest("a")])
    with pytest.raises(PlanError, match="set reward:"):
        await engine.reward([RewardRequest("a")])
    with pytest.raises(PlanError, match="set embed:"):
        await engine.embed(["a"])


@pytest.mark.parametrize(
    "target", ["no_colon", ":f", "missing_module:f", "scripted_answers:nothing", "scripted_answers:seen"]
)
def test_a_function_that_is_not_there_is_a_plan_error(target: str) -> None:
    with pytest.raises(PlanError, match="scripted function"):
        Scripted(function=target).check()


def test_identity_is_the_function_and_its_version_but_not_the_delay() -> None:
    def identity(**fields: object) -> object:
        return Scripted(function="m:f", **fields).identity()

    assert identity(delay_s=1.0) == identity()
    assert identity(version="2") != identity()
    assert engine_class("scripted") is Scripted
