"""What the judges write: the step solved anew, the given result copied beside it, and a word on whether they agree.

Such a line reads `Step 2: 8 x 3 = 24; 21 wrong`. It begins as the solver would write it, so that what is learnt of
solving serves judging; the copy stands next to the result, so that comparing them is easy.
"""

from __future__ import annotations

from dataclasses import dataclass

from models.abacus.problems import Problem
from models.abacus.solutions import Reading, first_wrong, read, step_text

CORRECT, WRONG = "correct", "wrong"


def verdict(right: int, given: str) -> str:
    """The given number with the word on it."""
    return f"{given} {CORRECT if given == str(right) else WRONG}"


def work_line(problem: Problem, index: int, given: dict[str, Reading]) -> str:
    """The line of work on one step, or on the answer when `index` is the number of steps."""
    lines = problem.lines
    parts = []
    for side, reading in given.items():
        stated = reading.result(index) if index < len(lines) else reading.answer
        right = lines[index].result if index < len(lines) else problem.answer
        parts.append(f"{side} {verdict(right, stated)}".strip())
    head = step_text(index + 1, lines[index]) if index < len(lines) else f"Answer: {problem.answer}"
    return "; ".join([head, *parts])


def score(problem: Problem, wrong: int | None) -> int:
    """5 without a mistake, 3 when only the last step or the answer line is wrong, 1 when the first is, 2 between."""
    if wrong is None:
        return 5
    return 1 if wrong == 0 else 3 if wrong >= len(problem.steps) - 1 else 2


def rating(problem: Problem, response: str) -> str:
    """The work up to the first mistake, and the score."""
    wrong = first_wrong(problem, response)
    last = len(problem.steps) if wrong is None else wrong
    lines = [work_line(problem, i, {"": read(response)}) for i in range(last + 1)]
    return "\n".join([*lines, f"Score: {score(problem, wrong)}"])


def checking(problem: Problem, index: int, given: str, option_a: bool) -> str:
    """The work on one step and the option; `option_a` says whether option A means correct."""
    reading = Reading(("none",) * index + (given,), given)
    line = work_line(problem, index, {"": reading})
    return f"{line}\nAnswer: {'A' if line.endswith(CORRECT) == option_a else 'B'}"


@dataclass(frozen=True)
class Contrast:
    """Where two solutions part: the first step that one has right and the other has not."""

    index: int
    better: str
    work: tuple[str, ...]


def contrast(problem: Problem, response_a: str, response_b: str) -> Contrast | None:
    """The contrast of two solutions, None when both go wrong in the same step or nowhere."""
    ends = len(problem.steps) + 1
    wrong_a, wrong_b = (ends if w is None else w for w in (first_wrong(problem, r) for r in (response_a, response_b)))
    if wrong_a == wrong_b:
        return None
    index = min(wrong_a, wrong_b)
    given = {"A": read(response_a), "B": read(response_b)}
    work = tuple(work_line(problem, i, given) for i in range(index + 1))
    return Contrast(index, "B" if wrong_a < wrong_b else "A", work)


def comparison(found: Contrast) -> str:
    """The work up to where the solutions part, and the better one."""
    return "\n".join([*found.work, f"Answer: {found.better}"])
