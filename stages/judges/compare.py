"""compare: which of two candidates is better? Both orders of each pair; every call is a row (spec judges C3 J3).

    - {stage: compare, engine: judge}                                  # shortlist by earlier scores
    - {stage: compare, engine: judge, schedule: swiss, rounds: 3, aspect: clarity}
    - {stage: compare, engine: judge, schedule: pairs, mode: parsed, samples: 3}  # pairs of an upstream job, no log-probs
    - {stage: compare, engine: abacus, template: abacus, reason: true, ties: false, schedule: all}
    - {stage: compare, name: strong, engine: large, schedule: asked, unsure: {of: [compare], below: 0.2}}  # cascade

A row is one call: cand_ids in an order that is independent of what was shown, `order` 0 where cand_ids[0] was shown
first, value = P(cand_ids[0] is better) as that call told it. What both orders together say is left to `aggregate`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field

from pipeline.errors import PlanError
from pipeline.pair import Pair
from pipeline.records import Candidate, Judgment, Record
from pipeline.stage import PROBE, Context, Example, Stage
from stages.judges.comparing import COMPARES, Comparing, settled
from stages.judges.doubt import Standing, Unsure, left_open, standings
from stages.judges.hygiene import as_data
from stages.judges.schedules import (
    Duel,
    Results,
    Schedule,
    drawn,
    duel,
    every_duel,
    in_one_round,
    knockout,
    shortlist,
    swiss,
)
from stages.judges.scores import candidate_scores


class Compare(Comparing, Stage):
    """Asks for the better of two, each pair in both orders. Further fields: Comparing.

    schedule: which pairs. `shortlist`: among the two best and two worst by earlier scores, and neighbours closer than
    `close` (scores on [0, 1]); `all`: each against each; `knockout`, `swiss` (over `rounds`): by results; `pairs`: the
    arms of the pairs an upstream job made; `asked`: what earlier judges compared,
    the least sure first.
    unsure: only those pairs of the schedule that earlier judges left open, the least sure first (stages/judges/doubt.py);
    the others are counted (`left_as_sure`), and the calls that they would have cost (`calls_saved`).
    max_per_prompt: pairs per prompt, a hard limit; each costs 2 x samples calls. Those beyond it are counted. Behind
    `near_errors` the budget that it gave the prompt is a limit too.
    Equal texts are not compared.
    """

    version: ClassVar[int] = 2

    schedule: Literal["shortlist", "all", "knockout", "swiss", "pairs", "asked"] = "shortlist"
    rounds: int = Field(3, ge=1, le=64)
    close: float = Field(0.25, ge=0, le=1)
    max_per_prompt: int = Field(12, ge=1)
    unsure: Unsure | None = None

    template_variables: ClassVar[frozenset[str]] = COMPARES

    def check(self) -> None:
        """Raises PlanError when answer form, sampling and schedule do not fit together."""
        super().check()
        if self.unsure is not None and self.schedule in ("knockout", "swiss"):
            raise PlanError(
                f"compare: {self.schedule} needs the result of every pair; unsure goes with shortlist, all, pairs, asked"
            )

    def needs(self) -> tuple[type[Record], ...]:
        """Candidates; judgments where earlier ones count, pairs where they are given."""
        judged = self.unsure is not None or self.schedule in ("shortlist", "asked")
        return (Candidate, *((Judgment,) if judged else ()), *((Pair,) if self.schedule == "pairs" else ()))

    async def process(self, example: Example[Candidate | Judgment | Pair], ctx: Context) -> list[Judgment]:
        """Judgments of mode `pairwise`, two for each pair and sample. Raises EngineError."""
        texts = self._distinct(example, ctx)
        schedule = self._schedule(example, texts, ctx)
        unfit = self.unfit(example.candidates, example.prompt, ctx)
        rows: list[Judgment] = []
        results: Results = {}
        left = self.max_per_prompt if example.budget is None else min(self.max_per_prompt, example.budget)
        duels = next(schedule, None)
        while duels:
            if len(duels) > left:
                ctx.count("over_budget", len(duels) - left)
            questions = self.questions(duels[:left], texts, unfit, example.prompt, ctx)
            answered = await self.answered(questions, ctx)
            rows += answered
            results, left = settled(answered), max(0, left - len(duels))
            try:
                duels = schedule.send(results) if left else None
            except StopIteration:
                duels = None
        return rows

    @staticmethod
    def _distinct(example: Example[Any], ctx: Context) -> dict[str, str]:
        """Candidate id -> text as it is shown; of candidates with the same text the first id."""
        shown = {c.candidate_id: as_data(c.text) for c in sorted(example.candidates, key=lambda c: c.candidate_id)}
        by_text: dict[str, str] = {}
        for who, text in shown.items():
            by_text.setdefault(" ".join(text.split()), who)
        if len(by_text) < len(shown):
            ctx.count("same_text", len(shown) - len(by_text))
        return {who: shown[who] for who in by_text.values()}

    def _schedule(self, example: Example[Any], texts: Mapping[str, str], ctx: Context) -> Schedule:
        """The pairs that are to be asked about, before any limit."""
        if example.prompt.split == PROBE:  # it is one pair, and has no pair's row
            return in_one_round(every_duel(sorted(texts)))
        known = self._known(example) if self.unsure is not None or self.schedule == "asked" else {}
        schedule = self._named(example, texts, known, ctx)
        if self.unsure is None:
            return schedule
        duels = next(schedule)
        found = left_open(duels, known, self.unsure.below)
        ctx.count("left_as_sure", len(duels) - len(found))
        ctx.count("calls_saved", 2 * self.samples * (len(duels) - len(found)))
        return in_one_round(found)

    def _known(self, example: Example[Any]) -> dict[Duel, Standing]:
        return standings(example.candidates, example.judgments, self.unsure.of if self.unsure else ())

    def _named(
        self, example: Example[Any], texts: Mapping[str, str], known: Mapping[Duel, Standing], ctx: Context
    ) -> Schedule:
        if self.schedule == "asked":
            return in_one_round(left_open([d for d in known if d[0] in texts and d[1] in texts], known))
        if self.schedule == "pairs":
            arms = [(p.chosen_gen, p.rejected_gen) for p in example.pairs if p.chosen_gen and p.rejected_gen]
            duels = [duel(a.candidate_id, b.candidate_id) for a, b in arms if a.candidate_id != b.candidate_id]
            return in_one_round([d for d in dict.fromkeys(duels) if d[0] in texts and d[1] in texts])
        if self.schedule == "shortlist":
            scores = {who: score.value for who, score in candidate_scores(example.judgments).items() if who in texts}
            rated = {who: value for who, value in scores.items() if value is not None}
            return in_one_round(shortlist(rated, self.close))
        seeds = drawn(list(texts), ctx.run_seed, example.prompt.prompt_id)  # the same for every judge
        if self.schedule == "all":
            return in_one_round(every_duel(seeds))
        return knockout(seeds) if self.schedule == "knockout" else swiss(seeds, self.rounds)
