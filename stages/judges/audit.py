"""audit: are the judges and labels of a run healthy? Counts over all rows, cases to read, one page and one JSON.

The counts lie in the job's ledger; `measures` makes rates of them, which `prefsynth audit RUN --fail-on …` compares with
bounds. The rows are cases worth reading.
"""

from __future__ import annotations

from collections import Counter
from typing import Any, ClassVar, Literal

import msgspec

from pipeline.pair import Pair
from pipeline.records import Candidate, Judgment, Rationale, Record
from pipeline.stage import PROBE, Context, Example, Stage, Summary
from stages.judges.audit_page import audit_page
from stages.judges.health import Health, canary_kind, judge_health, pair_health, probe_health
from stages.judges.measures import measures
from stages.pairs.plain import plain_arms


class AuditCase(Record, frozen=True, kw_only=True):
    """Something to look at. what: canary_won, order_flipped, against_outcome, probe_missed."""

    what: str
    judge: str
    cand_ids: tuple[str, ...]
    detail: str


class Audit(Stage):
    """Health of judges and labels; leaves audit.json and audit.html beside its rows. Counts: see stages/judges/health.py."""

    version: ClassVar[int] = 2
    planted: ClassVar[Literal["", "makes", "meets"]] = "meets"
    where_made: ClassVar[frozenset[type[Record]]] = frozenset({Candidate, Pair, Rationale})

    async def process(self, example: Example[Candidate | Judgment | Pair | Rationale], ctx: Context) -> list[AuditCase]:
        """The cases of one prompt."""
        if example.prompt.split == PROBE:
            better = msgspec.json.decode(example.prompt.ext_json or "{}")[PROBE]
            return self._told(probe_health(better, example.candidates, example.judgments), Counter(), example, ctx)
        about = [pair for pair in example.pairs if plain_arms(pair, example.prompt)]
        found = judge_health(example.candidates, example.judgments, about)
        canaries = [c.candidate_id for c in example.candidates if canary_kind(c)]
        return self._told(found, pair_health(example.pairs, example.rationales, canaries), example, ctx)

    @staticmethod
    def _told(found: Health, more: Counter[str], example: Example[Any], ctx: Context) -> list[AuditCase]:
        for name, n in (found.counts + more).items():
            ctx.count(name, n)
        prompt_id = example.prompt.prompt_id
        return [
            AuditCase(prompt_id=prompt_id, what=c.what, judge=c.judge, cand_ids=c.cand_ids, detail=c.detail)
            for c in found.cases
        ]

    def finish(self, summary: Summary) -> dict[str, str]:
        """audit.json: the measures. audit.html: the same to look at, with what every job left out."""
        counts = summary.counts[summary.job]
        found = measures(counts)
        text = msgspec.json.format(msgspec.json.encode(found), indent=1).decode()
        return {"audit.json": f"{text}\n", "audit.html": audit_page(summary, found)}
