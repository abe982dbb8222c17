"""Verdicts by name: A, B or a tie, Yes or No. Pure functions from a judge's answer to a value on [0, 1] or a status.

As for scores only the judge's own text is read, from its end (spec judges B1, C3 J2 and J3).
"""

from __future__ import annotations

import re

from pipeline.engine import Completion
from stages.judges.verdicts import END, GAP, TAIL, Parsed, Reading, ScoreRule, settle

FIRST, SECOND, TIE = "A", "B", "T"
BETTER = {FIRST: 1.0, SECOND: 0.0, TIE: 0.5}  # the mean over these is P(first) = (p_A + p_T/2) / (p_A + p_B + p_T)
YES_NO = {"Yes": 1.0, "No": 0.0}

_SIDE = r"(?:(?:response|option|assistant|answer)\s{1,2})?"
_NAME = r"(?-i:[ABT])|(?-i:\bC\b(?=\]\]))|tie"
_LEAD = r"\b(?:answer|verdict|winner|choice|decision|preference|label|better\sresponse)\b"
# The forms in which a choice of side may end a text.
_SIDE_NAMED = re.compile(
    rf"""(?:
      \[\[\s{{0,3}}(?P<brackets>{_NAME})\s{{0,3}}\]\]
    | \[result\]\s{{0,5}}\(?(?P<result>{_NAME})
    | {_LEAD}(?:\sis)?{GAP}{_SIDE}(?P<named>{_NAME})\b(?:\s\(?tie\)?)?
    | (?:\A|[\n.!:]\s{{0,3}})(?:(?:so|thus|therefore|overall|hence),?\s)?
      (?:response|option|assistant)\s(?P<better>(?-i:[AB]))\s(?:is|wins)
      (?:\s(?:the|a|slightly|much|clearly|better|best|winner|one|response|answer|overall)){{0,5}}
    | (?:\A|\n){GAP}{_SIDE}(?P<alone>{_NAME})\b(?:\s\(?tie\)?)?
    | \b(?:it\sis|it's|call\sit)\sa\s(?P<draw>tie)
    ){END}""",
    re.IGNORECASE | re.VERBOSE,
)
_DIRECT_SIDE = re.compile(
    rf"{GAP}{_SIDE}(?P<side>{_NAME})(?=[\])*_`\"']{{0,4}}(?:\s*\n|[.,;:]\s|\s[-–]\s))", re.IGNORECASE
)
_ANY_SIDE = re.compile(r"\b[ABT]\b")
_ANSWER = re.compile(
    rf"{GAP}(?:(?:final\s)?(?:answer|verdict)\b{GAP})?(?P<said>yes|no)\b(?!\s{{1,3}}(?:and|or|nor|doubt|way)\b|\s?/)",
    re.IGNORECASE,
)
_ANSWER_AT_END = re.compile(
    rf"(?:\"(?:answer|verdict|met)\"\s{{0,3}}:\s{{0,3}}\"?|\[\[\s?|\[result\]\s?|\b(?:answer|verdict)\b(?:\sis)?{GAP})"
    rf"(?P<said>yes|no){END}",
    re.IGNORECASE,
)
_ANY_ANSWER = re.compile(r"\b(?:yes|no)\b", re.IGNORECASE)


def parse_side(text: str, reason: bool) -> Parsed | None:
    """The side a text settles on: 1 for A, 0 for B, 0.5 for a tie; None without one.

    Forms at its end: `Answer: A`, `[[A]]` (there `C` is a tie), `[RESULT] A`, `"verdict": "A"`, `Response A is better`,
    a last line `A`. A judge that was not asked to reason (`reason`) may also begin with the letter and go on.
    """
    offset = max(0, len(text) - TAIL)
    found = _SIDE_NAMED.search(text[offset:])
    if found is not None:
        side = next(side for side in found.groups() if side)
        return Parsed(_side_value(side), offset + found.start(), side)
    direct = None if reason else _DIRECT_SIDE.match(text)
    if direct is None:
        return None
    return Parsed(_side_value(direct["side"]), 0, None if _ANY_SIDE.search(text, direct.end()) else direct["side"])


def _side_value(side: str) -> float:
    return BETTER[side] if side in BETTER else BETTER[TIE]


def parse_yes_no(text: str, reason: bool) -> Parsed | None:
    """Yes (1) or no (0) at the end of the last line behind `Answer:`, or else at the head of it; None without one.

    Anchored, because "not" and "know" are no verdicts. Without `reason` the first line may hold it as well.
    """
    lines = [line for line in text.splitlines(keepends=True) if line.strip()] or [""]
    offset = max(text.rindex(lines[-1]), len(text) - TAIL)
    if (found := _ANSWER_AT_END.search(text[offset:])) is not None:  # before a yes that the same line begins with
        start = offset + found.start()
    else:
        found, start = _ANSWER.match(lines[-1][:TAIL]), text.rindex(lines[-1])
    if found is None and not reason:
        found, start = _ANSWER.match(lines[0][:TAIL]), 0
    if found is None:
        return None
    said = found["said"]
    return Parsed(YES_NO[said.capitalize()], start, said if len(_ANY_ANSWER.findall(text, start)) == 1 else None)


def read_preference(completion: Completion, rule: ScoreRule, first: bool, ties: bool) -> Reading:
    """P(the candidate in question is better) from one comparison; `out_of_range` for a tie where `ties` are not asked.

    first: it was shown first, as A.
    """
    parsed = parse_side(completion.text, rule.reason)
    reading = settle(completion, parsed, rule)
    if parsed is not None and parsed.value == BETTER[TIE] and not ties and reading.status == "ok":
        return Reading("out_of_range", reasoning=reading.reasoning)
    if first or reading.value is None or reading.mode is None:
        return reading
    return Reading("ok", 1 - reading.value, 1 - reading.mode, reading.mass, reading.probs, reading.reasoning)


def read_yes_no(completion: Completion, rule: ScoreRule) -> Reading:
    """P(yes) from one answer: 1 and 0 where only words are known."""
    return settle(completion, parse_yes_no(completion.text, rule.reason), rule)
