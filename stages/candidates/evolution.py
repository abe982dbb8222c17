"""Evol-Instruct's operators, and which evolved prompts are none (its elimination step). Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping

from pipeline.errors import Rejected
from stages.candidates.tagged import answer_body
from stages.judges.refusals import declines
from stages.pairs.gate import similarity

OPERATORS: Mapping[str, str] = {
    "constraint": "Add one more constraint or requirement.",
    "deepen": "If it can be answered in a few simple steps, ask about the same matter in more depth and breadth.",
    "concretise": "Replace general notions by more specific ones.",
    "reasoning": "Rewrite it so that answering takes several steps of reasoning, and ask for them.",
    "breadth": "Write a brand-new prompt of the same domain and about the same length and difficulty, but rarer.",
}
"""Drawn with equal chance (WizardLM); all but `breadth` keep the task and make it harder."""

_OF_THE_REQUEST = re.compile(
    r"(?:given|rewritten|evolved|created|original|new)\s+prompt|#\s*(?:given|rewritten|new)|</?(?:prompt|rewritten)\b",
    re.IGNORECASE,
)
_STOP_WORDS = frozenset(
    "a an and are as at be by for from has have i in is it its of on or that the this to was were will with you".split()
)


def read_evolved(text: str, before: str, max_added: int) -> str:
    """The evolved prompt in a model's answer. Raises Rejected where it is none.

    parse_error, refused; copied (words of the request in it); no_words (stop words alone); no_gain (nearly the prompt
    it came from: Jaccard of character 5-grams from 0.9); too_long (more than `max_added` words longer).
    """
    new = answer_body(text).strip().strip('"').strip()
    if declines(new) or (len(new.split()) < 80 and re.search(r"\bsorry\b", new, re.IGNORECASE)):
        raise Rejected("refused", f"the model declines: {new[:60]!r}")
    if found := _OF_THE_REQUEST.search(new):
        raise Rejected("copied", f"the prompt holds words of the request: {found[0]!r}")
    if not {word for word in re.findall(r"\w+", new.lower()) if not word.isdigit()} - _STOP_WORDS:
        raise Rejected("no_words", f"nothing but stop words: {new[:60]!r}")
    if (same := similarity(new, before)) >= 0.9:
        raise Rejected("no_gain", f"similarity {same:.2f} to the prompt it came from")
    if (added := len(new.split()) - len(before.split())) > max_added:
        raise Rejected("too_long", f"{added} words longer, at most {max_added} are allowed")
    return new


def read_gain(text: str) -> None:
    """Nothing where a judge calls the two prompts different. Raises Rejected: no_gain, parse_error."""
    said = answer_body(text).strip().strip("*.\"'").lower()
    if said == "equal":
        raise Rejected("no_gain", "a judge finds both prompts equal")
    if said != "not equal":
        raise Rejected("parse_error", f"neither Equal nor Not Equal: {said[:60]!r}")
