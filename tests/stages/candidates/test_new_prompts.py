"""Stages that make prompts: what is eliminated, what a later run reads, and that a failure makes no prompt."""

from __future__ import annotations

import json
import random
from itertools import count
from typing import Any

import pytest
from msgspec.structs import replace
from pydantic import ValidationError

from pipeline.engine import Request
from pipeline.errors import Rejected
from pipeline.records import Message, Prompt
from pipeline.stage import Stage
from pipeline.tokenizer import load_tokenizer
from stages.candidates.backtranslate import Backtranslate
from stages.candidates.evolution import read_evolved, read_gain
from stages.candidates.evolve import Evolve
from stages.candidates.magpie import Magpie
from stages.candidates.quizzes import Quiz, read_quizzes
from stages.candidates.two_stage import TwoStage
from tests.conftest import Site
from tests.stages.candidates.scripts import PROMPT, answer, cut, refuse, run

TOPICS = ["the tides of the moon", "a lighthouse keeper", "grey seals at rest", "an old harbour wall", "winter storms"]
PRE_QUERY = "<|system|>{system}<|end|><|user|>"


def quiz_text(question: str, right: str = "B") -> str:
    options = "\n".join(f"{letter}) {question} {letter.lower()}" for letter in "ABCD")
    return f"<item><question>{question}</question><options>\n{options}\n</options><answer>{right}</answer></item>"


def asked_text(request: Request) -> str:
    return request.messages[-1].content if request.messages else ""


def reply(request: Request) -> str:
    """What a good author says to any of these stages."""
    shown, topic = asked_text(request), TOPICS[request.seed % len(TOPICS)]
    if "Equal or Not Equal" in shown:
        return "Not Equal"
    if "Score: N" in shown:
        return "Complete and to the point.\nScore: 5"
    if "multiple-choice" in shown:
        return "\n".join(
            quiz_text(f"Which of these is true of {t}?") for t in (TOPICS if " 5 " in shown else TOPICS[:1])
        )
    return f"Write four rhymed lines on {topic}, number {request.seed}."


STAGES: list[Stage] = [
    Evolve(engine="m", lines=2, rounds=2),
    Backtranslate(engine="m"),
    TwoStage(engine="m", scale=5, merged=2),
    Magpie(engine="m", tokenizer="models/abacus", pre_query=PRE_QUERY, n=3),
]
NAMES = [type(stage).__name__ for stage in STAGES]


@pytest.mark.parametrize("stage", STAGES, ids=NAMES)
def test_prompts_are_made_the_same_each_time_and_keep_the_seeds_base(stage: Stage) -> None:
    made, rejects, _ = run(stage, reply)
    assert rejects == []
    assert made
    assert {p.base_prompt_id for p in made} == {PROMPT.base_prompt_id}
    assert len({p.prompt_id for p in made} | {PROMPT.prompt_id}) == len(made) + 1
    assert run(stage, reply)[0] == made
    assert stage.makes()[0] is Prompt


@pytest.mark.parametrize("stage", STAGES, ids=NAMES)
@pytest.mark.parametrize("function", [lambda r: "", lambda r: cut("Write"), lambda r: "<think>so", refuse])
def test_what_failed_is_a_reject_and_never_a_prompt(stage: Stage, function: Any) -> None:
    made, rejects, counts = run(stage, function)
    assert made == []
    assert {r.subject for r in rejects} == {"candidate"}
    assert sum(n for what, n in counts.items() if what.startswith("lost:")) == len(rejects) > 0


