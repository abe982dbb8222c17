"""Which rationale of a pair is better than which other of the same pair (METEORA, PODA; spec judges 13, pairs 7). Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from msgspec import Struct

from pipeline.records import Rationale
from stages.rationales.kinds import COMPARING
from stages.rationales.picking import best
from stages.rationales.references import swap_refs
from stages.rationales.training import answered_why

Rule = Literal["kept", "both_options", "selection"]
# What a refusal says of the evidence alone, the verdict being right.
_EVIDENCE = frozenset({"quotes_missing", "quote_precision", "false_claim", "misattributed"})
_SUBSTANCE = _EVIDENCE | {"label_mismatch", "leak", "position_or_length", "low_quality"}


class RationalePair(Struct, frozen=True):
    """A better and a worse rationale, and whether the label decided or a check of the text."""

    chosen: Rationale
    rejected: Rationale
    by_label: bool


def rationale_pairs(rationales: Sequence[Rationale], rule: Rule, blind_only: bool, cap: int) -> list[RationalePair]:
    """Pairs among the rationales of one pair and kind: the best kept one over refused ones, each text once.

    rule: `kept` takes every refusal of substance; `both_options` an analysis of both options that ends at the wrong one
    (contrastive rationales); `selection` right verdicts on evidence that is not there or is false. Refusals of form
    (truncated, too short, no JSON) teach nothing about reasons; a text whose names cannot follow the order is left out.
    Fewest votes first: the clearest mistakes.
    """
    usable = [r for r in rationales if r.text and r.kind in COMPARING and not (blind_only and r.label_visible)]
    made = []
    for kind in sorted({r.kind for r in usable}):
        group = [r for r in usable if r.kind == kind]
        chosen = best(group)
        if chosen is None or (rule == "both_options" and kind != "contrastive"):
            continue
        refused = {told(r, chosen): r for r in reversed(group) if _refused(r, rule) and _follows(r, chosen)}
        refused.pop(told(chosen, chosen), None)
        worst = sorted(refused.values(), key=lambda r: (r.verify.votes_for or 0, r.rationale_id))
        made += [RationalePair(chosen, r, r.reject_reason == "label_mismatch") for r in worst[:cap]]
    return made


def _refused(rationale: Rationale, rule: Rule) -> bool:
    reason = rationale.reject_reason
    if rule == "both_options":
        return reason == "label_mismatch"
    if rule == "selection":
        return reason in _EVIDENCE and rationale.verify.label_consistent is True
    return reason in _SUBSTANCE


def _follows(rationale: Rationale, like: Rationale) -> bool:
    return rationale.shown_order == like.shown_order or rationale.verify.rewritable is not False


def told(rationale: Rationale, like: Rationale) -> str:
    """The reasons and the fixed sentence of the verdict, the responses named in the order of `like`."""
    text = answered_why(rationale.text or "", rationale.statement or "")
    return text if rationale.shown_order == like.shown_order else swap_refs(text)
