"""A judge without a model: every equation and date that a text states is computed anew.

A false one is proof that the text is wrong. That all hold is proof of little: of 1,600 recorded solutions of GSM8K, 18
of 19 with a false equation are wrong, but so are 60 % of those whose equations all hold.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Sequence
from decimal import Decimal

from pipeline.records import ToolCall
from stages.rationales.claims import Claim, find_claims
from stages.tools.calculator import CalculationError, calculate
from stages.tools.dates import DateError, answer_dates

# What a calculator printed in binary: 14.999999999999998 is 15.
_BINARY = re.compile(r"(?<![\d.,])\d{1,15}\.\d{10,20}(?!\d)", re.ASCII)

_RESULT = re.compile(r"==?|≈|→|\s(?:is|equals|gives|makes|should|must|would|comes)\s")


def recompute(text: str, cut: bool = False) -> list[ToolCall]:
    """One call for each claim of `text`: the claim as input, and an observation that begins with `true` or `false`.

    cut: the text breaks off, so that nothing in its last line is a claim (`12 x 12 = 14`).
    """
    text = text.rpartition("\n")[0] if cut else text
    return [_call(claim) for claim in find_claims(_BINARY.sub(lambda m: f"{Decimal(m[0]):.9f}", text))]


def all_hold(text: str) -> bool:
    """Whether no claim of `text` is false; that all hold proves little. A false one that is only quoted counts too."""
    return all(claim.true for claim in find_claims(text))


def _call(claim: Claim) -> ToolCall:
    is_date = claim.text[0].isalpha()  # it begins with the month
    computed = ""
    with contextlib.suppress(CalculationError, DateError):
        computed = answer_dates(claim.text) if is_date else calculate(_RESULT.split(claim.text)[0])
    observation = "true" if claim.true else f"false: {computed}" if computed else "false"
    arguments = json.dumps({"input": claim.text}, ensure_ascii=False)
    return ToolCall("dates" if is_date else "calculator", arguments, observation, True)


def told(trace: Sequence[ToolCall]) -> str:
    """The false ones in words, or how many were found to hold."""
    false = [call for call in trace if call.observation.startswith("false")]
    if not false:
        return f"{len(trace)} computed anew; all hold."
    return "\n".join(f"{json.loads(call.args_json)['input']}: {call.observation}." for call in false)
