"""Word problems of two to five steps: what a problem is, how it is split, how one is made from a seed."""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

LARGEST = 600
"""No number in a problem or in its solution is larger, so that a small model can learn the arithmetic."""

STEP_COUNTS = (2, 3, 4, 5)
STEP_WEIGHTS = (20, 30, 30, 20)
SPLITS = ("train", "heldout", "quickstart")


class Unfit(ValueError):
    """A story that broke a rule on its way (a negative rest, a number too large): make another."""


@dataclass(frozen=True)
class Ref:
    """The result of an earlier step, by its index."""

    index: int


Num = int | Ref


@dataclass(frozen=True)
class Step:
    """One step as planned: operands are numbers of the text or results of earlier steps."""

    left: Num
    op: str
    right: Num


@dataclass(frozen=True)
class Line:
    """One step as computed."""

    left: int
    op: str
    right: int
    result: int

    def equation(self) -> str:
        """The line without its number."""
        return f"{self.left} {self.op} {self.right} = {self.result}"

    def question(self) -> str:
        """The left side alone."""
        return f"{self.left} {self.op} {self.right}"


def apply(op: str, left: int, right: int) -> int:
    """The exact result, or Unfit when there is none among the positive integers allowed here."""
    if op == "+":
        result = left + right
    elif op == "-":
        result = left - right
    elif op == "x":
        result = left * right
    elif right > 0 and left % right == 0:
        result = left // right
    else:
        raise Unfit("inexact division")
    if not 1 <= result <= LARGEST:
        raise Unfit("result out of range")
    return result


def compute(steps: Sequence[Step]) -> tuple[Line, ...]:
    """Carry the plan out."""
    lines: list[Line] = []
    for step in steps:
        left, right = (n if isinstance(n, int) else lines[n.index].result for n in (step.left, step.right))
        lines.append(Line(left, step.op, right, apply(step.op, left, right)))
    return tuple(lines)


@dataclass(frozen=True)
class Problem:
    """A text with the plan that answers it."""

    text: str
    steps: tuple[Step, ...]
    family: str

    @property
    def lines(self) -> tuple[Line, ...]:
        """The steps of the right solution."""
        return compute(self.steps)

    @property
    def answer(self) -> int:
        """The number asked for."""
        return self.lines[-1].result


def split_of(text: str) -> str:
    """The split a problem belongs to, by a hash of its text: no text can be in two of them."""
    bucket = hashlib.sha256(text.encode()).digest()[0]
    return "heldout" if bucket < 24 else "quickstart" if bucket < 48 else "train"


def make_problem(rng: random.Random, split: str = "train") -> Problem:
    """A problem of the split; the same state of `rng` gives the same problem."""
    from models.abacus.families import FAMILIES  # the families need the classes above

    if split not in SPLITS:
        raise ValueError(f"unknown split {split!r}, one of {', '.join(SPLITS)}")
    wanted = rng.choices(STEP_COUNTS, STEP_WEIGHTS)[0]
    names = sorted(FAMILIES)
    family = rng.choice(names)
    for attempt in range(20000):
        if attempt % 40 == 39:  # this family can hardly tell a story of so many steps
            family = rng.choice(names)
        try:
            text, steps = FAMILIES[family](rng)
            compute(steps)
        except Unfit:
            continue
        if len(steps) == wanted and split_of(text) == split:
            return Problem(text, steps, family)
    raise RuntimeError("no story fits")


def random_lines(rng: random.Random, count: int) -> list[Line]:
    """Single steps over the whole range of numbers, with no story."""
    lines: list[Line] = []
    while len(lines) < count:
        op = rng.choice("++--x/")
        left, right = rng.randint(2, LARGEST), rng.randint(2, LARGEST if op in "+-" else 12)
        if op == "x":
            left = rng.randint(2, LARGEST // right)
            left, right = (left, right) if rng.random() < 0.5 else (right, left)
        with contextlib.suppress(Unfit):
            lines.append(Line(left, op, right, apply(op, left, right)))
    return lines


def make_problems(seed: int, count: int, split: str) -> list[Problem]:
    """`count` different problems of a split."""
    rng = random.Random(f"{split}-{seed}")
    found: dict[str, Problem] = {}
    while len(found) < count:
        problem = make_problem(rng, split)
        found.setdefault(problem.text, problem)
    return list(found.values())


def write_problems(file: Path, problems: Sequence[Problem]) -> None:
    """JSON lines of prompt and answer."""
    rows = ({"prompt": p.text, "answer": str(p.answer)} for p in problems)
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def main(argv: Sequence[str] | None = None) -> int:
    """Write problems as JSON lines of prompt and answer."""
    parser = argparse.ArgumentParser(prog="python -m models.abacus.problems", description=main.__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--split", choices=SPLITS, default="quickstart")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("problems.jsonl"))
    options = parser.parse_args(argv)
    write_problems(options.out, make_problems(options.seed, options.count, options.split))
    print(f"{options.count} problems in {options.out}")
    return 0


if __name__ == "__main__":
    from models.abacus import problems  # the families know the classes by this name, not as those of __main__

    raise SystemExit(problems.main())
