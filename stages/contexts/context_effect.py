"""context_effect: how much a context moves a model from one answer to the other, by log-probabilities (spec pairs 5.3).

    - {stage: context_effect, engine: policy}

effect = [lp(a | context) - lp(b | context)] - [lp(a) - lp(b)] in nats (AlignXplore's R_gen, NextQuill). A row holds
value = 1 / (1 + exp(-effect)) for cand_ids = (a, b), and the four sums in `raw_text`. It says what a context changes, and
nothing of which answer is better without one.
"""

from __future__ import annotations

import math
from typing import ClassVar, cast

import msgspec

from pipeline import ids
from pipeline.engine import ScoreRequest
from pipeline.errors import Rejected
from pipeline.pair import Context as Held
from pipeline.records import Candidate, Judgment
from pipeline.stage import Context, Example, Stage
from stages.contexts.conditions import Sided, context_id, groups, in_context, opposed

Sums = dict[tuple[str, str | None], float]  # candidate, context -> log-probability of the whole answer


class ContextEffect(Stage):
    """A row for each pair of answers of different conditions and each of their contexts. Nothing is generated."""

    version: ClassVar[int] = 1

    engine: str
    answers: tuple[str, ...] = ()  # jobs whose answers are meant; default: all

    def capabilities(self, alias: str) -> frozenset[str]:
        """`score`."""
        return frozenset({"score"})

    async def process(self, example: Example[Candidate], ctx: Context) -> list[Judgment]:
        """Judgments in the order of groups, pairs and contexts; `too_long` where one cannot be scored. Raises EngineError."""
        rows: dict[str, Judgment] = {}
        for group in groups(example.candidates, self.answers).values():
            for pair in opposed(group):
                contexts = {context_id(context): context for side in pair for context in side.contexts}
                sums = await self._sums(example, pair, contexts, ctx)
                for name in contexts:
                    row = self._row(pair, name, sums, ctx)
                    rows.setdefault(row.judgment_key, row)
        return list(rows.values())

    async def _sums(
        self, example: Example[Candidate], pair: tuple[Sided, Sided], contexts: dict[str, Held], ctx: Context
    ) -> Sums | None:
        asked = [(side.candidate, name) for side in pair for name in (*contexts, None)]
        requests = [
            ScoreRequest(candidate.text, in_context(example.prompt.messages, contexts[name] if name else None))
            for candidate, name in asked
        ]
        try:
            scores = await ctx.engines[self.engine].score(requests)
        except Rejected:  # an answer does not fit into the model's context
            return None
        return {(c.candidate_id, name): math.fsum(s) for (c, name), s in zip(asked, scores, strict=True)}

    def _row(self, pair: tuple[Sided, Sided], name: str, sums: Sums | None, ctx: Context) -> Judgment:
        who = cast(tuple[str, str], tuple(sorted(side.candidate.candidate_id for side in pair)))
        model = ctx.engine_models.get(self.engine) or self.engine
        value = told = None
        if sums is not None:
            in_it, without = ([sums[candidate, under] for candidate in who] for under in (name, None))
            effect = (in_it[0] - in_it[1]) - (without[0] - without[1])
            value = 1 / (1 + math.exp(-max(-700.0, min(700.0, effect))))
            told = msgspec.json.encode({"effect": effect, "in_context": in_it, "without": without}).decode()
        return Judgment(
            prompt_id=pair[0].candidate.prompt_id,
            judgment_key=ids.content_hash("judgment/1", "context_effect", self.version, model, *who, name),
            job=ctx.job,
            mode="context_effect",
            judge_id=model,
            cand_ids=who,
            status="too_long" if sums is None else "ok",
            value=value,
            value_mode=value,
            aspect=name,
            logprob_source="none" if sums is None else "raw",
            raw_text=told,
        )
