"""The policy with bad habits: what it was taught, and that many answers at once are those of transformers."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from models.abacus.problems import make_problem, make_problems
from models.abacus.solutions import first_wrong, is_correct
from models.abacus.tasks import prompt_text

FOLDER = Path(__file__).resolve().parents[2] / "models" / "novice"


@pytest.mark.slow
def test_long_problems_mostly_end_a_step_early() -> None:
    from models.novice.train import EARLY, LONG, habitual

    rng = random.Random(1)
    problems = [make_problem(rng) for _ in range(400)]
    solutions = [(p, habitual(rng, p)) for p in problems]
    missing = [
        s.count("Step") == len(p.steps) - 1 for p, s in solutions if len(p.steps) >= LONG
    ]  # fmt: skip
    assert abs(sum(missing) / len(missing) - EARLY) < 0.1
    assert all(s.count("Step") == len(p.steps) for p, s in solutions if len(p.steps) < LONG)
    slips = [first_wrong(p, s) is not None for p, s in solutions if len(p.steps) == 2]
    assert 0.02 < sum(slips) / len(slips) < 0.25


@pytest.mark.slow
def test_answers_in_a_batch_are_those_of_transformers() -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from models.abacus.decoding import answers
    from models.abacus.net import Net
    from models.abacus.sampling import reply

    model = AutoModelForCausalLM.from_pretrained(FOLDER, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(FOLDER)
    net = Net(model.config)
    net.load_state_dict(model.model.state_dict())
    problems = make_problems(2, 40, "heldout")
    prompts = [prompt_text("generate", prompt=p.text, principle="") for p in problems]
    batched = answers(net, tokenizer, prompts)
    assert batched == reply(model, tokenizer, prompts, most=90)
    torch.manual_seed(1)
    sampled = answers(net, tokenizer, prompts, temperature=1.0)
    assert sampled != batched
    assert sum(map(is_correct, problems, sampled)) < sum(map(is_correct, problems, batched))