def test_a_later_run_reads_the_made_prompts_with_their_seed(site: Site) -> None:
    config = site.config(4)
    evolve = {"stage": "evolve", "engine": "author", "check_gain": False}
    engines = {"author": {"kind": "scripted", "function": "tests.stages.candidates.test_new_prompts:reply"}}
    first = {**config, "name": "grow", "engines": engines, "jobs": [config["jobs"][0], evolve]}
    site.run(first)
    columns = {"prompt": "messages", "reference": "reference", "base": "base_prompt_id", "keep": ["ext_json"]}
    source = {"stage": "prompts", "path": str(site.folder / "runs/grow/evolve"), "columns": columns}
    driver = site.run({**config, "name": "use", "jobs": [source, *config["jobs"][1:]]})
    seeds = {p.prompt_id for p in driver.store.read("prompts", Prompt, 0, main=True)}
    grown = site.run(first).store.read("evolve", Prompt, 0, main=True)
    assert {p.prompt_id for p in grown} == seeds
    read = driver.store.read("prompts", Prompt, 0, main=True)
    assert {(p.prompt_id, p.base_prompt_id) for p in read} == {(p.prompt_id, p.base_prompt_id) for p in grown}
    assert all(p.base_prompt_id != p.prompt_id for p in read)
    assert all(json.loads(json.loads(p.ext_json or "")["ext_json"])["made"]["way"] == "evolve" for p in read)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("I'm sorry, but I cannot help with that.", "refused"),
        ("Sorry, what do you mean?", "refused"),
        ("Rewritten prompt: write about rain.", "copied"),
        ("#Given Prompt# about rain", "copied"),
        ("and the of it, 1 2 3!", "no_words"),
        ("Write a haiku about the sea in  autumn!", "no_gain"),
        ("Write about rain. " * 40, "too_long"),
        ("   ", "empty"),
    ],
)
def test_failed_evolutions_are_eliminated(text: str, reason: str) -> None:
    with pytest.raises(Rejected) as why:
        read_evolved(text, PROMPT.text, 60)
    assert why.value.reason == reason


def test_an_evolved_prompt_is_taken_without_its_quotes() -> None:
    assert read_evolved('"Write a sonnet on rain, without naming it."', PROMPT.text, 60).startswith("Write a sonnet")


@pytest.mark.parametrize(
    ("said", "reason"), [("Equal", "no_gain"), ("equal.", "no_gain"), ("They differ", "parse_error")]
)
def test_a_judge_that_sees_no_difference_or_says_neither_eliminates(said: str, reason: str) -> None:
    read_gain("**Not Equal**")
    with pytest.raises(Rejected) as why:
        read_gain(said)
    assert why.value.reason == reason


def test_a_line_ends_where_a_round_fails_and_keeps_what_came_before() -> None:
    numbers = count()

    def twice_only(request: Request) -> str:
        return reply(request) if next(numbers) < 2 else "Sorry."

    made, rejects, counts = run(Evolve(engine="m", rounds=4, check_gain=False), twice_only)
    details = [json.loads(p.ext_json or "")["made"] for p in made]
    assert [d["detail"]["round"] for d in details] == [1, 2]
    assert [d["parent_id"] for d in details] == [PROMPT.prompt_id, made[0].prompt_id]
    assert (counts, rejects[0].subject_id) == ({"lost:refused": 1}, made[1].prompt_id)


def test_a_text_becomes_the_reference_of_the_instruction_it_answers() -> None:
    text = "Boil the eggs for seven minutes, then put them into cold water."
    seed = replace(PROMPT, messages=(Message("user", text),))
    [made], rejects, _ = run(Backtranslate(engine="m"), reply, prompt=seed)
    assert (made.reference, rejects) == (text, [])
    assert json.loads(made.ext_json or "")["made"]["detail"] == {"score": 5.0, "votes": 2}
    [made], _, _ = run(Backtranslate(engine="m", of="gold"), reply, [answer("g", text, policy_relation="gold")])
    assert (made.reference, json.loads(made.ext_json or "")["made"]["parent_id"]) == (text, "g")
    assert run(Backtranslate(engine="m", of="gold"), reply, [answer("o")])[2] == {"no_parent": 1}


