"""Explanations: one JSON object with the work, the evidence, the reason and the verdict."""

from __future__ import annotations

import json
import random
import re

from models.abacus.judging import Contrast
from models.abacus.problems import Line, Problem
from models.abacus.solutions import ANSWER, STEP, read

EQUATION = re.compile(r"^(\d+) ([-+x/]) (\d+)$")


def _quote(response: str, index: int) -> str:
    # The line of that number, else the last line: a solution that stops early is quoted where it stops.
    lines = response.split("\n")
    steps = [line for line in lines if STEP.match(line)]
    if index < len(steps):
        return steps[index]
    answers = [line for line in lines if ANSWER.match(line)]
    return answers[-1] if answers else lines[-1]


def _fault(rng: random.Random, line: Line | None, answer: int, quote: str) -> str:
    """What is wrong in the quoted line. Only true equations are written out."""
    step = STEP.match(quote)
    if line is None:
        return rng.choice(
            (f"the last step gives {answer}, so the answer is {answer}", f"the answer has to be {answer}")
        )
    if step is None:
        return rng.choice((f"the step {line.equation()} is missing", f"{line.equation()} is left out before it"))
    if step[2] == line.question():
        return rng.choice((f"{line.question()} is {line.result}, not {step[3]}", f"{line.equation()}, not {step[3]}"))
    return rng.choice((f"this step needs {line.equation()}", f"{line.equation()} is what the problem asks for here"))


def _merit(rng: random.Random, line: Line | None, answer: int) -> str:
    if line is None:
        return f"the answer {answer} is right"
    return rng.choice((f"{line.equation()} is right", f"right, {line.equation()}"))


def _reason(rng: random.Random, problem: Problem, found: Contrast, quote: str, worse: str, good_answer: str) -> str:
    better, n = found.better, found.index + 1
    if found.index >= len(problem.steps):
        first = rng.choice(
            (
                f"Response {worse} has every step right but gives a wrong answer.",
                f"Response {worse} goes wrong in the answer line.",
            )
        )
        second = f"Response {better} gives {problem.answer}, which is right."
        return f"{first} {second}"
    line = problem.lines[found.index]
    step = STEP.match(quote)
    if step is None:
        fault = f"{line.equation()} is missing"
    elif step[2] == line.question():
        fault = f"{line.question()} is {line.result}, not {step[3]}"
    else:
        fault = f"it should be {line.equation()}"
    first = rng.choice(
        (
            f"Response {worse} goes wrong in step {n}: {fault}.",
            f"Step {n} of response {worse} is wrong: {fault}.",
            f"The mistake is in step {n} of response {worse}: {fault}.",
        )
    )
    second = rng.choice(
        (
            f"Response {better} has {line.result} there and reaches {good_answer}.",
            f"Response {better} gets this step right and ends with {good_answer}.",
        )
    )
    return f"{first} {second}"


def explanation(rng: random.Random, problem: Problem, found: Contrast, responses: tuple[str, str], kind: str) -> str:
    """The explanation of a contrast. `kind` detailed quotes both sides, general the worse one."""
    by_side = dict(zip("AB", responses, strict=True))
    worse = "A" if found.better == "B" else "B"
    line = problem.lines[found.index] if found.index < len(problem.steps) else None
    bad, good = _quote(by_side[worse], found.index), _quote(by_side[found.better], found.index)
    evidence = [{"side": worse, "quote": bad, "point": _fault(rng, line, problem.answer, bad)}]
    if kind == "detailed":
        evidence.append({"side": found.better, "quote": good, "point": _merit(rng, line, problem.answer)})
    strength = 3 if found.index == 0 else 1 if found.index >= len(problem.steps) - 1 else 2
    reply = {
        "work": " | ".join(found.work),
        "evidence": evidence,
        "elaboration": _reason(rng, problem, found, bad, worse, read(by_side[found.better]).answer),
        "verdict": {"label": found.better, "strength": strength},
    }
    return json.dumps(reply)
