"""compare_contexts: which of two answers is better under each of their conditions, and under none (spec pairs 3, 17.3 V7).

    - {stage: compare_contexts, engine: judge}
    - {stage: compare_contexts, engine: judge, mode: parsed, samples: 3}   # an engine without log-probabilities

A row is one call, as in `compare`: value = P(cand_ids[0] is better), order 0 where it was shown first. `aspect` is the id of
the context that was shown, or `none`. The mode `context_compare` keeps these rows out of verdicts that hold in general.
"""

from __future__ import annotations

from functools import cached_property
from typing import ClassVar

from pipeline import ids
from pipeline.engine import Completion
from pipeline.pair import Context as Held
from pipeline.records import Candidate, Judgment
from pipeline.stage import Context, Example, Stage
from stages.contexts.conditions import NO_CONTEXT, Sided, context_id, groups, opposed
from stages.judges.hygiene import as_data
from stages.judges.options import BETTER, read_preference
from stages.judges.questions import JudgeCalls, Question
from stages.judges.verdicts import Reading, ScoreRule
from stages.pairs.select import same_text


class CompareContexts(JudgeCalls, Stage):
    """Asks each pair of answers of different conditions in both orders, under the contexts of either and under none.

    control: ask under none as well: what is better then is better anyhow. Further fields: JudgeCalls.
    """

    version: ClassVar[int] = 2
    template_variables: ClassVar[frozenset[str]] = frozenset(
        {"prompt", "reference", "response_a", "response_b", "context", "reason"}
    )

    control: bool = True
    answers: tuple[str, ...] = ()  # jobs whose answers are meant; default: all

    def labels(self) -> tuple[str, ...]:
        """A, B and T for a tie."""
        return tuple(BETTER)

    @cached_property
    def _stage(self) -> str:
        return "compare_contexts"

    @cached_property
    def _rule(self) -> ScoreRule:
        return ScoreRule(0, 1, BETTER, self.label_mass_min, self.reason)

    def read(self, completion: Completion, row: Judgment) -> Reading:
        """P(cand_ids[0] is better)."""
        return read_preference(completion, self._rule, first=row.order == 0, ties=True)

    async def process(self, example: Example[Candidate], ctx: Context) -> list[Judgment]:
        """Judgments in the order of groups, pairs, contexts and samples. Raises EngineError."""
        questions: dict[str, Question] = {}
        for group in groups(example.candidates, self.answers).values():
            for pair in opposed(group):
                if not same_text(pair[0].candidate.text, pair[1].candidate.text):
                    for question in self._questions(example, pair, ctx):
                        questions.setdefault(question.rows[0].judgment_key, question)
        return await self.answered(list(questions.values()), ctx)

    def _questions(self, example: Example[Candidate], pair: tuple[Sided, Sided], ctx: Context) -> list[Question]:
        prompt = example.prompt
        one, other = sorted([side.candidate for side in pair], key=lambda c: c.candidate_id)
        who = one.candidate_id, other.candidate_id
        unfit = self.unfit((one, other), prompt, ctx)
        status = next((unfit[name] for name in who if name in unfit), "ok")
        frame, about = self.frame(prompt.prompt_id, "context_compare", ctx), self.about(prompt)
        contexts: list[Held | None] = [*pair[0].contexts, *pair[1].contexts, *([None] if self.control else [])]
        made = []
        for context in contexts:
            name = context_id(context) if context else NO_CONTEXT
            for k in range(self.samples):
                bit = ids.seed(ctx.run_seed, "order", prompt.prompt_id, *who, frame.judge_id, name, k) & 1
                for order in (bit, 1 - bit):
                    messages = None
                    if status == "ok":
                        a, b = (one, other) if order == 0 else (other, one)
                        messages = self._template.render(
                            response_a=as_data(a.text), response_b=as_data(b.text),
                            context=as_data(context.text) if context else None, **about,
                        )  # fmt: skip
                    row = self.row(frame, who, order=order, aspect=name, sample_idx=k, status=status)
                    made.append(Question((row,), messages))
        return made
