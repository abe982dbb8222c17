"""What a probability is worth as a label, and what to do with a recorded label (spec judges C4). Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

Decision = Literal["keep", "keep_soft", "flip", "ambiguous", "drop"]
TOOL_LABEL = 0.98  # probability of the label where a deterministic check decides
TIE_DELTA = 0.05  # |p − ½| below this is no preference
FLIP_CONFIDENCE = 0.25  # |p − ½| that every signal needs to turn a label round
MARGIN_CAP = 4.0  # logits


def label_columns(p: float) -> dict[str, Any]:
    """What follows from the probability that the label is right: soft label, strength −3…3, weight."""
    strength = math.floor(3 * abs(2 * p - 1) + 0.5) * (1 if p >= 0.5 else -1)  # half away from zero
    return {
        "soft_label": min(max(p, 0.02), 0.98),
        "strength_signed_int": strength,
        "weight": min(1.0, abs(strength) / 2),
    }


def margin(log_odds: float) -> float:
    """The margin of a pair in logits, 0 to 4."""
    return min(max(log_odds, 0.0), MARGIN_CAP)


def is_ambiguous(p: float, log_odds: float, std: float, same_scc: bool, tie: float = TIE_DELTA) -> bool:
    """No clear preference: p near ½, judges more divided than decided, or both arms on a common cycle."""
    return abs(p - 0.5) < tie or std > 2 * abs(log_odds) or same_scc


def decide(signals: Sequence[float | None], tie: float = TIE_DELTA, flip: float = FLIP_CONFIDENCE) -> Decision:
    """What becomes of a recorded label, given what independent signals think: P(label is right), None if unknown.

    All for it: keep, or ambiguous when their mean is a tie. Two or more against it, each by `flip`: flip. Divided: keep
    with a soft label when the mean is for it. One alone may keep, never flip. Exactly ½ does not support a label.
    """
    known = [p for p in signals if p is not None]
    if not known:
        return "drop"
    epsilon = 1e-9  # 0.55 is as far from 0.5 as 0.05 says
    clear = sum(known) / len(known) - 0.5 >= tie - epsilon
    if len(known) == 1:
        return "keep" if clear else "drop"
    if all(p > 0.5 for p in known):
        return "keep" if clear else "ambiguous"
    if all(p <= 0.5 for p in known):
        return "flip" if all(0.5 - p >= flip - epsilon for p in known) else "ambiguous"
    return "keep_soft" if clear else "ambiguous"
