"""rate_contexts: how well answers meet each trait of a persona, or each norm of a role (spec pairs 5.1, 8.2).

    - {stage: rate_contexts, engine: judge}

One call for each answer of a group, context with traits, and trait: 1 against it, 2 neither, 3 met. The row's `aspect` is
`<context id>/<trait>`; its mode `context_rate` keeps it out of scores that hold in general.
"""

from __future__ import annotations

from functools import cached_property
from typing import ClassVar

from pipeline.engine import Completion
from pipeline.records import Candidate, Judgment
from pipeline.stage import Context, Example, Stage
from stages.contexts.conditions import context_id, groups
from stages.judges.hygiene import as_data
from stages.judges.questions import JudgeCalls, Question
from stages.judges.verdicts import Reading, ScoreRule, read_score

LOW, HIGH = 1, 3


class RateContexts(JudgeCalls, Stage):
    """Rates the answers of a group, those of other conditions and the generic one too. Further fields: JudgeCalls."""

    version: ClassVar[int] = 2
    template_variables: ClassVar[frozenset[str]] = frozenset(
        {"prompt", "reference", "response", "context", "trait", "value", "reason"}
    )

    answers: tuple[str, ...] = ()  # jobs whose answers are meant; default: all

    def labels(self) -> tuple[str, ...]:
        """The scores."""
        return tuple(str(score) for score in range(LOW, HIGH + 1))

    @cached_property
    def _stage(self) -> str:
        return "rate_contexts"

    @cached_property
    def _rule(self) -> ScoreRule:
        return ScoreRule(LOW, HIGH, {label: float(label) for label in self.labels()}, self.label_mass_min, self.reason)

    def read(self, completion: Completion, row: Judgment) -> Reading:
        """The score."""
        return read_score(completion, self._rule)

    async def process(self, example: Example[Candidate], ctx: Context) -> list[Judgment]:
        """Judgments in the order of groups, contexts, answers, traits and samples. Raises EngineError."""
        prompt = example.prompt
        unfit, about = self.unfit(example.candidates, prompt, ctx), self.about(prompt)
        frame = self.frame(prompt.prompt_id, "context_rate", ctx, (float(LOW), float(HIGH)))
        questions: dict[str, Question] = {}
        for group in groups(example.candidates, self.answers).values():
            contexts = {context_id(side.contexts[0]): side.contexts[0] for side in group if side.contexts}
            for name, context in contexts.items():
                for side in group:
                    who = side.candidate.candidate_id
                    status = unfit.get(who, "ok")
                    for trait in context.attributes:
                        messages = None
                        if status == "ok":
                            messages = self._template.render(
                                context=as_data(context.text), response=as_data(side.candidate.text),
                                trait=as_data(trait.name), value=as_data(trait.value), **about,
                            )  # fmt: skip
                        for k in range(self.samples):
                            aspect = f"{name}/{trait.name}"
                            row = self.row(frame, (who,), aspect=aspect, sample_idx=k, status=status)
                            questions.setdefault(row.judgment_key, Question((row,), messages))
        return await self.answered(list(questions.values()), ctx)
