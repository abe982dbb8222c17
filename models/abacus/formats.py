"""Format instructions: how they are worded, how a reply follows them, and whether one does."""

from __future__ import annotations

import random
import re
from dataclasses import dataclass

from models.abacus.problems import Problem

WORDS = (
    "banana river yellow planet window garden silver music winter castle dragon forest pepper rocket summer "
    "tiger violin orange button cloud bridge candle diamond flower guitar island jungle ladder mirror ocean"
).split()

KINDS = ("answer_only", "numbered", "plain", "words", "end_word", "max_lines")

WORDINGS: dict[str, tuple[str, ...]] = {
    "answer_only": ("Give only the answer.", "Answer only, no steps.", "Write nothing but the answer."),
    "numbered": ("Number the steps like 1. 2. 3.", "Write the steps as a numbered list.", "Use numbered steps."),
    "plain": (
        "Write plain lines without numbers in front.",
        "Do not number the steps.",
        "Use plain lines, no step numbers.",
    ),
    "words": ("Write the answer in words.", "Spell the answer out in words.", "Give the answer as words, not digits."),
    "end_word": ("End with the word {value}.", "Finish with the word {value}.", "The last word must be {value}."),
    "max_lines": (
        "Use at most {value} lines.",
        "Write no more than {value} lines.",
        "Keep it to {value} lines at most.",
    ),
}

END = "End: "
"""Before the last word, which so stands behind a blank as in the demand: the same token, a mere copy."""

ONES = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
    "seventeen eighteen nineteen"
).split()
TENS = "zero ten twenty thirty forty fifty sixty seventy eighty ninety".split()


@dataclass(frozen=True)
class Instruction:
    """One demand on the form of a reply; `value` is its word or its number of lines."""

    kind: str
    value: str = ""

    def text(self, rng: random.Random) -> str:
        """The demand in one of its wordings."""
        return rng.choice(WORDINGS[self.kind]).format(value=self.value)


def in_words(number: int) -> str:
    """A number below a thousand in English words."""
    if number < 20:
        return ONES[number]
    if number < 100:
        return TENS[number // 10] + (f"-{ONES[number % 10]}" if number % 10 else "")
    rest = f" and {in_words(number % 100)}" if number % 100 else ""
    return f"{ONES[number // 100]} hundred{rest}"


NUMBER_WORDS = frozenset(in_words(n) for n in range(1000))


def _answer_line(response: str) -> str | None:
    found = re.findall(r"^Answer: (.*)$", response, re.MULTILINE)
    return found[-1].strip() if found else None


def _follows_words(response: str) -> bool | None:
    answer = _answer_line(response)
    return None if answer is None else answer in NUMBER_WORDS


def check(instruction: Instruction, response: str) -> bool | None:
    """Whether the reply follows the demand; None when that cannot be told (an empty reply, no answer to look at)."""
    lines = [line for line in response.split("\n") if line.strip()]
    if not lines:
        return None
    steps = [line for line in lines if "=" in line]
    kind = instruction.kind
    if kind == "answer_only":
        return len(lines) == 1 and not steps
    if kind == "numbered":
        return all(re.match(rf"{i}\. ", line) for i, line in enumerate(steps, 1)) if steps else None
    if kind == "plain":
        return not any(re.match(r"(Step )?\d+[.:)] ", line) for line in steps) if steps else None
    if kind == "words":
        return _follows_words(response)
    if kind == "end_word":
        return re.sub(r"\W+$", "", response).lower().split()[-1:] == [instruction.value.lower()]
    if kind == "max_lines":
        return len(lines) <= int(instruction.value)
    raise ValueError(f"unknown instruction {kind!r}, one of {', '.join(KINDS)}")


def draw(rng: random.Random, first: str | None = None) -> tuple[Instruction, ...]:
    """One demand (of the kind `first`, where given), or two that can both be met."""
    first = first or rng.choice(KINDS)
    chosen = [first]
    if rng.random() < 0.35:
        fitting = {
            "answer_only": ("words", "end_word"),
            "numbered": ("words", "end_word"),
            "plain": ("words", "end_word"),
            "words": ("answer_only", "numbered", "plain", "end_word", "max_lines"),
            "end_word": ("numbered", "plain", "words"),
            "max_lines": ("words",),
        }[first]
        second = rng.choice(fitting)
        if {first, second} != {"answer_only", "end_word"}:  # an end word would stand beside the only answer
            chosen.append(second)
    values = {"end_word": lambda: rng.choice(WORDS), "max_lines": lambda: str(rng.randint(1, 6))}
    return tuple(Instruction(kind, values[kind]() if kind in values else "") for kind in chosen)


def demand(rng: random.Random, instructions: tuple[Instruction, ...]) -> str:
    """The sentences that go behind the problem."""
    return " ".join(instruction.text(rng) for instruction in instructions)


def followed(instructions: tuple[Instruction, ...], response: str) -> bool:
    """Whether every demand is known to be met."""
    return all(check(instruction, response) is True for instruction in instructions)


def formatted(problem: Problem, instructions: tuple[Instruction, ...]) -> str:
    """The right solution in the form asked for."""
    values = {instruction.kind: instruction.value for instruction in instructions}
    equations = [line.equation() for line in problem.lines]
    if "numbered" in values:
        lines = [f"{i}. {equation}" for i, equation in enumerate(equations, 1)]
    elif "plain" in values:
        lines = equations
    else:
        lines = [f"Step {i}: {equation}" for i, equation in enumerate(equations, 1)]
    if "answer_only" in values or values.get("max_lines") == "1":
        lines = []
    elif "max_lines" in values and len(lines) + 1 > int(values["max_lines"]):
        lines = [", ".join(lines)]
    lines.append(f"Answer: {in_words(problem.answer) if 'words' in values else problem.answer}")
    if "end_word" in values:
        lines.append(f"{END}{values['end_word']}")
    return "\n".join(lines)
