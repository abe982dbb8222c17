"""How sure judges are of the pairs they compared, and what doubt is worth: who is asked again (spec judges C6, §14). Pure."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from pipeline.records import Candidate, Judgment
from stages.judges.panel import Rules
from stages.judges.preferences import prefer
from stages.judges.schedules import Duel
from stages.judges.swap import sigmoid

SURE = 0.5  # |P − ½| of what is certain


class Unsure(BaseModel):
    """Which pairs earlier judges left open. of: judges by job or `job:judge` (default: all there are). below: |P − ½|."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    of: tuple[str, ...] = ()
    below: float = Field(0.2, gt=0, le=0.5)


class Standing(NamedTuple):
    """What is known of one pair (the smaller id first). confidence: |P − ½| as far as it can be relied on, 0 where not.

    p: P(first is better) as judges tell it, None where they do not; right: what a check decided, None where none did.
    """

    confidence: float
    p: float | None
    right: bool | None


def standings(
    candidates: Sequence[Candidate], judgments: Sequence[Judgment], of: Collection[str] = ()
) -> dict[Duel, Standing]:
    """The pairs that judges were asked about. A confidence is 0 where no quorum answered in both orders, where the
    orders of one judge disagree, and where judges do; it is `SURE` where a check decides."""
    judgments = [j for j in judgments if j.mode == "tool" or not of or j.job in of or f"{j.job}:{j.judge_id}" in of]
    found = prefer(candidates, judgments, Rules(), 0.0)
    names, panel = list(found.places), found.panel
    asked: list[bool] = np.asarray(panel.asked.any(axis=0)).tolist()
    against = panel.deltas * found.opinion.log_odds < 0
    divided: list[bool] = np.asarray(((panel.consistent == 0) | against).any(axis=0)).tolist()
    chances = sigmoid(found.opinion.log_odds)
    standing: dict[Duel, Standing] = {}
    for at, (i, j) in enumerate(zip(*np.triu_indices(len(names), 1), strict=True)):
        if not asked[at]:
            continue
        p = None if np.isnan(chances[at]) else float(chances[at])
        right = bool(found.p[i, j] > 0.5) if found.decided[i, j] else None
        told = 0.0 if p is None or divided[at] else abs(p - 0.5)
        standing[names[i], names[j]] = Standing(SURE if right is not None else told, p, right)
    return standing


def left_open(duels: Sequence[Duel], known: Mapping[Duel, Standing], below: float = math.inf) -> list[Duel]:
    """Those of which nobody is sure, the least sure first; equals as they came. Nobody asked is nobody sure."""
    sure = {pair: known[pair].confidence if pair in known else 0.0 for pair in duels}
    return sorted([pair for pair in duels if sure[pair] < below], key=lambda pair: round(sure[pair], 12))


def neighbours_wanted(p: float, most: int = 8) -> int:
    """How many neighbours of a pair deserve a second look when its label has probability `p` (Skywork-Reward-V2):
    `most` where the label is no likelier than its opposite, else ⌈most · (1 − p)⌉."""
    return most if p <= 0.5 else math.ceil(round(most * (1 - p), 9))
