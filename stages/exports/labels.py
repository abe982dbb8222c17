"""The numbers and reasons that some formats must have; what is not known refuses the row, it never becomes 0. Pure."""

from __future__ import annotations

import zlib

from msgspec.structs import replace

from pipeline.errors import Rejected
from pipeline.pair import Pair
from stages.exports.arms import Arms
from stages.exports.wanted import Explanation
from stages.rationales.references import swap_refs

MARGIN = "by how much the better reward should be higher, in logits of a calibrated judge"


def calibrated_margin(pair: Pair) -> float:
    """The margin in logits. Raises Rejected: no_margin."""
    if pair.margin_logit is None:
        raise Rejected("no_margin", "no calibrated margin is known; calibrate the judges, or leave margin out")
    return pair.margin_logit


def both_scores(pair: Pair) -> tuple[float, float]:
    """The scores of chosen and rejected on [0, 1]. Raises Rejected: no_scores, step_scores, scores_disagree."""
    if pair.chosen_score is None or pair.rejected_score is None:
        raise Rejected("no_scores", "the arms have no absolute scores")
    if not pair.chosen_terminal or not pair.rejected_terminal:
        raise Rejected("step_scores", "the scores are of unfinished steps, the row would hold whole answers")
    if pair.chosen_score <= pair.rejected_score:
        raise Rejected("scores_disagree", "the scores do not put the chosen answer above the rejected one")
    return pair.chosen_score, pair.rejected_score


def drawn_first(format_name: str, arms: Arms, why: Explanation | None) -> str:
    """Which arm a row shows first, chosen or rejected: by lot of its texts, which an import gives again; as its rationale
    has it where the names in that cannot change places."""
    if why is not None and not why.rewritable:
        return why.response_a
    drawn = zlib.crc32(f"{format_name}\0{arms.chosen}\0{arms.rejected}".encode())
    return "rejected" if drawn & 1 else "chosen"


def told(why: Explanation, first: str) -> Explanation:
    """The rationale with `first` (chosen or rejected) as its Response A."""
    if why.response_a == first:
        return why
    return replace(why, text=swap_refs(why.text), statement=swap_refs(why.statement), response_a=first)
