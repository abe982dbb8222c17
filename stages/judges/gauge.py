"""Rows for what is measured of an answer without asking a judge in words: rewards, likelihoods, relevance."""

from __future__ import annotations

import math
from typing import NamedTuple

from pipeline import ids
from pipeline.errors import Rejected
from pipeline.records import Candidate, Judgment, Status

UNBOUNDED = (-math.inf, math.inf)


class Gauge(NamedTuple):
    """Who measures what. identity: hash of all that decides a value beside the model and the candidate."""

    job: str
    mode: str
    judge: str
    family: str | None
    identity: str

    def key(self, candidate: Candidate, aspect: str | None = None) -> str:
        """The judgment's key."""
        who = (candidate.prompt_id, candidate.candidate_id)
        return ids.content_hash("judgment/1", self.identity, self.judge, *who, self.mode, aspect)

    def row(
        self,
        candidate: Candidate,
        found: float | Rejected | None,
        aspect: str | None = None,
        bounds: tuple[float, float] = UNBOUNDED,
        n_out: int | None = None,
    ) -> Judgment:
        """The judgment. found: the value, or why there is none; None: it was too long to ask. n_out: tokens measured."""
        status, value = reading(found)
        return Judgment(
            prompt_id=candidate.prompt_id,
            judgment_key=self.key(candidate, aspect),
            job=self.job,
            mode=self.mode,
            judge_id=self.judge,
            judge_family=self.family,
            cand_ids=(candidate.candidate_id,),
            status=status,
            value=value,
            scale_min=bounds[0],
            scale_max=bounds[1],
            aspect=aspect,
            n_out=n_out,
        )


def reading(found: float | Rejected | None) -> tuple[Status, float | None]:
    """Status and value: what does not fit is `too_long`, another refusal or what is no number `parse_error`."""
    if found is None or (isinstance(found, Rejected) and found.reason in ("context_overflow", "too_long")):
        return "too_long", None
    if isinstance(found, Rejected) and found.reason == "no_answer":
        return "timeout", None
    if isinstance(found, Rejected) or not math.isfinite(found):
        return "parse_error", None
    return "ok", found
