"""Cells of `benchmarks/learning.py`, in a process of their own: train the policy on exported rows and measure it.

DPO as in scripts/train_dpo.py, fine-tuning by TRL on prompt and completion; float32 on the CPU.
`python -m benchmarks.learning_cell CELL.json …` writes the result of each beside it.
"""

from __future__ import annotations

import json
import random
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import SFTConfig, SFTTrainer

from models.abacus.decoding import answers
from models.abacus.formats import Instruction, demand, draw, followed, formatted
from models.abacus.net import Net
from models.abacus.problems import STEP_COUNTS, Problem, make_problems
from models.abacus.solutions import is_correct
from models.abacus.tasks import prompt_text
from scripts.train_dpo import QUIET, train


class Asked(NamedTuple):
    """A problem as it is asked, and how long its answer is."""

    problem: Problem
    instructions: tuple[Instruction, ...]
    prompt: str


def learn(model: Any, tokenizer: Any, cell: dict[str, Any]) -> None:
    """Trains in place on the rows of the cell."""
    rows = Dataset.from_list(cell["rows"])
    settings = cell["settings"] | {"output_dir": cell["folder"], "seed": cell["seed"]}
    if cell["method"] == "dpo":
        train(model, tokenizer, rows, settings)
        return
    arguments = SFTConfig(**{**QUIET, "max_length": 256, "warmup_steps": 2, **settings})
    SFTTrainer(model, args=arguments, train_dataset=rows, processing_class=tokenizer).train()


def solving(net: Net, tokenizer: Any, problems: Sequence[Problem]) -> dict[str, Any]:
    """Accuracy of the likeliest answer and of one sample at temperature 1; the former by number of steps, too."""
    prompts = [prompt_text("generate", prompt=p.text, principle="") for p in problems]
    greedy, sampled = (
        [is_correct(p, text) for p, text in zip(problems, answers(net, tokenizer, prompts, temperature), strict=True)]
        for temperature in (0.0, 1.0)
    )
    by_steps = {
        str(n): round(statistics.fmean(hit for p, hit in zip(problems, greedy, strict=True) if len(p.steps) == n), 4)
        for n in STEP_COUNTS
    }
    return {"greedy": statistics.fmean(greedy), "t1": statistics.fmean(sampled), "by_steps": by_steps}


def following(net: Net, tokenizer: Any, problems: Sequence[Problem], kinds: Sequence[str]) -> dict[str, Any]:
    """How often one demand on the form is kept, and how often the answer is right all the same; read greedily."""
    rng = random.Random("learning-forms")
    asked = []
    for at, problem in enumerate(problems):
        demands = draw(rng, kinds[at % len(kinds)])[:1]
        text = f"{problem.text} {demand(rng, demands)}"
        asked.append(Asked(problem, demands, f"<|user|>{text}<|end|><|assistant|>"))
    texts = answers(net, tokenizer, [a.prompt for a in asked])
    kept = [followed(a.instructions, text) for a, text in zip(asked, texts, strict=True)]
    both = [k and _answer(text) == _answer(formatted(a.problem, a.instructions))
            for k, a, text in zip(kept, asked, texts, strict=True)]  # fmt: skip
    return {"followed": statistics.fmean(kept), "followed_and_right": statistics.fmean(both)}


def _answer(text: str) -> str:
    return next((line for line in text.split("\n") if line.startswith("Answer: ")), text)


def run_cell(cell: dict[str, Any]) -> dict[str, Any]:
    """What the cell measured."""
    torch.manual_seed(cell["seed"])
    tokenizer = AutoTokenizer.from_pretrained(cell["model"])
    model = AutoModelForCausalLM.from_pretrained(cell["model"], dtype=torch.float32)
    if cell["rows"]:
        learn(model, tokenizer, cell)
    net = Net(model.config)
    net.load_state_dict(model.model.state_dict())
    torch.manual_seed(cell["seed"])
    problems = make_problems(cell["problems_seed"], cell["problems"], "heldout")
    found = solving(net, tokenizer, problems)
    if kinds := cell.get("forms"):
        found |= following(net, tokenizer, problems, kinds)
    if cell.get("save"):
        model.save_pretrained(cell["save"])
        tokenizer.save_pretrained(cell["save"])
    return found | {"rows": len(cell["rows"])}


def main() -> None:
    """Runs the cells of the files. One thread: the same numbers on every machine of a kind."""
    torch.set_num_threads(1)
    for name in sys.argv[1:]:
        file = Path(name)
        found = run_cell(json.loads(file.read_text(encoding="utf-8")))
        part = file.with_suffix(".part")
        part.write_text(json.dumps(found) + "\n", encoding="utf-8")
        part.replace(file.with_suffix(".result"))


if __name__ == "__main__":
    main()
