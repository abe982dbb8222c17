"""Solutions as text: the right one, the wrong ones of every kind, and where a given one goes wrong."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass

from models.abacus.problems import LARGEST, Line, Num, Problem

MISTAKES = ("arithmetic", "operand", "operation", "skip", "early", "copy")
"""What can be wrong: a result, a number taken, an operation, a step left out, the end left out, the answer line."""

WEIGHTS = (45, 20, 12, 8, 5, 10)
STEP = re.compile(r"^Step (\d+): (.+) = (\d+)$")
ANSWER = re.compile(r"^Answer: (\d+)$")


def step_text(number: int, line: Line) -> str:
    """A step as the solver writes it."""
    return f"Step {number}: {line.equation()}"


def solution_text(lines: Sequence[Line], answer: int) -> str:
    """A whole solution."""
    steps = [step_text(i, line) for i, line in enumerate(lines, 1)]
    return "\n".join([*steps, f"Answer: {answer}"])


def right_solution(problem: Problem) -> str:
    """The solution that the plan of the problem gives."""
    return solution_text(problem.lines, problem.answer)


@dataclass(frozen=True)
class Reading:
    """What a solution states: the results of its steps in order and its answer, `none` where it has no such line."""

    results: tuple[str, ...]
    answer: str

    def result(self, index: int) -> str:
        """The result of one step."""
        return self.results[index] if index < len(self.results) else "none"


def read(response: str) -> Reading:
    """Read a solution; lines of another shape are passed over."""
    results, answer = [], "none"
    for line in response.split("\n"):
        if step := STEP.match(line):
            results.append(step[3])
        elif last := ANSWER.match(line):
            answer = last[1]
    return Reading(tuple(results), answer)


def first_wrong(problem: Problem, response: str) -> int | None:
    """Index of the first step whose result is not the plan's; the number of steps stands for the answer line."""
    reading = read(response)
    for index, line in enumerate(problem.lines):
        if reading.result(index) != str(line.result):
            return index
    return None if reading.answer == str(problem.answer) else len(problem.steps)


def is_correct(problem: Problem, response: str) -> bool:
    """Whether the final answer is right, whatever the way to it."""
    return read(response).answer == str(problem.answer)


def slip(rng: random.Random, line: Line) -> int:
    """A wrong result of the kind that people and small models write."""
    right = line.result
    digits = list(str(right))
    way = rng.randrange(5)
    if way == 0:
        wrong = right + rng.choice((-1, 1, -2, 2))
    elif way == 1:
        wrong = right + rng.choice((-10, 10, -20, 20))
    elif way == 2:
        digits[rng.randrange(len(digits))] = str(rng.randrange(10))
        wrong = int("".join(digits))
    elif way == 3:
        wrong = right + rng.choice((-100, 100)) if right > 110 else right + rng.choice((-3, 3, 9, -9))
    else:
        rng.shuffle(digits)
        wrong = int("".join(digits))
    if wrong == right or not 0 < wrong <= LARGEST:
        wrong = right + rng.choice((1, 10)) if right < LARGEST - 10 else right - rng.choice((1, 10))
    return wrong


def loose(op: str, left: int, right: int) -> int:
    """A result on the way from a mistake: near the exact one, between 1 and the largest number."""
    # After a mistake a number may no longer fit the operation; a wrong solution then writes some number all the same.
    value = {"+": left + right, "-": abs(left - right), "x": left * right, "/": left // max(1, right)}[op]
    return min(max(value, 1), LARGEST)


def _carry_on(problem: Problem, start: int, lines: list[Line], results: dict[int, int]) -> list[Line]:
    for index in range(start, len(problem.steps)):
        step = problem.steps[index]
        left, right = (n if isinstance(n, int) else results[n.index] for n in (step.left, step.right))
        lines.append(Line(left, step.op, right, loose(step.op, left, right)))
        results[index] = lines[-1].result
    return lines


def _wrong_line(rng: random.Random, problem: Problem, index: int, kind: str) -> Line:
    line = problem.lines[index]
    if kind == "operand":
        pool: list[Num] = [n for s in problem.steps for n in (s.left, s.right) if isinstance(n, int)]
        numbers = [n for n in pool if isinstance(n, int)] + [done.result for done in problem.lines[:index]]
        other = rng.choice(numbers) if rng.random() < 0.8 else slip(rng, Line(0, "+", 0, line.right))
        left, right = (line.left, other) if rng.random() < 0.6 else (other, line.right)
        return Line(left, line.op, right, loose(line.op, left, right))
    if kind == "operation":
        op = rng.choice([o for o in "+-x/" if o != line.op])
        return Line(line.left, op, line.right, loose(op, line.left, line.right))
    return Line(line.left, line.op, line.right, slip(rng, line))


def wrong_solution(rng: random.Random, problem: Problem) -> str:
    """A solution with one first mistake, carried on faithfully from there; its answer is wrong."""
    right, count = list(problem.lines), len(problem.steps)
    for _ in range(50):
        kind = rng.choices(MISTAKES, WEIGHTS)[0]
        index = rng.randrange(count)
        results = {i: line.result for i, line in enumerate(right)}
        if kind == "copy":
            results_so_far = [line.result for line in right[:-1]]
            answer = rng.choice(results_so_far) if rng.random() < 0.4 else slip(rng, right[-1])
            lines = right
        elif kind == "early":
            lines = right[: rng.randrange(1, count)]
            answer = lines[-1].result
        else:
            if kind == "skip":
                results[index] = right[index - 1].result if index else right[0].left
                lines = _carry_on(problem, index + 1, right[:index], results)
            else:
                line = _wrong_line(rng, problem, index, kind)
                results[index] = line.result
                lines = _carry_on(problem, index + 1, [*right[:index], line], results)
            if not lines:
                continue
            answer = lines[-1].result
        text = solution_text(lines, answer)
        if not is_correct(problem, text) and first_wrong(problem, text) is not None:
            return text
    return solution_text(right, slip(rng, right[-1]))
