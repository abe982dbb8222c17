"""checklist: weighted yes/no criteria, one call per candidate and criterion; every call is a row (spec judges C3 J2).

    - stage: checklist
      engine: judge
      criteria: [Names the capital., {text: Insults the reader., weight: -3}]
    - {stage: checklist, engine: judge, criteria_column: rubric}   # source: columns: {keep: [rubric]}
    - {stage: checklist, engine: judge, author: judge}             # a model writes 4 to 20 criteria for each prompt

Rows: mode `criterion`, `aspect` the criterion, `weight` its weight, value = P(yes). `candidate_scores` makes 100 ·
Σ(weights met) / Σ|weights| of them. What an author writes is a row of mode `meta` without candidates.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import ClassVar

from pydantic import Field

from pipeline.engine import Completion, Sampling
from pipeline.errors import PlanError
from pipeline.prompts import Template
from pipeline.records import Candidate, Judgment, Status
from pipeline.stage import Context, Example, Stage
from stages.judges.authors import Author
from stages.judges.criteria import MOST, Criterion, read_criteria, written_criteria
from stages.judges.hygiene import as_data
from stages.judges.options import YES_NO, read_yes_no
from stages.judges.questions import JudgeCalls, Question
from stages.judges.refusals import declines
from stages.judges.rubrics import kept_column
from stages.judges.verdicts import Reading, ScoreRule


class _CriteriaAuthor(Author):
    """Writes the criteria of a prompt."""

    stage: ClassVar[str] = "checklist"
    writes: ClassVar[str] = "criteria"

    def status(self, text: str) -> Status:
        """Whether the reply holds criteria enough."""
        if len(written_criteria(text)) >= self.least:
            return "ok"
        return "refused" if declines(text) else "parse_error"


class Checklist(JudgeCalls, Stage):
    """Asks for every criterion whether a candidate meets it. Further fields: JudgeCalls.

    criteria, criteria_column, author: where the criteria come from, one of them. Given for all prompts; from a kept
    column of the source (a prompt without them is rejected); or written by the engine `author`.
    author_template, author_sampling: how they are asked for. min_criteria: fewer written ones are a failed call, and
    where all attempts fail, the prompt's candidates are not judged (counted as no_criteria).
    show_prompt: off, the judge sees criterion and response alone (MoReBench).
    """

    version: ClassVar[int] = 2

    criteria: tuple[Criterion, ...] = ()
    criteria_column: str | None = None
    author: str | None = None
    author_template: str = "write"
    author_sampling: Sampling = Sampling(temperature=0.7, max_tokens=1536)
    min_criteria: int = Field(4, ge=1, le=MOST)
    show_prompt: bool = True

    template_variables: ClassVar[frozenset[str]] = frozenset(
        {"prompt", "reference", "response", "criterion", "reason", "least", "most"}
    )

    def check(self) -> None:
        """Raises PlanError unless there is one source of criteria."""
        super().check()
        if bool(self.criteria) + bool(self.criteria_column) + bool(self.author) != 1:
            raise PlanError(
                "checklist: give the criteria, or criteria_column, or an author who writes them: one of the three"
            )
        if self._author is not None:
            self._author.check()

    def engines(self) -> tuple[str, ...]:
        """The judge, and who writes the criteria."""
        return tuple(dict.fromkeys((self.engine, self.author or self.engine)))

    def capabilities(self, alias: str) -> frozenset[str]:
        """As JudgeCalls for the judge; an author only writes."""
        return super().capabilities(alias) if alias == self.engine else frozenset({"generate"})

    def templates(self) -> tuple[Template, ...]:
        """The judge's, and the author's."""
        return (self._template, self._author._template) if self._author is not None else (self._template,)

    @cached_property
    def _author(self) -> _CriteriaAuthor | None:
        if self.author is None:
            return None
        return _CriteriaAuthor(
            engine=self.author, template=self.author_template, sampling=self.author_sampling,
            show_reference=self.show_reference, max_attempts=self.max_attempts, least=self.min_criteria,
        )  # fmt: skip

    def labels(self) -> tuple[str, ...]:
        """Yes and No."""
        return tuple(YES_NO)

    @cached_property
    def _rule(self) -> ScoreRule:
        return ScoreRule(0, 1, YES_NO, self.label_mass_min, self.reason)

    def read(self, completion: Completion, row: Judgment) -> Reading:
        """P(yes)."""
        return read_yes_no(completion, self._rule)

    async def process(self, example: Example[Candidate], ctx: Context) -> list[Judgment]:
        """Judgments of mode `criterion`. Raises EngineError, and Rejected for a prompt whose column holds no criteria."""
        if self.criteria_column is not None:
            return await self._judged(example, read_criteria(kept_column(example.prompt, self.criteria_column)), ctx)
        if self._author is None:
            return await self._judged(example, self.criteria, ctx)
        rows, reply = await self._author.written(example.prompt, ctx, most=MOST)
        if reply is None:
            ctx.count("no_criteria")
            return rows
        return [*rows, *await self._judged(example, written_criteria(reply), ctx)]

    async def _judged(self, example: Example[Candidate], criteria: Sequence[Criterion], ctx: Context) -> list[Judgment]:
        """The rows, in the order of candidates, criteria, samples."""
        prompt = example.prompt
        unfit, about = self.unfit(example.candidates, prompt, ctx), self.about(prompt)
        if not self.show_prompt:
            about["prompt"] = None
        frame = self.frame(prompt.prompt_id, "criterion", ctx)
        questions = []
        for candidate in example.candidates:
            status, who = unfit.get(candidate.candidate_id, "ok"), (candidate.candidate_id,)
            about["response"] = as_data(candidate.text) if status == "ok" else ""
            for criterion in criteria:
                messages = None
                if status == "ok":
                    messages = self._template.render(criterion=as_data(criterion.text), **about)
                for k in range(self.samples):
                    fields = {"aspect": criterion.text, "weight": criterion.weight, "sample_idx": k, "status": status}
                    questions.append(Question((self.row(frame, who, **fields),), messages))
        return await self.answered(questions, ctx)
