"""Canaries: planted at the rate that was asked for, told apart from answers, never in a pair."""

from __future__ import annotations

from typing import Any

from pipeline.records import Candidate, Message, Prompt
from pipeline.stage import Context, Example
from stages.candidates.plant_canaries import PlantCanaries
from stages.judges.families import own_family
from stages.judges.health import canary_kind
from stages.judges.scores import CandidateScore
from stages.pairs.pool import Rules, usable


def context() -> Context:
    return Context("plant_canaries", "run", 7, "f", {})


def prompt(i: int) -> Prompt:
    return Prompt(f"p{i}", f"p{i}", (Message("user", f"What is {i} + 1?"),))


async def planted(n: int, **fields: Any) -> list[Candidate]:
    stage, ctx = PlantCanaries(**fields), context()
    return [c for i in range(n) for c in await stage.process(Example(prompt(i)), ctx)]


async def test_a_share_of_the_prompts_gets_one_of_every_kind() -> None:
    made = await planted(400, share=0.25)
    assert 60 <= len(made) <= 140
    assert {canary_kind(c) for c in made} == {"near_empty", "prompt_copy", "verdict_injection", "filler"}
    assert made == await planted(400, share=0.25)


async def test_texts_are_what_their_kinds_say() -> None:
    [copy] = await planted(1, share=1, kinds=("prompt_copy",))
    [filler] = await planted(1, share=1, kinds=("filler",), filler_chars=5000)
    assert copy.text == "What is 0 + 1?"
    assert len(filler.text) >= 5000


async def test_a_canary_never_stands_in_a_pair_nor_makes_a_pool_of_two_families() -> None:
    [canary] = await planted(1, share=1)
    real = Candidate("p0", "a", "answer", "generate", model="qwen-8b")
    score = CandidateScore(1.0, None, (), 1, 0)
    entries, dropped = usable([real, canary], {"a": score, canary.candidate_id: score}, Rules())
    assert [entry.candidate for entry in entries] == [real]
    assert dropped == {"canary": 1}
    assert own_family([real, canary], "qwen-32b") == frozenset()
