"""factors: which factors separate chosen from rejected? A dataset's hidden preferences, seen before it trains anyone (PROFILE).

    - {stage: factors}                       # all pairs upstream; leaves factors.md and factors.json
    - {stage: factors, from: [pair_responses], scores: true}   # judges' aspect scores as further factors

Kendall's tau of a factor over n pairs is (C - D) / (C + D + T): the chosen arm has more of it, less, or as much (PROFILE,
arXiv 2410.06965; spec judges 11a). 1: always more; 0: it tells nothing. An interval without 0 is a preference.
"""

from __future__ import annotations

import math
from typing import ClassVar

import msgspec

from pipeline.pair import Pair
from pipeline.records import Part, Record
from pipeline.stage import Context, Example, Stage, Summary
from stages.judges.factor_report import report, taus
from stages.judges.features import features

_SAME = 1e-9


class Gap(Part, frozen=True):
    """How much of a factor each arm has."""

    factor: str
    chosen: float
    rejected: float


class FactorRow(Record, frozen=True, kw_only=True):
    """The factors in which the arms of a pair differ."""

    pair_id: str
    kind: str
    gaps: tuple[Gap, ...]


class Factors(Stage):
    """A row for each pair. Counts: `factor:<kind>:<factor>:more|less|same`, of the chosen arm.

    scores: the aspects that judges scored count as factors, `rated:<aspect>`, where both arms were scored.
    """

    version: ClassVar[int] = 1

    scores: bool = False

    async def process(self, example: Example[Pair], ctx: Context) -> list[FactorRow]:
        """The rows of one prompt."""
        rows = []
        for pair in example.pairs:
            arms = [measured(pair, arm, self.scores) for arm in ("chosen", "rejected")]
            gaps = [Gap(name, value, arms[1][name]) for name, value in arms[0].items() if name in arms[1]]
            for gap in gaps:
                ctx.count(f"factor:{pair.kind}:{gap.factor}:{_sign(gap)}")
            differing = tuple([gap for gap in gaps if _sign(gap) != "same"])
            rows.append(FactorRow(prompt_id=pair.prompt_id, pair_id=pair.pair_id, kind=pair.kind, gaps=differing))
        return rows

    def finish(self, summary: Summary) -> dict[str, str]:
        """factors.json: every tau. factors.md: the same as tables, the strongest first."""
        found = taus(summary.counts[summary.job])
        plain = {
            kind: {
                name: {"tau": tau.tau, "low": tau.interval[0], "high": tau.interval[1], "n": tau.n,
                       "more": tau.more, "less": tau.less, "same": tau.same}
                for name, tau in by_name.items()
            }
            for kind, by_name in found.items()
        }  # fmt: skip
        text = msgspec.json.format(msgspec.json.encode(plain, order="deterministic"), indent=1).decode()
        return {"factors.json": f"{text}\n", "factors.md": report(summary.run, found)}


def measured(pair: Pair, arm: str, scores: bool) -> dict[str, float]:
    """The factors of one arm."""
    messages = pair.chosen_messages if arm == "chosen" else pair.rejected_messages
    found = features("\n\n".join([m.content for m in messages]))
    if scores:
        rated: dict[str, list[float]] = {}
        for score in pair.scores:
            if score.arm == arm and score.aspect:
                rated.setdefault(f"rated:{score.aspect}".replace("/", "."), []).append(score.normalized)
        found |= {name: math.fsum(values) / len(values) for name, values in rated.items()}
    return found


def _sign(gap: Gap) -> str:
    return "more" if gap.chosen > gap.rejected + _SAME else "less" if gap.chosen < gap.rejected - _SAME else "same"
