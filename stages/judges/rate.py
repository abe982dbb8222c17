"""rate: scores by a judge, one call per candidate, aspect and sample, or listwise; every call is a row (spec C3 J1, J4).

- {stage: rate, engine: judge, aspects: [correctness, clarity]}
- {stage: rate, engine: judge, aspects: [ultrafeedback], listwise_orders: 2}
- {stage: rate, engine: judge, aspects: [helpsteer], scale: [0, 4]}
- {stage: rate, engine: judge, template: prometheus, rubric_column: rubric, reason: true}
- stage: rate
  engine: judge
  scale: [0, 2]
  aspects: [{role: a pharmacist who answers patients, norms: {dosage: "Never names a dose without its source."}}]
"""

from __future__ import annotations

from functools import cached_property
from typing import Any, ClassVar

from pydantic import Field, field_validator

from pipeline.engine import Completion, Sampling
from pipeline.errors import PlanError
from pipeline.prompts import Template, load_template
from pipeline.records import Candidate, Judgment
from pipeline.stage import Context, Example, Stage
from stages.judges.aspects import ASPECTS, Aspect, described
from stages.judges.hygiene import as_data
from stages.judges.listwise import read_listed, shuffled
from stages.judges.questions import JudgeCalls, Question
from stages.judges.rubrics import kept_column, read_rubric
from stages.judges.verdicts import Reading, ScoreRule, read_score


