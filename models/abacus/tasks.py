"""Examples of every role: the variables of the stage's template and the reply to learn."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from models.abacus import explaining, formats, judging
from models.abacus.problems import Line, Problem, make_problem, random_lines
from models.abacus.solutions import STEP, first_wrong, is_correct, read, right_solution, wrong_solution
from pipeline.prompts import load_template

NAME = "abacus"
STAGES = ("generate", "rate", "check", "compare", "explain")

CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<|' + message['role'] + '|>' + message['content'] }}"
    "{% if not (loop.last and continue_final_message is defined and continue_final_message) %}"
    "{{ '<|end|>' }}{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)


@dataclass(frozen=True)
class Example:
    """One exchange: the prompt as the model sees it, up to the reply, and the reply."""

    role: str
    prompt: str
    reply: str
    facts: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Sampled:
    """A problem with solutions the model itself wrote."""

    problem: Problem
    responses: tuple[str, ...]

    def sorted_out(self) -> tuple[list[str], list[str]]:
        """Those right in every step, and those with a wrong answer; the rest proves nothing."""
        right = [r for r in self.responses if first_wrong(self.problem, r) is None]
        wrong = [r for r in self.responses if not is_correct(self.problem, r)]
        return right, wrong


def prompt_text(stage: str, **variables: object) -> str:
    """The chat text of a stage's request, up to where the model replies."""
    messages = load_template(stage, NAME).render(**variables)
    return "".join(f"<|{m.role}|>{m.content}<|end|>" for m in messages) + "<|assistant|>"


class Maker:
    """Makes examples; with a pool of the model's own solutions, half of those judged come from it."""

    def __init__(
        self, rng: random.Random, pool: Sequence[Sampled] = (), split: str = "train", own: float = 0.5
    ) -> None:
        """`own` is the share of judged solutions taken from the pool."""
        self.rng, self.split, self.own = rng, split, own
        self.right = [s for s in pool if s.sorted_out()[0]]
        self.wrong = [s for s in pool if s.sorted_out()[1]]
        self.mixed = [s for s in pool if all(s.sorted_out())]

    def problem(self) -> Problem:
        """A fresh problem."""
        return make_problem(self.rng, self.split)

    def judged(self, correct: bool) -> tuple[Problem, str]:
        """A solution to judge that is right throughout or has a wrong answer."""
        pool = self.right if correct else self.wrong
        if pool and self.rng.random() < self.own:
            sampled = self.rng.choice(pool)
            return sampled.problem, self.rng.choice(sampled.sorted_out()[0 if correct else 1])
        problem = self.problem()
        return problem, right_solution(problem) if correct else wrong_solution(self.rng, problem)

    def pair(self) -> tuple[Problem, str, str]:
        """A better and a worse solution of one problem; now and then the better one is wrong too, but later."""
        if self.mixed and self.rng.random() < self.own:
            sampled = self.rng.choice(self.mixed)
            right, wrong = sampled.sorted_out()
            return sampled.problem, self.rng.choice(right), self.rng.choice(wrong)
        problem = self.problem()
        better, worse = right_solution(problem), wrong_solution(self.rng, problem)
        if self.rng.random() < 0.12:
            other = wrong_solution(self.rng, problem)
            wrong_1, wrong_2 = first_wrong(problem, worse), first_wrong(problem, other)
            if wrong_1 is not None and wrong_2 is not None and wrong_1 != wrong_2:
                better, worse = (worse, other) if wrong_1 > wrong_2 else (other, worse)
        return problem, better, worse

    def solve(self) -> Example:
        """A problem and its solution."""
        problem = self.problem()
        prompt = prompt_text("generate", prompt=problem.text, principle="")
        return Example("solve", prompt, right_solution(problem), {"problem": problem})

    def drill(self) -> Example:
        """Equations without a story; only their results are to be learnt."""
        lines: list[Line] = []
        while len(lines) < 24:
            lines += self.problem().lines if self.rng.random() < 0.3 else random_lines(self.rng, 6)
        self.rng.shuffle(lines)
        return Example("drill", "<|user|>", "\n".join(line.equation() for line in lines))

    def end_word(self) -> Example:
        """The rarest demand: copying a word is learnt nowhere else, and only where nearly every update holds it."""
        return self.format("end_word")

    def format(self, first: str | None = None) -> Example:
        """A problem with demands on the form; `first` names one of them."""
        problem, instructions = self.problem(), formats.draw(self.rng, first)
        text = f"{problem.text} {formats.demand(self.rng, instructions)}"
        reply = formats.formatted(problem, instructions)
        return Example(
            "format", prompt_text("generate", prompt=text, principle=""), reply, {"instructions": instructions}
        )

    def rate(self) -> Example:
        """A solution and its rating."""
        correct = self.rng.random() < 0.5
        problem, response = self.judged(correct)
        prompt = prompt_text(
            "rate", prompt=problem.text, response=response, reference="", aspect="", description="", scale=[]
        )
        return Example("rate", prompt, judging.rating(problem, response), {"correct": correct})

    def check(self) -> Example:
        """A line of a solution, after right ones, and whether it is right."""
        correct = self.rng.random() < 0.5
        problem, response = self.judged(correct)
        lines = response.split("\n")
        wrong = first_wrong(problem, response)
        index = self.rng.randrange(len(problem.steps) + 1) if wrong is None else wrong
        index = min(index, len(lines) - 1)
        step = lines[index]
        option_a = self.rng.random() < 0.5
        texts = (judging.CORRECT, judging.WRONG) if option_a else (judging.WRONG, judging.CORRECT)
        reading = read(step)
        # An answer line where a step belongs states no result of that step.
        given = (reading.result(0) if STEP.match(step) else "none") if index < len(problem.steps) else reading.answer
        prompt = prompt_text(
            "check",
            prompt=problem.text,
            prefix="\n".join(lines[:index]),
            step=step,
            option_a=texts[0],
            option_b=texts[1],
        )
        reply = judging.checking(problem, index, given, option_a)
        return Example("check", prompt, reply, {"correct": wrong is None, "option_a": option_a})

    def _contrast(self) -> tuple[Problem, tuple[str, str], judging.Contrast]:
        while True:
            problem, better, worse = self.pair()
            responses = (better, worse) if self.rng.random() < 0.5 else (worse, better)
            found = judging.contrast(problem, *responses)
            if found is not None:
                return problem, responses, found

    def compare(self) -> Example:
        """Two solutions and which is better."""
        problem, (first, second), found = self._contrast()
        prompt = prompt_text("compare", prompt=problem.text, response_a=first, response_b=second)
        facts = {
            "better": found.better,
            "swapped": prompt_text("compare", prompt=problem.text, response_a=second, response_b=first),
        }
        return Example("compare", prompt, judging.comparison(found), facts)

    def explain(self) -> Example:
        """Two solutions and the explanation."""
        problem, responses, found = self._contrast()
        kind = self.rng.choice(("general", "detailed"))
        told = found.better if self.rng.random() < 0.5 else ""
        prompt = prompt_text(
            "explain", prompt=problem.text, response_a=responses[0], response_b=responses[1], kind=kind, label=told
        )
        reply = explaining.explanation(self.rng, problem, found, responses, kind)
        return Example("explain", prompt, reply, {"better": found.better, "responses": responses})

    def make(self, role: str) -> Example:
        """An example of the role."""
        example = getattr(self, role)()
        assert isinstance(example, Example)
        return example
