"""The reward model as a source of values: what it is asked, what its score is worth, and what its failures leave."""

from __future__ import annotations

import math

import pytest

from pipeline.engine import RewardRequest
from pipeline.engines.scripted import Scripted
from pipeline.errors import PlanError, Rejected
from pipeline.records import Message, Prompt
from pipeline.stage import Context, Example
from pipeline.tree import Node, Tree
from stages.search.critics import Asked, reward_request
from stages.search.fields import StepReward
from stages.search.search import Search
from stages.search.steps import shown_steps

SUM = Prompt("p", "p", (Message("user", "Add 7 3 9 4"),), None)
asked: list[RewardRequest] = []


def right_sums(request: RewardRequest) -> list[float]:
    """Log-odds of 2 for each right sum, -2 for each wrong one."""
    asked.append(request)
    sides = [step.split(" = ") for step in request.steps]
    return [2.0 if len(s) == 2 and sum(map(int, s[0].split(" + "))) == int(s[1]) else -2.0 for s in sides]


def moody(request: RewardRequest) -> list[float]:
    """Refuses second steps, has no number for third ones."""
    if len(request.steps) == 2:
        raise Rejected("context_overflow", "too long")
    return [math.nan] if len(request.steps) == 3 else [1.0] * len(request.steps)


async def grown(reward: str, **fields: object) -> tuple[Tree, list[Node], Context]:
    policy = await Scripted(function="benchmarks.scripted_sums:policy").open()
    model = await Scripted(function="benchmarks.scripted_sums:critic", reward=f"{__name__}:{reward}").open()
    ctx = Context("search", "run", 1, "f", {"policy": policy, "prm": model}, {"policy": "sums", "prm": "org/prm"})
    given = {"engine": "policy", "delimiters": ("\n",), "sims": 10, "verify": None, "reward": {"engine": "prm"}}
    stage = Search(**{**given, **fields})
    stage.check()
    tree, *nodes = await stage.process(Example(SUM), ctx)
    assert isinstance(tree, Tree)
    return tree, [node for node in nodes if isinstance(node, Node)], ctx


async def test_each_step_gets_the_score_read_behind_it_and_is_worth_twice_it_less_one() -> None:
    asked.clear()
    tree, nodes, _ = await grown("right_sums")
    steps = [node for node in nodes if node.node_id and not node.is_terminal]
    assert tree.judge_model == "org/prm"
    assert sorted({node.prm_score or 0 for node in steps}) == pytest.approx([0.11920292202211769, 0.8807970779778823])
    for node in steps:
        assert node.prm_score is not None
        assert node.value == pytest.approx(2 * node.prm_score - 1)
    assert len({request.key for request in asked}) == len(asked)
    assert all(request.messages == SUM.messages and "\n" not in "".join(request.steps) for request in asked)


async def test_the_weight_of_the_score_is_set_beside_those_of_other_sources() -> None:
    critic = {"self_eval": {"engine": "prm"}, "values": {"weights": {"prm_score": 3.0, "self_eval": 1.0}}}
    _, nodes, _ = await grown("moody", **critic, engine="policy")
    seen = [node for node in nodes if node.prm_score is not None]
    assert seen
    for node in seen:
        scores = [(3.0, node.prm_score), *([(1.0, node.self_eval)] if node.self_eval is not None else [])]
        mean = sum(w * (2 * s - 1) for w, s in scores if s is not None) / sum(w for w, _ in scores)
        assert node.value == pytest.approx(mean)


async def test_a_failed_call_is_no_score_and_counted() -> None:
    _, nodes, ctx = await grown("moody")
    first, *later = ([n.prm_score for n in nodes if n.depth == depth and not n.is_terminal] for depth in (1, 2, 3))
    assert first == [pytest.approx(0.7310585786300049)] * len(first)
    assert {score for scores in later for score in scores} == {None}
    assert all(node.value is None for node in nodes if node.depth == 2)
    assert ctx.counts["reward:context_overflow"] > 0
    assert ctx.counts["reward:no_number"] > 0


def test_a_model_of_answers_is_given_the_answer_so_far_and_a_tag_stands_behind_steps() -> None:
    said = Prompt("p", "p", (Message("system", "Be brief."), Message("user", "hi")), None)
    place = Asked(said, "a\nb\nStep ", "2: c\nStep ", ("\n",))
    assert shown_steps(place.before, place.step, place.delimiters) == ("a", "b", "Step 2: c")
    process = reward_request(StepReward(engine="e", step_tag="<s>", system="Reason."), place, "k")
    assert (process.steps, process.step_tag) == (("a", "b", "Step 2: c"), "<s>")
    assert process.messages == (Message("system", "Reason."), Message("user", "hi"))
    outcome = reward_request(StepReward(engine="e", form="outcome"), place, "k")
    assert (outcome.steps, outcome.messages) == ((), (*said.messages, Message("assistant", "a\nb\nStep 2: c")))


def test_the_engine_of_a_reward_model_need_not_write() -> None:
    stage = Search(engine="policy", reward=StepReward(engine="prm"), verify=None)
    assert stage.engines() == ("policy", "prm")
    assert stage.capabilities("prm") == {"reward"}
    assert stage.capabilities("policy") == {"generate", "token_texts"}
    with pytest.raises(PlanError, match="set verify, self_eval, judge or reward"):
        Search(engine="policy", verify=None).check()
