"""Asking which of two candidates is better, in both orders: the form of a comparison, whoever asks (spec judges C3 J3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, ClassVar

from pydantic import field_validator

from pipeline import ids
from pipeline.engine import Completion
from pipeline.errors import PlanError
from pipeline.records import Judgment, Prompt, Status
from pipeline.stage import Context
from stages.judges.aspects import Aspect, described
from stages.judges.options import BETTER, FIRST, SECOND, read_preference
from stages.judges.questions import JudgeCalls, Question
from stages.judges.schedules import Duel
from stages.judges.verdicts import Reading, ScoreRule

COMPARES = frozenset(
    {"prompt", "reference", "response_a", "response_b", "aspect", "description", "ties", "reason"}
)  # what its templates may use


class Comparing(JudgeCalls):
    """How two candidates are compared. Further fields: JudgeCalls.

    samples: calls per pair and order. Mode parsed needs 3 or more: one word says little, so it is asked repeatedly.
    ties: the judge may call a tie.
    aspect: compares on this aspect alone (a name of the library, or {name, description, levels}); none: overall.
    """

    says: ClassVar[str] = "pairwise"  # mode of its rows

    ties: bool = True
    aspect: Aspect | None = None

    @field_validator("aspect", mode="before")
    @classmethod
    def _described(cls, value: Any) -> Any:
        """A name becomes the aspect of the library, so that its full text is part of the recipe."""
        return described([value])[0] if isinstance(value, str) else value

    def check(self) -> None:
        """Raises PlanError when answer form and sampling do not fit together."""
        super().check()
        if self.mode == "parsed" and self.samples < 3:
            raise PlanError(
                f"compare: mode parsed asks each order {self.samples} times; set samples to 3 or more, "
                "or use mode expected with an engine that can tell labels"
            )

    def labels(self) -> tuple[str, ...]:
        """A, B and T for a tie."""
        return tuple(BETTER) if self.ties else (FIRST, SECOND)

    @cached_property
    def _rule(self) -> ScoreRule:
        return ScoreRule(0, 1, {side: BETTER[side] for side in self.labels()}, self.label_mass_min, self.reason)

    def read(self, completion: Completion, row: Judgment) -> Reading:
        """P(cand_ids[0] is better)."""
        return read_preference(completion, self._rule, first=row.order == 0, ties=self.ties)

    @cached_property
    def _stage(self) -> str:
        return "compare"

    def questions(
        self, duels: Sequence[Duel], texts: Mapping[str, str], unfit: Mapping[str, Status], prompt: Prompt, ctx: Context
    ) -> list[Question]:
        """Both orders of each pair and sample; a hash bit says which comes first (C0.5)."""
        about = self.about(prompt) | {"ties": self.ties, "aspect": None, "description": None}
        if self.aspect is not None:
            about |= {"aspect": self.aspect.name.replace("_", " "), "description": self.aspect.description}
        frame = self.frame(prompt.prompt_id, self.says, ctx)
        questions = []
        for pair in duels:
            status = next((unfit[who] for who in pair if who in unfit), "ok")
            shown = [texts[who] for who in pair]
            for k in range(self.samples):
                bit = order_bit(ctx.run_seed, prompt.prompt_id, pair, frame.judge_id, k)
                for order in (bit, 1 - bit):
                    messages = None
                    if status == "ok":
                        a, b = shown if order == 0 else shown[::-1]
                        messages = self._template.render(response_a=a, response_b=b, **about)
                    aspect = self.aspect.name if self.aspect else None
                    row = self.row(frame, pair, order=order, aspect=aspect, sample_idx=k, status=status)
                    questions.append(Question((row,), messages))
        return questions


def order_bit(seed: int, prompt_id: str, pair: Duel, judge: str, sample_idx: int) -> int:
    """1 where the pair is shown the other way round first: by what is asked, never by worker or shard (C0.5)."""
    return ids.seed(seed, "order", prompt_id, *sorted(pair), judge, sample_idx) & 1


def settled(rows: Sequence[Judgment]) -> dict[Duel, float]:
    """P(first is better) of each pair, the mean of both orders, for the next round; absent unless both were answered."""
    values: dict[Duel, tuple[list[float], list[float]]] = {}
    for row in rows:
        if row.value is not None:
            values.setdefault((row.cand_ids[0], row.cand_ids[1]), ([], []))[row.order or 0].append(row.value)
    return {pair: sum(sum(v) / len(v) for v in both) / 2 for pair, both in values.items() if all(both)}