class Rate(JudgeCalls, Stage):
    """Scores every candidate on every aspect. Further fields: JudgeCalls.

    aspects: names of the library or of sets of it (stages/judges/aspects.py: ultrafeedback, helpsteer), described ones
    {name, description, levels, na_allowed}, or the norms of a role {role, norms: {name: text}} (three levels).
    rubric_column: a kept column of the source with a rubric for each prompt, which takes the place of the aspects:
    Prometheus's {criteria, score1_description, …}. A prompt without one is rejected.
    scale: lowest and highest integer.
    listwise_orders: 0 shows each candidate alone; else all are shown in one prompt, in that many shuffled orders (2 or
    more: the place in a list biases), and get a written score each. A row says in `order` at which place its
    candidate stood, from 0.
    """

    aspects: tuple[Aspect, ...] = Field((ASPECTS["helpfulness"],), min_length=1)
    rubric_column: str | None = None
    scale: tuple[int, int] = (1, 5)
    listwise_orders: int = Field(0, ge=0, le=64)

    version: ClassVar[int] = 3
    template_variables: ClassVar[frozenset[str]] = frozenset(
        {
            "prompt",
            "response",
            "responses",
            "reference",
            "aspect",
            "role",
            "description",
            "scale",
            "scale_min",
            "scale_max",
            "na_allowed",
            "reason",
        }
    )

    @field_validator("aspects", mode="before")
    @classmethod
    def _described(cls, value: Any) -> Any:
        """Names become the aspects of the library, so that their full texts are part of the recipe."""
        return tuple(described(value)) if isinstance(value, (list, tuple)) else value

    def check(self) -> None:
        """Raises PlanError when scale, levels, labels and answer form do not fit together."""
        super().check()
        low, high = self.scale
        if low >= high:
            raise PlanError(f"rate: scale {low}–{high} has no width; give the lowest and the highest score")
        if self.mode == "expected" and not self.listwise_orders and (low < 0 or high > 9):
            raise PlanError(f"rate: mode expected needs scores of one digit, scale is {low}–{high}; use mode parsed")
        for aspect in self.aspects if self.rubric_column is None else ():
            if len(aspect.levels) != high - low + 1:
                raise PlanError(
                    f"rate: aspect {aspect.name} describes {len(aspect.levels)} levels, "
                    f"scale {low}–{high} has {high - low + 1}"
                )
        if len({a.name for a in self.aspects}) < len(self.aspects):
            raise PlanError("rate: two aspects have the same name; every aspect needs its own")
        self._check_listwise()

    def _check_listwise(self) -> None:
        shown = "responses" in self._template.variables
        if self.listwise_orders == 1:
            raise PlanError(
                "rate: listwise_orders 1 leaves the bias of one order; give 2 or more, or 0 for single calls"
            )
        if shown != bool(self.listwise_orders):
            raise PlanError(
                f"rate: template {self.template} shows {'all candidates' if shown else 'one candidate'}, "
                f"listwise_orders is {self.listwise_orders}; all are shown by the template listwise"
            )
        if self.listwise_orders and (self.structured or self.samples > 1):
            raise PlanError(
                "rate: listwise answers are several scores: neither structured nor samples; raise listwise_orders"
            )

    def capabilities(self, alias: str) -> frozenset[str]:
        """As JudgeCalls; listwise scores are read from text."""
        return frozenset({"generate"}) if self.listwise_orders else super().capabilities(alias)

    def templates(self) -> tuple[Template, ...]:
        """The template; `listwise` stands in for the default where lists are shown."""
        return (self._template,)

    @cached_property
    def _template(self) -> Template:
        listwise = self.listwise_orders and self.template == "default"
        return load_template("rate", "listwise" if listwise else self.template)

    @cached_property
    def _sampling(self) -> Sampling:
        if self.listwise_orders and self.sampling is None:
            return Sampling(temperature=0.0, max_tokens=2048 if self.reason else 512)
        return super()._sampling

    @cached_property
    def _rule(self) -> ScoreRule:
        low, high = self.scale
        return ScoreRule(low, high, {score: float(score) for score in self.labels()}, self.label_mass_min, self.reason)

    @cached_property
    def _na_allowed(self) -> frozenset[str]:
        return frozenset(aspect.name for aspect in self.aspects if aspect.na_allowed)

    def labels(self) -> tuple[str, ...]:
        """The scores; none where a list of them is read from text."""
        return () if self.listwise_orders else tuple(str(score) for score in range(self.scale[0], self.scale[1] + 1))

    def read(self, completion: Completion, row: Judgment) -> Reading:
        """The score of the row's candidate."""
        na_allowed = row.aspect in self._na_allowed and row.mode != "rubric"
        if row.mode == "listwise":
            return read_listed(completion, self._rule, (row.order or 0) + 1, na_allowed)
        return read_score(completion, self._rule, na_allowed)

    async def process(self, example: Example[Candidate], ctx: Context) -> list[Judgment]:
        """Judgments of mode `aspect`, `rubric` or `listwise`. Raises EngineError, and Rejected for a prompt without rubric."""
        aspects, mode = self.aspects, "aspect"
        if self.rubric_column is not None:
            rubric = read_rubric(kept_column(example.prompt, self.rubric_column), self.scale[1] - self.scale[0] + 1)
            aspects, mode = (rubric,), "rubric"
        if self.listwise_orders:
            return await self.answered(self._lists(example, aspects, ctx), ctx)
        return await self.answered(self._singles(example, aspects, mode, ctx), ctx)

    def _singles(
        self, example: Example[Candidate], aspects: tuple[Aspect, ...], mode: str, ctx: Context
    ) -> list[Question]:
        """The questions, in the order of candidates, aspects, samples."""
        prompt = example.prompt
        unfit, about = self.unfit(example.candidates, prompt, ctx), self.about(prompt)
        frame = self.frame(prompt.prompt_id, mode, ctx, self.scale)
        asked = [(aspect.name, aspect.variables(self.scale[0])) for aspect in aspects]
        questions = []
        for candidate in example.candidates:
            status, who = unfit.get(candidate.candidate_id, "ok"), (candidate.candidate_id,)
            response = as_data(candidate.text) if status == "ok" else ""
            for aspect, variables in asked:
                messages = None
                if status == "ok":
                    messages = self._template.render(response=response, **about, **variables)
                for k in range(self.samples):
                    row = self.row(frame, who, aspect=aspect, sample_idx=k, status=status)
                    questions.append(Question((row,), messages))
        return questions

    def _lists(self, example: Example[Candidate], aspects: tuple[Aspect, ...], ctx: Context) -> list[Question]:
        """The questions, in the order of aspects, orders; first the candidates that are not asked about."""
        prompt = example.prompt
        unfit, about = self.unfit(example.candidates, prompt, ctx), self.about(prompt)
        frame = self.frame(prompt.prompt_id, "listwise", ctx, self.scale)
        shown = {c.candidate_id: as_data(c.text) for c in example.candidates if c.candidate_id not in unfit}
        questions = [
            Question((self.row(frame, (who,), aspect=aspect.name, status=status),), None)
            for who, status in unfit.items()
            for aspect in aspects
        ]
        for aspect in aspects if shown else ():
            for k in range(self.listwise_orders):
                places = shuffled(list(shown), k, ctx.run_seed, prompt.prompt_id, frame.judge_id, aspect.name)
                variables = aspect.variables(self.scale[0])
                messages = self._template.render(responses=[shown[who] for who in places], **about, **variables)
                rows = [
                    self.row(frame, (who,), order=place, aspect=aspect.name, sample_idx=k)
                    for place, who in enumerate(places)
                ]
                questions.append(Question(tuple(rows), messages))
        return questions
