"""pair_judgments: training data for the judge itself, from N judgments of the same input (Self-Rationalization).

    - {stage: rate, engine: judge, aspects: [correctness], reason: true, mode: parsed, samples: 8,
       sampling: {temperature: 1.0, max_tokens: 1024}, keep_prompts: true}
    - {stage: pair_judgments}                              # gold: what verify found
    - {stage: pair_judgments, gold: scores}                # those of the source (columns: candidate_score)
    - {stage: export, from: [pair_judgments], format: trl-dpo}

The prompt of a pair is what the judge was asked, word by word, which is why the judging stage has to keep it; the answers
are what it wrote. A judge with `mode: expected` is left out: there the written score is not what was stored.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from pydantic import Field

from pipeline import ids
from pipeline.pair import Generation, Lineage, Pair
from pipeline.records import Judgment, Message, Prompt, Record
from pipeline.stage import Context, Example, Stage
from stages.judges.recompute import all_hold
from stages.pairs.build import CODE_VERSION
from stages.pairs.judgment_pairs import (
    SINGLE,
    Evidence,
    Gold,
    Known,
    capped,
    distinct,
    is_right,
    judgment_pairs,
    same_input,
)
from stages.pairs.plain import plain_arms

_SOURCES: dict[Gold, str] = {"outcome": "verifier", "scores": "given", "pairs": "given", "majority": "votes"}


class PairJudgments(Stage):
    """Pairs of judgments of the same input by the same judge: the right score over one that is off.

    judges: jobs whose judgments are paired; default: all that keep their prompts.
    gold: where the right score comes from. `outcome`: a candidate that a check found right should get the highest score,
    a wrong one a score below the middle rather than one above it, and the right of two be preferred. `scores`: of the
    source, on the judge's scale. `pairs`: of the source or of people, for judgments of two responses. `majority`: the
    judge's own most frequent score, where at least `min_agreement` of its judgments agree (flag `majority_gold`). It alone
    says anything of the criteria of a checklist.
    min_gap: how far off a rejected score is at least, in points; of two responses and of yes or no any wrong one.
    recompute: a right score behind a false equation is not chosen, be it only quoted.
    max_pairs: per input.
    Counts: `kept`, `over_cap`, `no_pair:<no_gold | all_right | all_wrong | unread | false_equation>` (inputs).
    """

    version: ClassVar[int] = 3

    judges: tuple[str, ...] = ()
    gold: Gold = "outcome"
    min_agreement: float = Field(0.75, gt=0.5, le=1)
    min_gap: float = Field(2, gt=0)
    recompute: bool = False
    max_pairs: int = Field(3, ge=1)

    def needs(self) -> tuple[type[Record], ...]:
        """Judgments; pairs where they say who is right."""
        return (Judgment, Pair) if self.gold == "pairs" else (Judgment,)

    async def process(self, example: Example[Judgment | Pair], ctx: Context) -> list[Pair]:
        """The pairs of one prompt, input by input."""
        evidence = Evidence(example.judgments, [p for p in example.pairs if plain_arms(p, example.prompt)])
        asked = [j for j in example.judgments if not self.judges or j.job in self.judges]
        made: list[Pair] = []
        for everything in same_input(asked):
            gold = evidence.gold(everything, self.gold, self.min_agreement)
            group = distinct(everything)
            values = [j.value if j.status == "ok" else None for j in group]
            if gold is None or not (found := judgment_pairs(values, gold.score, self._gap(group[0]), gold.middle)):
                ctx.count(f"no_pair:{_why(values, gold)}")
                continue
            if self.recompute and not (found := [(c, r) for c, r in found if all_hold(group[c].raw_text or "")]):
                ctx.count("no_pair:false_equation")
                continue
            gaps = [abs((group[rejected].value or 0.0) - gold.score) for _, rejected in found]
            taken = capped(found, gaps, self.max_pairs, group[0].judgment_key)
            ctx.count("kept", len(taken))
            if len(taken) < len(found):
                ctx.count("over_cap", len(found) - len(taken))
            made += [self._pair(example.prompt, group[c], group[r], gold, ctx) for c, r in taken]
        return made

    def _gap(self, judgment: Judgment) -> float:
        graded = judgment.mode in SINGLE and judgment.scale_max - judgment.scale_min > 1
        return self.min_gap if graded else 0.0

    def _pair(self, prompt: Prompt, chosen: Judgment, rejected: Judgment, gold: Known, ctx: Context) -> Pair:
        asked = chosen.messages or ()
        arms = [ids.arm(ids.prompt_id(asked), None, j.raw_text or "") for j in (chosen, rejected)]
        span = chosen.scale_max - chosen.scale_min
        scores = [1 - abs((j.value or 0.0) - gold.score) / span for j in (chosen, rejected)]
        parents = (chosen.judgment_key, rejected.judgment_key)
        return Pair(
            prompt_id=prompt.prompt_id,
            base_prompt_id=prompt.base_prompt_id,
            pair_id=ids.pair_id("judgment", None, *arms),
            unordered_id=ids.unordered_id(None, *arms),
            kind=f"judgment_{self.gold}",
            level="judgment",
            split=prompt.split,
            prompt_messages=asked,
            chosen_messages=(Message("assistant", chosen.raw_text or ""),),
            rejected_messages=(Message("assistant", rejected.raw_text or ""),),
            label_source=_SOURCES[self.gold],
            chosen_score=scores[0],
            rejected_score=scores[1],
            score_gap=scores[0] - scores[1],
            agreement=gold.agreement,
            chosen_gen=Generation(parents[0], chosen.judge_id, n_tokens=chosen.n_out),
            rejected_gen=Generation(parents[1], rejected.judge_id, n_tokens=rejected.n_out),
            flags=("majority_gold",) if self.gold == "majority" else None,
            source=prompt.source,
            lineage=Lineage(
                ctx.run, "pair_judgments", str(self.version), CODE_VERSION, ctx.fingerprint, ctx.run_seed, parents
            ),
        )


def _why(values: Sequence[float | None], gold: Known | None) -> str:
    """Why an input makes no pair. Near misses count as neither right nor wrong."""
    known = [value for value in values if value is not None]
    if not known:
        return "unread"
    if gold is None:
        return "no_gold"
    return "all_right" if any(is_right(value, gold.score, gold.middle) for value in known) else "all_wrong"
