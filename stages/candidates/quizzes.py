"""Multiple-choice questions: read from an answer, their options put in drawn order, written as a prompt. Pure."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from typing import NamedTuple

from pipeline.errors import Rejected
from stages.candidates.tagged import answer_body, sections
from stages.pairs.gate import similarity
from stages.pairs.select import normal_text

_ITEM = re.compile(r"<item>(.*?)</item>", re.DOTALL)
_OPTION = re.compile(r"\s*\(?([A-J])[).:]\s+(\S.*)")
LETTERS = "ABCDEFGHIJ"


class Quiz(NamedTuple):
    """A question, its options, and the place of the right one."""

    question: str
    options: tuple[str, ...]
    right: int

    def shuffled(self, draw: random.Random) -> Quiz:
        """The options in drawn order: models write the right one first or second far too often."""
        order = list(range(len(self.options)))
        draw.shuffle(order)
        return Quiz(self.question, tuple([self.options[i] for i in order]), order.index(self.right))

    @property
    def answer(self) -> str:
        """The letter of the right option."""
        return LETTERS[self.right]

    def text(self) -> str:
        """As a prompt shows it."""
        options = [f"({letter}) {option}" for letter, option in zip(LETTERS, self.options, strict=False)]
        return "\n".join([self.question, *options])


def read_quizzes(text: str, n: int) -> list[Quiz]:
    """Exactly `n` questions, `<item>` with `<question>`, `<options>` (one a line, lettered from A) and `<answer>` each.

    Raises Rejected: parse_error for another number or form, alike for two that are nearly the same.
    """
    found = [_read(item) for item in _ITEM.findall(answer_body(text))]
    if len(found) != n:
        raise Rejected("parse_error", f"{len(found)} items where {n} are expected")
    for i, quiz in enumerate(found):
        if any(similarity(quiz.question, other.question) >= 0.8 for other in found[:i]):
            raise Rejected("alike", f"two questions are nearly the same: {quiz.question[:60]!r}")
    return found


def _read(item: str) -> Quiz:
    question, listed, answer = sections(item, "question", "options", "answer")
    options = _options(listed.splitlines())
    letter = answer.strip("(). \n")
    if len(letter) != 1 or letter not in LETTERS[: len(options)]:
        raise Rejected("parse_error", f"the answer {answer[:20]!r} is none of the {len(options)} options")
    return Quiz(question, options, LETTERS.index(letter))


def _options(lines: Sequence[str]) -> tuple[str, ...]:
    read = [_OPTION.fullmatch(line) for line in lines if line.strip()]
    options = [found[2].strip() for found in read if found]
    letters = "".join([found[1] for found in read if found])
    if len(options) < 2 or len(options) != len(read) or letters != LETTERS[: len(options)]:
        raise Rejected("parse_error", f"options are not lettered A, B, …, one a line: {lines[0][:40]!r}")
    if len({normal_text(option).lower() for option in options}) < len(options):
        raise Rejected("parse_error", "two options are the same")
    return tuple(options)