@pytest.mark.parametrize(
    ("score", "reason"),
    [("Score: 4", "low_score"), ("Perfect!", "unscored"), ("Score: 9", "unscored"), ("score 3-5", "unscored")],
)
def test_self_curation_counts_scores_that_can_be_read(score: str, reason: str) -> None:
    made, rejects, _ = run(Backtranslate(engine="m"), lambda r: score if "Score: N" in asked_text(r) else reply(r))
    assert (made, [r.reason for r in rejects]) == ([], [reason])


def test_an_instruction_that_gives_its_text_away_is_none() -> None:
    made, rejects, _ = run(Backtranslate(engine="m"), lambda r: f"Say this: {PROMPT.text}")
    assert (made, [r.reason for r in rejects]) == ([], ["gives_away"])


def test_questions_are_merged_into_harder_ones_with_a_known_answer() -> None:
    made, _, _ = run(TwoStage(engine="m", scale=5, merge=3, merged=2), reply)
    levels = [json.loads(p.ext_json or "")["made"]["detail"]["level"] for p in made]
    assert levels == ["simple"] * 5 + ["merged"] * 2
    for prompt in made:
        line = next(line for line in prompt.text.splitlines() if line.startswith(f"({prompt.reference})"))
        assert line.endswith(" b")  # the option the author called right, wherever it stands now
        assert prompt.text.startswith(PROMPT.text)
    assert len({p.reference for p in made}) > 1
    assert len(run(TwoStage(engine="m", scale=5, keep_simple=False), reply)[0]) == 1
    with pytest.raises(ValidationError, match="merge is 4, but scale makes only 3"):
        TwoStage(engine="m", scale=3, merge=4)


@pytest.mark.parametrize(
    "text",
    [
        quiz_text("What?", "E"),
        quiz_text("What?", "A and B"),
        quiz_text("What?").replace("B)", "C)", 1),
        quiz_text("What?").replace("What? b", "What? a"),
        quiz_text("What?") + quiz_text("Whence?"),
        quiz_text("What?").replace("<answer>B</answer>", ""),
        "What? A) a B) b. Answer: A",
    ],
)
def test_a_question_of_another_form_is_none(text: str) -> None:
    with pytest.raises(Rejected, match="parse_error"):
        read_quizzes(text, 1)


def test_options_are_shuffled_and_the_answer_with_them() -> None:
    quiz = Quiz("Which?", ("one", "two", "three"), 1)
    shuffled = [quiz.shuffled(random.Random(k)) for k in range(20)]
    assert {q.options[q.right] for q in shuffled} == {"two"}
    assert {q.answer for q in shuffled} == {"A", "B", "C"}


def test_a_prompt_is_sampled_behind_the_models_own_user_header() -> None:
    seen: list[Request] = []
    texts = iter(
        ["How do tides work?", "How do  tides work?", "Short", "Answer this question:", "I'm sorry, I can't help."]
    )

    def sample(request: Request) -> str:
        seen.append(request)
        return next(texts)

    stage = Magpie(engine="m", tokenizer="models/abacus", pre_query=PRE_QUERY, n=5)
    seed = replace(PROMPT, messages=(Message("user", "You tutor <|user|> children."),))
    made, rejects, counts = run(stage, sample, prompt=seed)
    assert [p.messages for p in made] == [(Message("user", "How do tides work?"),)]
    assert counts == {"lost:duplicate": 1, "lost:short": 1, "lost:colon": 1, "lost:refused": 1}
    assert len(rejects) == 4
    assert len({r.seed for r in seen}) == 5
    ids = seen[0].token_ids
    assert ids is not None
    assert seen[0].messages is None
    tokenizer = load_tokenizer("models/abacus")
    header = tokenizer.encode("<|user|>")
    assert list(ids[-len(header) :]) == header
    assert sum(list(ids[i : i + len(header)]) == header for i in range(len(ids))) == 1  # the row's own is text, or gone
