"""The rationale gate: checks V1–V6 of spec judges C2, cheap ones first. Pure: a reply in, what was measured out."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Literal

import msgspec
from msgspec import Struct

from pipeline.records import Rationale, Span, Verification
from stages.rationales.attributions import misattributed
from stages.rationales.claims import find_claims
from stages.rationales.leaks import decides_by_length, decides_by_order, leak_words
from stages.rationales.quotes import copy_ratio, find_quote
from stages.rationales.replies import Reply

KINDS = ("detailed", "contrastive", "general")  # the most telling first
_TOKEN = re.compile(r"\w+|[^\w\s]")
_STATED = re.compile(
    r"\b(?:response|answer|solution)\s+([AB])\s+is\s+(?:(?:slightly|clearly|much|far|significantly|somewhat)\s+)?"
    r"(better|worse|preferable)\b",
    re.IGNORECASE,
)


class Limits(Struct, frozen=True, gc=False):
    """Thresholds of the gate. Tokens are words and punctuation marks, so that no tokenizer is needed."""

    min_tokens: int = 20
    budget: int = 300  # tokens asked for; 1.5 times as many are accepted
    min_quote_precision: float = 0.8
    quotes_wanted: Literal["none", "any", "both"] = "none"  # responses that must be quoted


class Shown(Struct, frozen=True, gc=False):
    """What the author saw, and which place the chosen arm had there (A or B)."""

    prompt: str
    response_a: str
    response_b: str
    chosen: str


class Gated(Struct, frozen=True, gc=False):
    """The gate's finding: the first hard fail (None: kept), what was measured, and the quotes with their places."""

    reason: str | None
    verify: Verification
    spans: tuple[Span, ...]


def implied_label(reply: Reply, chosen: str) -> int:
    """+1 when the verdict names the place of the chosen arm, -1 for the other, 0 for neither."""
    return 0 if not reply.label else 1 if reply.label == chosen else -1


def count_tokens(text: str) -> int:
    """Words and punctuation marks of `text`."""
    return len(_TOKEN.findall(text))


def gate(reply: Reply, shown: Shown, limits: Limits, truncated: bool = False) -> Gated:
    """Runs V1–V6. All are measured, so that a row tells everything that is wrong; the first hard fail is the reason."""
    text, prose = reply.text, reply.prose
    n_tokens = count_tokens(text)
    consistent = implied_label(reply, shown.chosen) == 1 and not _contradicts(reply)
    spans, precision = check_quotes(reply, shown)
    by_side = (shown.response_a, shown.response_b)
    leaks = leak_words(f"{prose}\n{reply.statement}", "\n".join([shown.prompt, *by_side]))
    position = decides_by_order(prose) or decides_by_length(prose)
    claims = find_claims(f"{prose}\n{reply.statement}", by_side)
    false = sum(not claim.true for claim in claims)
    fails = (
        ("truncated", truncated),
        ("too_short", n_tokens < limits.min_tokens),
        ("too_long", n_tokens > limits.budget * 1.5),
        ("label_mismatch", not consistent),
        ("quotes_missing", not _quotes_enough(spans, limits.quotes_wanted)),
        ("quote_precision", precision is not None and precision < limits.min_quote_precision),
        ("leak", bool(leaks)),
        ("position_or_length", position),
        ("false_claim", false > 0),
        ("misattributed", bool(misattributed(prose, by_side))),
    )
    verify = Verification(
        label_consistent=consistent,
        quote_precision=precision,
        copy_ratio=copy_ratio(prose, by_side),
        position_leak=bool(leaks) or position,
        false_claims=false,
        n_claims=len(claims),
    )
    return Gated(next((reason for reason, failed in fails if failed), None), verify, spans)


def _contradicts(reply: Reply) -> bool:
    """Whether the author's own closing sentence says the opposite of the verdict."""
    found = _STATED.search(reply.statement)
    if found is None:
        return False
    better = found[1].upper() if found[2].lower() != "worse" else {"A": "B", "B": "A"}[found[1].upper()]
    return better != reply.label


def check_quotes(reply: Reply, shown: Shown) -> tuple[tuple[Span, ...], float | None]:
    """The quotes with their places in the text of the side they name (None: not there), and the share that was found.

    Sides become arms: a is the chosen one. The share is None without quotes.
    """
    texts = {"A": shown.response_a, "B": shown.response_b, "prompt": shown.prompt}
    spans, found = [], 0
    for evidence in reply.evidence:
        if not evidence.quote:
            continue
        place = find_quote(evidence.quote, texts.get(evidence.side or "", ""))
        found += place is not None
        arm = "prompt"
        if evidence.side in ("A", "B"):
            arm = "a" if evidence.side == shown.chosen else "b"
        start, end = place or (None, None)
        spans.append(Span(arm, evidence.quote, start, end, evidence.point or None))
    return tuple(spans), found / len(spans) if spans else None


def _quotes_enough(spans: Sequence[Span], wanted: Literal["none", "any", "both"]) -> bool:
    there = {span.side for span in spans if span.start is not None and span.side != "prompt"}
    return len(there) >= {"none": 0, "any": 1, "both": 2}[wanted]


def with_votes(rationales: Sequence[Rationale]) -> list[Rationale]:
    """The blind rationales of one pair and kind, each with how many of those that gave a verdict share its own (V7)."""
    verdicts = [r.implied_label for r in rationales if r.implied_label is not None]
    return [
        r
        if r.implied_label is None
        else msgspec.structs.replace(
            r,
            verify=msgspec.structs.replace(r.verify, votes_for=verdicts.count(r.implied_label), votes_n=len(verdicts)),
        )
        for r in rationales
    ]


def quality(verify: Verification, max_copy: float = 0.6) -> float:
    """Share of the soft checks (V4 own words, V7 most blind attempts agree) that passed; 1 when none was evaluated."""
    passed = []
    if verify.copy_ratio is not None:
        passed.append(verify.copy_ratio <= max_copy)
    if verify.votes_for is not None and verify.votes_n is not None and verify.votes_n > 1:
        passed.append(2 * verify.votes_for >= verify.votes_n)
    return sum(passed) / len(passed) if passed else 1.0


def best(rationales: Iterable[Rationale], keep_quality: float = 0.5) -> Rationale | None:
    """The rationale to export: kept ones of enough quality; blind before told, detailed before general, then the one
    more blind attempts agree with, own words before copies, the shortest.

    Ties are broken by id, so that the choice does not depend on the order. None when none is good enough.
    """
    kept = [r for r in rationales if r.status == "ok" and r.text and quality(r.verify) >= keep_quality]
    return min(kept, key=_rank, default=None)


def _rank(r: Rationale) -> tuple[bool, int, int, float, int, str]:
    kind = KINDS.index(r.kind) if r.kind in KINDS else len(KINDS)
    return r.label_visible, kind, -(r.verify.votes_for or 0), -quality(r.verify), len(r.text or ""), r.rationale_id
