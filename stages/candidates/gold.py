"""gold: the reference answer of a prompt as a candidate, for SPIN pairs (gold over the policy's own) and back-translation.

    - {stage: gold}
    - {stage: generate, engine: policy, sampling: {n: 2}}
    - {stage: pair_constructed, kind: spin}

The reference must be an answer as it would be given to a user, not only its last number.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from pipeline import ids
from pipeline.records import Candidate, Prompt
from pipeline.stage import Context, Example, Stage


class Gold(Stage):
    """One candidate for each prompt with a reference of at least `min_chars`. Counts: `no_reference`, `short`."""

    version: ClassVar[int] = 1

    policy_relation: Literal["gold", "human"] = "gold"
    min_chars: int = 1

    async def process(self, example: Example[Prompt], ctx: Context) -> list[Candidate]:
        """One candidate, or none."""
        prompt = example.prompt
        text = (prompt.reference or "").strip()
        if len(text) < self.min_chars or not text:
            ctx.count("short" if text else "no_reference")
            return []
        return [
            Candidate(
                prompt_id=prompt.prompt_id,
                candidate_id=ids.content_hash("cand/1", prompt.prompt_id, ctx.job, "gold", text),
                text=text,
                job=ctx.job,
                policy_relation=self.policy_relation,
            )
        ]
