"""What a judge's words and label probabilities say: pure functions from its answer to a value or the reason for none.

Only the judge's own text is read, from its end: a score quoted from the candidate stands before the verdict.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

from msgspec import Struct

from pipeline.engine import Completion
from pipeline.records import LabelProb, Status
from stages.judges.refusals import declines

TAIL = 300  # characters; a verdict is the last thing a judge writes
_NUMBER = r"-?\d{1,6}(?:\.\d{1,6})?"
END = r"[\s.*_`\"'})\]]*\Z"  # what may follow a verdict
GAP = r"[\s:=*_`\"'(\[]{0,12}"  # what may stand before it
_OF = r"\s{0,3}(?:/|out\ of)\s{0,3}"
# The forms in which a score may end a text. Each is anchored at the end and has one number and perhaps an "of M".
_SCORE = re.compile(
    rf"""(?:
      "[a-z_ ]{{0,30}}(?:score|rating)"\s{{0,5}}:\s{{0,5}}"?(?P<json>{_NUMBER})
    | \[\[\s{{0,5}}(?P<brackets>{_NUMBER})\s{{0,5}}\]\]
    | \[result\]\s{{0,5}}\(?(?P<result>{_NUMBER})
    | \b(?:score|rating|grade|verdict)\b(?:\s(?:for|on)\s[a-z_ ]{{1,30}})?
      (?:\s?\(\d{{1,3}}\s?(?:[-–]|to)\s?\d{{1,3}}\))?(?:\s{{1,3}}(?:is|of))?(?:{GAP}|\s[-–]\s)
      (?P<named>{_NUMBER})(?:{_OF}(?P<of>\d{{1,6}}))?
    | (?<![\d./])(?P<ratio>{_NUMBER}){_OF}(?P<ratio_of>\d{{1,6}})
    | (?:\A|\n){GAP}(?P<alone>{_NUMBER})
    )(?:\s{{1,2}}(?:points?|stars?))?{END}""",
    re.IGNORECASE | re.VERBOSE,
)
_DIRECT = re.compile(
    rf"{GAP}(?:(?:score|rating){GAP})?({_NUMBER})(?=[\])*_`\"']{{0,4}}(?:\s*\n|[.,;:]\s|\s[-–]\s))", re.IGNORECASE
)
_NOT_APPLICABLE = re.compile(rf"(?:\A|\n|\b(?:score|rating)\b){GAP}n/?a{END}", re.IGNORECASE)


class Parsed(Struct, frozen=True, gc=False):
    """A verdict read from text. start: where it begins. label: the word it is written with, None where another label may
    follow ("4/5" ends with the label 5). Label probabilities are those of the last label token: they belong to a verdict
    that is spelled as one. Of a tie in words or a lower-case yes they tell of a letter somewhere in the reasoning."""

    value: float
    start: int
    label: str | None
    of: int | None = None  # the M of "N/M"


def parse_score(text: str) -> Parsed | None:
    """The score that ends `text`; None without one.

    Forms: `Score: N`, `[[N]]`, `[RESULT] N`, `N/M`, `"score": N`, a last line N.
    """
    offset = max(0, len(text) - TAIL)
    found = _SCORE.search(text[offset:])
    if found is None:
        return None
    groups = found.groupdict()
    number = next(groups[k] for k in ("json", "brackets", "result", "named", "ratio", "alone") if groups[k] is not None)
    of = groups["of"] or groups["ratio_of"]
    return Parsed(
        float(number), offset + found.start(), _as_label(number) if of is None else None, int(of) if of else None
    )


def parse_direct(text: str) -> Parsed | None:
    """The score that begins an answer which was to be a score alone but went on (`4. The …`); None without one."""
    found = _DIRECT.match(text)
    if found is None:
        return None
    number = found[1]
    return Parsed(float(number), 0, None if any(c.isdigit() for c in text[found.end() :]) else _as_label(number))


def _as_label(number: str) -> str | None:
    """The label token that ends a written number; None for fractions and for digits of other scripts."""
    return str(int(number)) if number.isascii() and number.isdigit() else None


def parse_not_applicable(text: str) -> bool:
    """Whether `text` ends with N/A where a score would stand."""
    return bool(_NOT_APPLICABLE.search(text[-TAIL:]))


class Expected(Struct, frozen=True, gc=False):
    """A distribution over score labels: mass on them before renormalising, mean and standard deviation, mode."""

    mass: float
    mean: float
    std: float
    mode: float
    probs: tuple[LabelProb, ...]


def expected_score(logprobs: Mapping[str, float], values: Mapping[str, float]) -> Expected | None:
    """Mean score Σ s·p(s) over the renormalised label tokens (G-Eval); None when no label has probability.

    logprobs: natural log-probability per label; values: the score each label stands for. Labels without a value
    are ignored. Of equally probable labels the lower score is the mode.
    """
    known = [
        (label, value, math.exp(min(logprobs[label], 0.0))) for label, value in values.items() if label in logprobs
    ]
    mass = sum([p for _, _, p in known])
    if not mass > 0:
        return None
    mean = sum([value * p for _, value, p in known]) / mass
    variance = sum([(value - mean) ** 2 * p for _, value, p in known]) / mass
    mode = min([(-p, value) for _, value, p in known])[1]
    probs = tuple([LabelProb(label, p / mass) for label, _, p in known])
    return Expected(mass, mean, math.sqrt(variance), mode, probs)


class ScoreRule(Struct, frozen=True, gc=False):
    """How a score is to be read: lowest and highest, the score of each label token (empty: only the written number
    counts), the least mass on labels, and whether the judge reasons before it scores."""

    low: int
    high: int
    labels: dict[str, float]
    label_mass_min: float
    reason: bool


class Reading(Struct, frozen=True, gc=False):
    """What one answer of a judge came to; value and mode are None unless status is ok."""

    status: Status
    value: float | None = None
    mode: float | None = None
    mass: float | None = None
    probs: tuple[LabelProb, ...] | None = None
    reasoning: str | None = None


def read_score(completion: Completion, rule: ScoreRule, na_allowed: bool = False) -> Reading:
    """The score an answer holds, or the status that says why it holds none. Never a number in place of a failure."""
    text = completion.text
    parsed = parse_score(text) or (None if rule.reason else parse_direct(text))
    if parsed is None and na_allowed and completion.finish_reason == "stop" and parse_not_applicable(text):
        return Reading("na")
    return settle(completion, parsed, rule)


def settle(completion: Completion, parsed: Parsed | None, rule: ScoreRule) -> Reading:
    """What an answer comes to in which `parsed` was found: its expected score where labels are known, else the score."""
    text = completion.text
    if completion.finish_reason != "stop" and (parsed is None or rule.reason):
        return Reading("truncated")
    if parsed is None:
        return Reading("refused" if declines(text) else "parse_error")
    reasoning = text[: parsed.start].strip() or None
    if not rule.low <= parsed.value <= rule.high or parsed.of not in (None, rule.high):
        return Reading("out_of_range", reasoning=reasoning)
    labels = completion.labels if parsed.label in rule.labels else None
    expected = expected_score(labels, rule.labels) if labels else None
    if expected is None:
        return Reading("ok", parsed.value, parsed.value, reasoning=reasoning)
    if expected.mass < rule.label_mass_min:
        return Reading("low_mass", None, None, expected.mass, expected.probs, reasoning)
    return Reading("ok", expected.mean, expected.mode, expected.mass, expected.probs, reasoning)
