"""adopt_contexts: answers that the source brought along, each with the condition it was written for (RPR, DailyDilemmas).

- stage: prompts
  path: rpr.jsonl
  columns: {prompt: prompt, candidates: [response_a, response_b], keep: [criteria_x, criteria_y]}
- stage: adopt_contexts
  columns: [{name: x, text: criteria_x}, {name: y, text: criteria_y}]
"""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from pipeline.errors import Rejected
from pipeline.records import Candidate
from pipeline.stage import Context, Example, Stage
from stages.contexts.conditions import ConditionColumns, Placement, context_id, group_id, sided


class AdoptContexts(Stage):
    """Each given candidate again, the first with the first condition and so on."""

    version: ClassVar[int] = 1

    columns: tuple[ConditionColumns, ...] = Field(min_length=2)
    placement: Placement = "system"

    async def process(self, example: Example[Candidate], ctx: Context) -> list[Candidate]:
        """One candidate for each condition. Raises Rejected: missing_<column>, other_number."""
        prompt, given = example.prompt, sorted(example.candidates, key=lambda c: c.sample_idx)
        if [c.sample_idx for c in given] != list(range(len(self.columns))):
            raise Rejected("other_number", f"{len(given)} answers were given for {len(self.columns)} conditions")
        conditions = [columns.read(prompt) for columns in self.columns]
        group = group_id(prompt, conditions)
        made = []
        for condition, candidate in zip(conditions, given, strict=True):
            contexts = condition.contexts(self.placement)
            held = (group, condition.name, 0, contexts)
            how = {"model": candidate.model, "policy_relation": "off", "gen_context_id": context_id(contexts[0])}
            made.append(sided(prompt, candidate.text, held, ctx, **how))
        return made
