"""A judge of the finished pair (Anyprefer): does the chosen answer really beat the rejected one, and is there anything to
learn from the difference? It is blind: it sees two responses in both orders, never which was chosen."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import ClassVar

from pydantic import Field

from pipeline.engine import Completion
from pipeline.records import Candidate, Judgment, Prompt
from pipeline.stage import Context
from stages.judges.comparing import Comparing, order_bit, settled
from stages.judges.criteria import Criterion, checklist_score
from stages.judges.hygiene import as_data
from stages.judges.options import YES_NO, read_yes_no
from stages.judges.questions import JudgeCalls, Question
from stages.judges.schedules import Duel, duel
from stages.judges.verdicts import Reading, ScoreRule

INFORMATIVE = (
    Criterion(text="The two responses differ in substance, not only in style, length or wording.", weight=2),
    Criterion(text="The better of the two responses is good enough to learn from.", weight=3),
    Criterion(text="The weaker of the two responses is an honest attempt at the same task.", weight=1),
)


class PairJudge(Comparing):
    """How it compares the two arms: a template of `compare`. Its rows are of mode `meta`, aspect `pair`."""

    version: ClassVar[str] = "pair/2"
    says: ClassVar[str] = "meta"


class PairCriteria(JudgeCalls):
    """Yes/no criteria of a pair, true of its two responses whichever was chosen. Rows: mode `meta`, aspect the criterion."""

    version: ClassVar[int] = 2

    criteria: tuple[Criterion, ...] = Field(INFORMATIVE, min_length=1)
    template: str = "informative"

    def labels(self) -> tuple[str, ...]:
        """Yes and No."""
        return tuple(YES_NO)

    @cached_property
    def _rule(self) -> ScoreRule:
        return ScoreRule(0, 1, YES_NO, self.label_mass_min, self.reason)

    @cached_property
    def _stage(self) -> str:
        return "refine_pairs"

    def read(self, completion: Completion, row: Judgment) -> Reading:
        """P(yes)."""
        return read_yes_no(completion, self._rule)

    async def answers(self, prompt: Prompt, arms: Sequence[Candidate], ctx: Context) -> list[Judgment]:
        """A row for every call; which arm is shown first is a hash bit. Raises EngineError."""
        pair = duel(arms[0].candidate_id, arms[1].candidate_id)
        texts = shown(arms)
        frame, about = self.frame(prompt.prompt_id, "meta", ctx), self.about(prompt)
        status = next(iter(self.unfit(arms, prompt, ctx).values()), "ok")
        questions = []
        for criterion in self.criteria:
            for k in range(self.samples):
                order = order_bit(ctx.run_seed, prompt.prompt_id, pair, frame.judge_id, k)
                a, b = (texts[who] for who in (pair if order == 0 else pair[::-1]))
                messages = None
                if status == "ok":
                    messages = self._template.render(response_a=a, response_b=b, criterion=criterion.text, **about)
                fields = {"aspect": criterion.text, "weight": criterion.weight, "sample_idx": k, "status": status}
                questions.append(Question((self.row(frame, pair, order=order, **fields),), messages))
        return await self.answered(questions, ctx)


def shown(candidates: Sequence[Candidate]) -> dict[str, str]:
    """Candidate id -> text as a judge sees it."""
    return {c.candidate_id: as_data(c.text) for c in candidates}


async def compared(judge: PairJudge, prompt: Prompt, arms: Sequence[Candidate], ctx: Context) -> list[Judgment]:
    """The rows of a comparison of the two arms, in both orders. Raises EngineError."""
    pair = duel(arms[0].candidate_id, arms[1].candidate_id)
    return await judge.answered(judge.questions([pair], shown(arms), judge.unfit(arms, prompt, ctx), prompt, ctx), ctx)


def p_chosen(rows: Sequence[Judgment], chosen: str, rejected: str) -> float | None:
    """P(chosen is better), the mean of both orders; None unless both were answered (spec judges C0.2)."""
    pair: Duel = duel(chosen, rejected)
    p = settled([row for row in rows if row.cand_ids == pair]).get(pair)
    return p if p is None or pair[0] == chosen else 1 - p


def informative(rows: Sequence[Judgment], criteria: Sequence[Criterion]) -> float | None:
    """Weighted share of the criteria that hold, on [0, 1]; None where too many are not answered (spec judges C3 J2)."""
    said = [
        [r.value for r in rows if r.aspect == c.text and r.status == "ok" and r.value is not None] for c in criteria
    ]
    score = checklist_score([(c.weight, sum(a) / len(a) if a else None) for c, a in zip(criteria, said, strict=True)])
    return None if score is None else score / 100
