"""Listwise rating: all candidates in one prompt, one score each (UltraFeedback, spec judges §3). Pure.

Its parser asserted four blocks between blank lines, cut 7.5 to 7 and lost aspects in silence. Here every score stands
behind the number of its response, and what is not found is missing for that response alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import msgspec

from pipeline import ids
from pipeline.engine import Completion
from stages.judges.refusals import declines
from stages.judges.verdicts import Reading, ScoreRule

_LINE = re.compile(
    r"""[\s>*_\-`"'(\[]{0,8}(?:response[\s_]?)?(?P<number>\d{1,3})[\])*_`"']{0,4}\s{0,3}[:=\-–.][\s*_`"'(\[]{0,6}
    (?:(?:score|rating)[\s:*_]{1,4})?(?P<score>-?\d{1,6}(?:\.\d{1,6})?|n/?a)(?:\s?(?:/|out\sof)\s?(?P<of>\d{1,6}))?
    [\s.,;*_`"')\]]{0,8}\Z""",
    re.IGNORECASE | re.VERBOSE,
)
_OBJECT = re.compile(r"\{[^{}]{0,4000}\}\s*(?:```)?\s*\Z")
_FENCE = re.compile(r"\s*(?:```\w*|[{}])?\s*\Z")


def shuffled(candidates: Sequence[str], order: int, *purpose: str | int) -> list[str]:
    """`candidates` in an order drawn for `purpose`; odd orders reverse the one before, so that places balance."""
    drawn = sorted(candidates)
    ids.stream("listwise", order // 2, *purpose).shuffle(drawn)
    return drawn[::-1] if order % 2 else drawn


def read_scores(text: str, reason: bool) -> dict[int, tuple[str, int | None]]:
    """Number of a response -> (score as written, the M of "N/M"), from the lines or the JSON object that end `text`.

    A number that is scored twice in there is left out. Without `reason` the lines may also begin the text.
    """
    found = _OBJECT.search(text[-6000:])
    if found is not None and (scores := _from_json(found[0].rstrip("`\n "))):
        return scores
    lines = [line for line in text.splitlines() if not _FENCE.match(line)]
    return _from_lines(reversed(lines)) or ({} if reason else _from_lines(lines))


def _from_json(text: str) -> dict[int, tuple[str, int | None]]:
    try:
        given = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return {}
    return _from_lines([f"{name}: {value}" for name, value in given.items()])


def _from_lines(lines: Iterable[str]) -> dict[int, tuple[str, int | None]]:
    scores: dict[int, tuple[str, int | None]] = {}
    twice = set()
    for line in lines:
        found = _LINE.match(line) if len(line) <= 120 else None
        if found is None:
            break
        number = int(found["number"])
        twice |= {number} & scores.keys()
        scores[number] = (found["score"], int(found["of"]) if found["of"] else None)
    return {number: score for number, score in scores.items() if number not in twice}


def read_listed(completion: Completion, rule: ScoreRule, number: int, na_allowed: bool) -> Reading:
    """The score of the response shown as `number`, or the status that says why there is none."""
    if completion.finish_reason != "stop":
        return Reading("truncated")
    written, of = read_scores(completion.text, rule.reason).get(number, (None, None))
    if written is None:
        return Reading("refused" if declines(completion.text) else "parse_error")
    if written[0] in "nN":
        return Reading("na" if na_allowed else "parse_error")
    score = float(written)
    if not rule.low <= score <= rule.high or of not in (None, rule.high):
        return Reading("out_of_range")
    return Reading("ok", score, score)
