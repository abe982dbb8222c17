"""The rationale gate: checks V1–V6 of spec judges C2, cheap ones first. Pure: a reply in, what was measured out."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal, Protocol

from msgspec import Struct

from pipeline.records import Span, Verification
from stages.rationales.attributions import misattributed
from stages.rationales.claims import find_claims
from stages.rationales.leaks import decides_by_length, decides_by_order, leak_words
from stages.rationales.quotes import copy_ratio, find_quote
from stages.rationales.references import rewritable
from stages.rationales.replies import Evidence, Reply

Wanted = Literal["none", "any", "both"]  # responses that must be quoted
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
    quotes_wanted: Wanted = "none"


class Shown(Struct, frozen=True, gc=False):
    """What the author saw, and which place the chosen arm had there (A or B).

    A critique's author saw one response, which is A; there `chosen` is A where that is the chosen arm, and B is empty.
    """

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
    consistent = implied_label(reply, shown.chosen) == 1 and not _contradicts(reply)
    return examined(reply, shown, limits, consistent, truncated)


class Said(Protocol):
    """What a rationale must offer to be examined; `prose` is the author's own words, without quotes."""

    @property
    def evidence(self) -> tuple[Evidence, ...]: ...
    @property
    def text(self) -> str: ...
    @property
    def prose(self) -> str: ...
    @property
    def statement(self) -> str: ...


def examined(said: Said, shown: Shown, limits: Limits, consistent: bool | None, truncated: bool) -> Gated:
    """V1–V6 of a rationale whose verdict is consistent with the label, is not, or cannot be compared with it (None)."""
    text, prose = said.text, said.prose
    n_tokens = count_tokens(text)
    spans, precision = check_quotes(said.evidence, shown)
    by_side = (shown.response_a, shown.response_b)
    leaks = leak_words(f"{prose}\n{said.statement}", "\n".join([shown.prompt, *by_side]))
    position = decides_by_order(prose) or decides_by_length(prose)
    claims = find_claims(f"{prose}\n{said.statement}", by_side)
    false = sum(not claim.true for claim in claims)
    fails = (
        ("truncated", truncated),
        ("too_short", n_tokens < limits.min_tokens),
        ("too_long", n_tokens > limits.budget * 1.5),
        ("label_mismatch", consistent is False),
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
        rewritable=rewritable(text, (shown.prompt, *by_side)),
    )
    return Gated(next((reason for reason, failed in fails if failed), None), verify, spans)


def _contradicts(reply: Reply) -> bool:
    """Whether the author's own closing sentence says the opposite of the verdict."""
    found = _STATED.search(reply.statement)
    if found is None:
        return False
    better = found[1].upper() if found[2].lower() != "worse" else {"A": "B", "B": "A"}[found[1].upper()]
    return better != reply.label


def check_quotes(evidence: Sequence[Evidence], shown: Shown) -> tuple[tuple[Span, ...], float | None]:
    """The quotes with their places in the text of the side they name (None: not there), and the share that was found.

    Sides become arms: a is the chosen one. The share is None without quotes.
    """
    texts = {"A": shown.response_a, "B": shown.response_b, "prompt": shown.prompt}
    spans, found = [], 0
    for item in evidence:
        if not item.quote:
            continue
        place = find_quote(item.quote, texts.get(item.side or "", ""))
        found += place is not None
        arm = "prompt"
        if item.side in ("A", "B"):
            arm = "a" if item.side == shown.chosen else "b"
        start, end = place or (None, None)
        spans.append(Span(arm, item.quote, start, end, item.point or None))
    return tuple(spans), found / len(spans) if spans else None


def _quotes_enough(spans: Sequence[Span], wanted: Wanted) -> bool:
    there = {span.side for span in spans if span.start is not None and span.side != "prompt"}
    return len(there) >= {"none": 0, "any": 1, "both": 2}[wanted]
