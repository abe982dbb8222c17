"""Votes, quality, and which of several rationales is taken (V7, soft checks; spec judges C2). Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from msgspec.structs import replace
from pydantic import BaseModel, ConfigDict, Field

from pipeline.records import Rationale, Verification
from stages.rationales.kinds import COMPARING


class Soft(BaseModel):
    """Thresholds of the soft checks; the config's `soft:` block. Values from spec judges C2, to be tuned.

    max_copy: share of trigrams taken from the responses (V4). min_votes: share of blind attempts with the same verdict
    (V7). min_utility: logits, exclusive (V8). min_sensitivity: probability (V9). min_claim: least probability that every
    claim is true and relevant (V10). min_quality: share of the evaluated checks that must pass.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_copy: float = Field(0.6, ge=0, le=1)
    min_votes: float = Field(0.5, ge=0, le=1)
    min_utility: float = 0.0
    min_sensitivity: float = Field(0.05, ge=-1, le=1)
    min_claim: float = Field(0.5, ge=0, le=1)
    min_quality: float = Field(0.5, ge=0, le=1)


def soft_checks(verify: Verification, soft: Soft) -> dict[str, bool]:
    """Which soft checks passed; those that were not evaluated are absent."""
    found: dict[str, bool] = {}
    if verify.copy_ratio is not None:
        found["copy"] = verify.copy_ratio <= soft.max_copy
    if verify.votes_for is not None and (verify.votes_n or 0) > 1:
        found["votes"] = verify.votes_for >= soft.min_votes * (verify.votes_n or 0)
    if verify.utility is not None:
        found["utility"] = verify.utility > soft.min_utility
    if verify.sensitivity is not None:
        found["sensitivity"] = verify.sensitivity >= soft.min_sensitivity
    if verify.truthfulness is not None and verify.relevance is not None:
        found["claims"] = min(verify.truthfulness, verify.relevance) >= soft.min_claim
    return found


def with_quality(rationale: Rationale, soft: Soft) -> Rationale:
    """The row with its quality; rejected as `low_quality` where too few soft checks passed, never where none could be
    evaluated. A row the gate refused keeps its reason."""
    checks = soft_checks(rationale.verify, soft)
    if not checks:
        return rationale
    quality = sum(checks.values()) / len(checks)
    row = replace(rationale, verify=replace(rationale.verify, quality=quality))
    if row.status == "ok" and quality < soft.min_quality:
        return replace(row, status="rejected", reject_reason="low_quality")
    return row


def with_votes(rationales: Sequence[Rationale]) -> list[Rationale]:
    """The blind rationales of one pair and kind, each with how many of those that gave a verdict share its own (V7)."""
    verdicts = [r.implied_label for r in rationales if r.implied_label is not None]
    return [
        r
        if r.implied_label is None
        else replace(
            r, verify=replace(r.verify, votes_for=verdicts.count(r.implied_label), votes_n=len(verdicts))
        )
        for r in rationales
    ]  # fmt: skip


def best(rationales: Iterable[Rationale]) -> Rationale | None:
    """The rationale of a pair to take, among those that compare its arms and were kept: blind before told, then by
    kind, then the most votes, the highest utility, the shortest.

    A utility that is not known stands between helpful and harmful. Ties are broken by id, so that the choice does not
    depend on the order. None when none was kept.
    """
    kept = [r for r in rationales if r.status == "ok" and r.text and r.kind in COMPARING]
    return min(kept, key=_rank, default=None)


def _rank(r: Rationale) -> tuple[bool, int, int, float, int, str]:
    kind = [*COMPARING].index(r.kind)  # type: ignore[arg-type]
    votes, utility = r.verify.votes_for or 0, r.verify.utility or 0.0
    return r.label_visible, kind, -votes, -utility, len(r.text or ""), r.rationale_id
