"""What a rationale does to another judge: with its verdict hidden, and destroyed (V8, V9; spec judges C2). Pure."""

from __future__ import annotations

import math
import random
import re
from collections.abc import Sequence

from msgspec.structs import replace

from pipeline.records import Verification

CLIP = 1e-4
_NOUN = r"(?:response|answer|solution|candidate|option|assistant|reply|output)"
_NAMED = rf"(?:\b{_NOUN}\s+[AB]\b|\b(?-i:[AB])\b|\bthe\s+(?:first|second|former|latter)(?:\s+(?:{_NOUN}|one))?\b)"
_HOW = (
    r"(?:\s+(?:slightly|clearly|much|far|significantly|somewhat|overall|therefore|thus|also|still|considerably|even|"
    r"a|the|by|of|two|one|both))*"
)
_DEGREE = (
    r"(?:better|worse|best|worst|preferable|preferred|superior|inferior|stronger|weaker|winner|loser|favou?red|"
    r"strongest|weakest)"
)
_THAN = rf"(?:\s+{_NOUN}\b(?!\s+[AB]\b))?(?:\s+(?:than|to|over|of\s+the\s+two)(?:\s+{_NAMED})?)?"
_IS = r"(?:is|was|seems|remains|looks|would\s+be|comes\s+out|makes\s+it)"
# Each pattern is a way to say which response wins. What it keeps of the sentence is the group `keep`.
_VERDICTS = [
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        rf"\b(?:the\s+)?(?:{_DEGREE}|right|correct)\s+(?:{_NOUN}|one|choice)\s+{_IS}\s+{_NAMED}",
        rf"(?P<keep>{_NAMED})\s+{_IS}{_HOW}\s+{_DEGREE}\b{_THAN}",
        rf"(?P<keep>{_NAMED})\s+(?:clearly\s+)?(?:wins|loses|outperforms|beats|surpasses)\b(?:\s+{_NAMED})?",
        rf"\b(?:i\s+|we\s+|should\s+)?(?:prefer|choose|pick|select|favou?r|go\s+with)\s+{_NAMED}(?:\s+over\s+{_NAMED})?",
        rf"\b(?:verdict|winner|label|preference|decision|final\s+answer)\b\s*(?:is|:|=)\s*{_NAMED}",
        rf"\b{_DEGREE}\s+(?:than|to)\s+{_NAMED}",
    )
]
HIDDEN = "[…]"
_WORD = re.compile(r"\w+")


def hide_verdict(text: str) -> str:
    """`text` with every phrase that says which response is better replaced by `[…]`; its reasons stay.

    Without this, utility would measure whether the label was copied.
    """
    for pattern in _VERDICTS:
        text = pattern.sub(lambda m: f"{m['keep']} {HIDDEN}" if "keep" in m.re.groupindex else HIDDEN, text)
    return text


def perturb(text: str, others: Sequence[str], stream: random.Random, share: float = 0.3) -> str:
    """`text` with `share` of its words (at least one) replaced by others, drawn from it and from `others` (PINTO).

    Blanks and punctuation stay, and every replaced word is another one. Letters that name a response are not put in.
    """
    words = list(_WORD.finditer(text))
    pool = sorted({w for source in (text, *others) for w in _WORD.findall(source)} - {"A", "B", "a", "b"})
    if not words or len({w.casefold() for w in pool}) < 2:
        return text
    parts, end = [], 0
    for at in sorted(stream.sample(range(len(words)), max(1, round(share * len(words))))):
        word = words[at]
        drawn = stream.choice([w for w in pool if w.casefold() != word[0].casefold()])
        parts += [text[end : word.start()], drawn]
        end = word.end()
    return "".join([*parts, text[end:]])


def logit(p: float) -> float:
    """log(p / (1 - p)), with p kept within [1e-4, 1 - 1e-4]."""
    p = min(max(p, CLIP), 1 - CLIP)
    return math.log(p / (1 - p))


def measured(verify: Verification, given: float | None, without: float | None, perturbed: float | None) -> Verification:
    """`verify` with the verifier's probabilities of the label, and of them utility (logits) and sensitivity."""
    return replace(
        verify,
        p_label=given,
        p_label_without=without,
        p_label_perturbed=perturbed,
        utility=None if given is None or without is None else logit(given) - logit(without),
        sensitivity=None if given is None or perturbed is None else given - perturbed,
    )


def both_orders(values: Sequence[float | None]) -> float | None:
    """The mean of the two orders; None unless both answered (spec judges C0.2)."""
    known = [v for v in values if v is not None]
    return sum(known) / 2 if len(known) == len(values) == 2 else None


def weakest(values: Sequence[float | None]) -> float | None:
    """The least of all; None where one is not known, or there are none."""
    known = [v for v in values if v is not None]
    return min(known) if known and len(known) == len(values) else None
