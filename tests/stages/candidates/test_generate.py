"""The generate stage: who is asked what, with which system text, and what the rows say about it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest
from pydantic import ValidationError

from pipeline.engine import Completion, Request
from pipeline.prompts import Template
from pipeline.records import Candidate, Message, Prompt
from pipeline.stage import Context, Example
from stages.candidates.generate import Generate, _messages
from stages.candidates.principles import Principle
from tests.doubles import Mute

PRINCIPLES = [
    {"name": "help", "text": "Be useful.", "weight": 9},
    {"name": "truth", "text": "Be true.", "weight": 1},
]


class Echo(Mute):
    """Answers with its name and the number of the sample."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.asked: list[Request] = []

    async def generate(self, requests: Sequence[Request]) -> list[list[Completion]]:
        self.asked += requests
        return [[Completion(f"{self.name} {k}", "stop", 3, 2) for k in range(q.sampling.n)] for q in requests]


async def generate(*prompts: str, **fields: Any) -> tuple[list[list[Candidate]], dict[str, Echo]]:
    stage = Generate.model_validate(fields)
    engines = {alias: Echo(alias) for alias in stage.engines()}
    models = {alias: f"org/{alias}" for alias in engines}
    context = Context("generate", "run", 7, "f", engines, models, dict.fromkeys(engines, "scripted"))
    made = []
    for text in prompts:
        example: Example[Prompt] = Example(Prompt(f"id of {text}", "base", (Message("user", text),)))
        made.append(await stage.process(example, context))
    return made, engines


async def test_n_samples_of_one_engine_are_rows_that_say_how_they_were_made() -> None:
    [rows], engines = await generate("q", engine="policy", sampling={"n": 3, "temperature": 0.9, "max_tokens": 50})
    assert [(r.text, r.sample_idx) for r in rows] == [("policy 0", 0), ("policy 1", 1), ("policy 2", 2)]
    assert len({r.candidate_id for r in rows}) == 3
    row = rows[0]
    assert (row.model, row.engine, row.temperature, row.max_tokens) == ("org/policy", "scripted", 0.9, 50)
    assert (row.finish_reason, row.n_tokens, row.policy_relation, row.principle) == ("stop", 2, "on", None)
    assert row.seed == engines["policy"].asked[0].seed


async def test_a_pool_is_drawn_by_weight_without_replacement_and_the_same_each_time() -> None:
    prompts = [f"q{i}" for i in range(300)]
    pool = {"often": 8.0, "seldom": 1.0, "rare": 1.0}
    made, _ = await generate(*prompts, pool=pool, models_per_prompt=2)
    assert all(len({r.model for r in rows}) == 2 for rows in made)
    drawn = Counter(r.model for rows in made for r in rows)
    assert drawn["org/often"] > 270
    assert 120 < drawn["org/seldom"] < 230
    again, _ = await generate(*reversed(prompts), pool=pool, models_per_prompt=2)
    assert list(reversed(again)) == made


async def test_a_pool_claims_no_relation_to_the_policy_that_was_not_given() -> None:
    [rows], _ = await generate("q", pool={"a": 1, "b": 1}, policy_relation={"a": "weak"})
    assert {r.model: r.policy_relation for r in rows} == {"org/a": "weak", "org/b": None}
    with pytest.raises(ValidationError, match="policy_relation names c; the engines are a, b"):
        Generate.model_validate({"pool": {"a": 1, "b": 1}, "policy_relation": {"c": "weak"}})


async def test_principles_are_drawn_by_weight_and_named_in_the_rows() -> None:
    made, engines = await generate(*(f"q{i}" for i in range(200)), engine="policy", principles=PRINCIPLES)
    named = Counter(r.principle for rows in made for r in rows)
    assert set(named) == {"help", "truth"}
    assert named["truth"] < 50
    assert {q.messages[0] for q in engines["policy"].asked if q.messages} == {
        Message("system", "Be useful."), Message("system", "Be true."),
    }  # fmt: skip
    assert len({r.gen_context_id for rows in made for r in rows}) == 2


async def test_the_reference_is_one_greedy_answer_without_a_principle() -> None:
    [rows], engines = await generate(
        "q", engine="policy", principles=PRINCIPLES, reference=True, sampling={"n": 2, "temperature": 1.0}
    )
    assert [(r.temperature, r.principle is None) for r in rows] == [(1.0, False), (1.0, False), (0.0, True)]
    assert engines["policy"].asked[-1].messages == (Message("user", "q"),)
    assert len({r.candidate_id for r in rows}) == 3


def test_a_template_asks_the_last_turn_and_keeps_those_before_it() -> None:
    template = Template(
        "t", "{% block system %}{{ principle }}{% endblock %}{% block user %}Q: {{ prompt }}{% endblock %}"
    )
    turns = (Message("system", "Sums."), Message("user", "1+1?"), Message("assistant", "2"), Message("user", "2+2?"))
    principle = Principle(name="help", text="Be useful.")
    asked = _messages(Prompt("p", "p", turns), principle, template)
    assert asked == (Message("system", "Sums.\n\nBe useful."), *turns[1:3], Message("user", "Q: 2+2?"))
    assert _messages(Prompt("p", "p", turns[3:]), None, template) == (Message("user", "Q: 2+2?"),)
    assert _messages(Prompt("p", "p", turns), principle, None) == (Message("system", "Sums.\n\nBe useful."), *turns[1:])


@pytest.mark.parametrize(
    "fields", [{}, {"engine": "a", "pool": {"b": 1}}, {"pool": {"a": 0}}, {"pool": {"a": 1}, "models_per_prompt": 2}]
)
def test_engines_are_named_in_one_way_that_can_be_drawn(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Generate.model_validate(fields)
