"""The embedded model's world and files: generator, templates, tokenizer, checkers, judges' arithmetic."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.abacus import formats, judging
from models.abacus.explaining import explanation
from models.abacus.problems import LARGEST, Problem, apply, make_problem, make_problems, split_of
from models.abacus.solutions import first_wrong, is_correct, right_solution, wrong_solution
from models.abacus.tasks import CHAT_TEMPLATE, NAME, STAGES, Maker
from pipeline.prompts import load_template

FOLDER = Path(__file__).resolve().parents[2] / "models" / "abacus"
seeds = st.integers(0, 10**9)


def problem_of(seed: int) -> Problem:
    return make_problem(random.Random(seed))


@pytest.mark.parametrize("stage", STAGES)
def test_model_was_trained_on_the_shipped_template(stage: str) -> None:
    trained = json.loads((FOLDER / "templates.json").read_text(encoding="utf-8"))
    assert load_template(stage, NAME).sha256 == trained[stage], "retrain: python -m models.abacus.train"


def test_same_seed_same_problems() -> None:
    assert make_problems(7, 5, "heldout") == make_problems(7, 5, "heldout")
    assert make_problems(7, 5, "heldout") != make_problems(8, 5, "heldout")


@pytest.mark.parametrize("split", ["train", "heldout", "quickstart"])
def test_splits_are_disjoint(split: str) -> None:
    assert {split_of(p.text) for p in make_problems(1, 20, split)} == {split}


def test_shipped_problems_are_of_the_quickstart_split_and_reproducible() -> None:
    rows = [json.loads(line) for line in (FOLDER / "problems.jsonl").read_text(encoding="utf-8").splitlines()]
    assert len(rows) == len({row["prompt"] for row in rows}) == 300
    assert {split_of(row["prompt"]) for row in rows} == {"quickstart"}
    made = make_problems(0, 5, "quickstart")
    assert rows[:5] == [{"prompt": p.text, "answer": str(p.answer)} for p in made]


@given(seeds)
@settings(max_examples=60, deadline=None)
def test_right_solution_is_right_and_every_equation_true(seed: int) -> None:
    problem = problem_of(seed)
    solution = right_solution(problem)
    assert 2 <= len(problem.steps) <= 5
    assert first_wrong(problem, solution) is None
    assert is_correct(problem, solution)
    for left, op, right, result in re.findall(r"(\d+) ([-+x/]) (\d+) = (\d+)", solution):
        assert apply(op, int(left), int(right)) == int(result) <= LARGEST
    assert judging.rating(problem, solution).endswith("Score: 5")


@given(seeds)
@settings(max_examples=60, deadline=None)
def test_wrong_solution_is_wrong_and_rated_low(seed: int) -> None:
    problem = problem_of(seed)
    solution = wrong_solution(random.Random(seed), problem)
    assert not is_correct(problem, solution)
    rating = judging.rating(problem, solution)
    assert int(rating[-1]) <= 3
    assert rating.count("wrong") == 1


@given(seeds, st.sampled_from(["general", "detailed"]), st.booleans())
@settings(max_examples=60, deadline=None)
def test_explanation_quotes_verbatim_and_states_only_true_equations(seed: int, kind: str, first: bool) -> None:
    problem = problem_of(seed)
    pair = (right_solution(problem), wrong_solution(random.Random(seed), problem))
    responses = pair if first else (pair[1], pair[0])
    found = judging.contrast(problem, *responses)
    assert found is not None
    assert found.better == ("A" if first else "B")
    reply = json.loads(explanation(random.Random(seed), problem, found, responses, kind))
    assert list(reply) == ["work", "evidence", "elaboration", "verdict"]
    for item in reply["evidence"]:
        assert item["quote"] in responses["AB".index(item["side"])].split("\n")
    stated = " ".join([reply["elaboration"], *(item["point"] for item in reply["evidence"])])
    for left, op, right, result in re.findall(r"(\d+) ([-+x/]) (\d+) (?:=|is) (\d+)", stated):
        assert apply(op, int(left), int(right)) == int(result)


@given(seeds)
@settings(max_examples=80, deadline=None)
def test_formatted_solution_follows_its_instructions(seed: int) -> None:
    rng = random.Random(seed)
    problem, instructions = problem_of(seed), formats.draw(rng)
    assert formats.followed(instructions, formats.formatted(problem, instructions))


@given(st.text(), st.sampled_from(formats.KINDS))
def test_checkers_are_tri_state_and_never_fail(text: str, kind: str) -> None:
    value = {"end_word": "river", "max_lines": "3"}.get(kind, "")
    assert formats.check(formats.Instruction(kind, value), text) in (True, False, None)


@pytest.mark.parametrize(
    ("kind", "value", "text", "wanted"),
    [
        ("answer_only", "", "Answer: 20", True),
        ("answer_only", "", "Step 1: 4 x 5 = 20\nAnswer: 20", False),
        ("numbered", "", "1. 4 x 5 = 20\nAnswer: 20", True),
        ("numbered", "", "Step 1: 4 x 5 = 20\nAnswer: 20", False),
        ("numbered", "", "Answer: 20", None),
        ("plain", "", "4 x 5 = 20\nAnswer: 20", True),
        ("plain", "", "Step 1: 4 x 5 = 20\nAnswer: 20", False),
        ("words", "", "Answer: twenty", True),
        ("words", "", "Answer: 20", False),
        ("words", "", "twenty", None),
        ("end_word", "river", "Answer: 20\nriver", True),
        ("end_word", "river", "river\nAnswer: 20", False),
        ("max_lines", "2", "4 x 5 = 20\nAnswer: 20", True),
        ("max_lines", "1", "4 x 5 = 20\nAnswer: 20", False),
        ("max_lines", "1", "", None),
    ],
)
def test_checker_examples(kind: str, value: str, text: str, wanted: bool | None) -> None:
    assert formats.check(formats.Instruction(kind, value), text) is wanted


def test_check_and_compare_examples_are_balanced() -> None:
    maker = Maker(random.Random(1))
    options = [maker.check().reply[-1] for _ in range(400)]
    sides = [maker.compare().reply[-1] for _ in range(400)]
    assert 150 < options.count("A") < 250
    assert 150 < sides.count("A") < 250


def test_tokenizer_gives_each_digit_and_label_one_token() -> None:
    tokenizers = pytest.importorskip("tokenizers")
    tokenizer = tokenizers.Tokenizer.from_file(str(FOLDER / "tokenizer.json"))
    text = "Step 1: 390 - 31 = 359"
    tokens = [tokenizer.decode([i]) for i in tokenizer.encode(text).ids]
    assert sum(any(c.isdigit() for c in t) for t in tokens) == sum(c.isdigit() for c in text)
    for label in "12345":
        assert tokenizer.decode([tokenizer.encode(f"x\nScore: {label}").ids[-1]]) == label
    for label in "AB":
        assert tokenizer.decode([tokenizer.encode(f"x\nAnswer: {label}").ids[-1]]).strip() == label
    other = "héllo 39\n\n  日本"
    assert tokenizer.decode(tokenizer.encode(other).ids) == other


def test_chat_template_is_the_one_trained_on() -> None:
    jinja2 = pytest.importorskip("jinja2")
    template = jinja2.Template(CHAT_TEMPLATE)
    messages = [{"role": "user", "content": "hi"}]
    assert template.render(messages=messages, add_generation_prompt=True) == "<|user|>hi<|end|><|assistant|>"
    begun = [*messages, {"role": "assistant", "content": "Step"}]
    rendered = template.render(messages=begun, add_generation_prompt=False)
    assert rendered == "<|user|>hi<|end|><|assistant|>Step<|end|>"
    kept = [(FOLDER / name).read_text(encoding="utf-8") for name in ("chat_template.jinja",)]
    assert kept == [CHAT_TEMPLATE]


def test_model_is_small_and_its_head_dim_runs_on_a_cpu() -> None:
    config = json.loads((FOLDER / "config.json").read_text(encoding="utf-8"))
    assert config["architectures"] == ["LlamaForCausalLM"]
    assert config["head_dim"] in (32, 64)
    assert config["max_position_embeddings"] >= 1024
    with (FOLDER / "model.safetensors").open("rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    sizes = [entry["shape"] for name, entry in header.items() if name != "__metadata__"]
    total = sum(shape[0] * (shape[1] if len(shape) > 1 else 1) for shape in sizes)
    assert 1_000_000 < total <= 5_000_000
