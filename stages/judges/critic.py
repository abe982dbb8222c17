"""A judge that says why: a rating with reasons, which are the critique that a revision or a new attempt begins from."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any, ClassVar, NamedTuple

from pydantic import field_validator

from pipeline.engine import Completion
from pipeline.errors import PlanError
from pipeline.records import Candidate, Judgment, Prompt
from pipeline.stage import Context
from stages.judges.aspects import ASPECTS, Aspect, described
from stages.judges.hygiene import as_data
from stages.judges.questions import JudgeCalls, Question
from stages.judges.verdicts import Reading, ScoreRule, read_score

RATES = frozenset(
    {"reference", "aspect", "role", "description", "scale", "scale_min", "scale_max", "na_allowed", "reason"}
)  # what a critic's template may use beside prompt and response
MOST = 4000  # characters of a critique that are shown to anybody


class Critic(JudgeCalls):
    """How a critic is asked: a template of `rate`, on one aspect. Its rows are of mode `meta`: what the author of an
    answer was told is no independent opinion on what came of it."""

    version: ClassVar[str] = "critic/2"  # its keys are not those of `rate`

    reason: bool = True
    aspect: Aspect = ASPECTS["helpfulness"]
    scale: tuple[int, int] = (1, 5)

    @field_validator("aspect", mode="before")
    @classmethod
    def _described(cls, value: Any) -> Any:
        """A name becomes the aspect of the library, so that its full text is part of the recipe."""
        return described([value])[0] if isinstance(value, str) else value

    def labels(self) -> tuple[str, ...]:
        """The scores."""
        return tuple(str(score) for score in range(self.scale[0], self.scale[1] + 1))

    def check(self) -> None:
        """Raises PlanError where scale and levels do not fit together."""
        super().check()
        low, high = self.scale
        if not 0 <= low < high <= 9 or len(self.aspect.levels) != high - low + 1:
            raise PlanError(
                f"critic: scale {low}–{high} needs scores of one digit and {high - low + 1} levels; "
                f"aspect {self.aspect.name} describes {len(self.aspect.levels)}"
            )

    @cached_property
    def _rule(self) -> ScoreRule:
        return ScoreRule(
            *self.scale, {score: float(score) for score in self.labels()}, self.label_mass_min, self.reason
        )

    @cached_property
    def _stage(self) -> str:
        return "rate"

    def read(self, completion: Completion, row: Judgment) -> Reading:
        """The score."""
        return read_score(completion, self._rule, self.aspect.na_allowed)

    async def rated(
        self, prompt: Prompt, candidates: Sequence[Candidate], ctx: Context, **variables: Any
    ) -> list[Judgment]:
        """A row for every call, in the order of the candidates. variables: further ones of its template.

        Raises EngineError.
        """
        frame = self.frame(prompt.prompt_id, "meta", ctx, self.scale)
        unfit, about = self.unfit(candidates, prompt, ctx), self.about(prompt) | self.aspect.variables(self.scale[0])
        questions = []
        for candidate in candidates:
            status, who = unfit.get(candidate.candidate_id, "ok"), (candidate.candidate_id,)
            messages = None
            if status == "ok":
                messages = self._template.render(response=as_data(candidate.text), **about, **variables)
            for k in range(self.samples):
                row = self.row(frame, who, aspect=self.aspect.name, sample_idx=k, status=status)
                questions.append(Question((row,), messages))
        return await self.answered(questions, ctx)


def ratings(rows: Sequence[Judgment]) -> dict[str, float]:
    """Mean rating of each candidate, as it stands on the judge's scale; none where no call was answered."""
    given: dict[str, list[float]] = {}
    for row in rows:
        if row.status == "ok" and row.value is not None and len(row.cand_ids) == 1:
            given.setdefault(row.cand_ids[0], []).append(row.value)
    return {who: sum(values) / len(values) for who, values in given.items()}


class Critique(NamedTuple):
    """What a judge said, fit to be quoted (hostile text, capped), and the candidates in the order they were shown in."""

    text: str = ""
    shown: tuple[str, ...] = ()


def critique(rows: Sequence[Judgment], *who: str) -> Critique:
    """The reasons of the first answered call about exactly these candidates; empty where there are none."""
    for row in rows:
        if row.status == "ok" and row.reasoning and {*row.cand_ids} == {*who}:
            return Critique(as_data(row.reasoning)[:MOST], row.cand_ids[::-1] if row.order else row.cand_ids)
    return Critique()
