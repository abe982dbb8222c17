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

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, ClassVar, Literal

from pydantic import Field, field_validator

from pipeline import ids
from pipeline.engine import Completion
from pipeline.errors import PlanError
from pipeline.pair import Pair
from pipeline.records import Candidate, Judgment, Prompt, Record, Status
from pipeline.stage import Context, Example, Stage
from stages.judges.aspects import Aspect, described
from stages.judges.doubt import Standing, Unsure, left_open, standings
from stages.judges.hygiene import as_data
from stages.judges.options import BETTER, FIRST, SECOND, read_preference
from stages.judges.questions import JudgeCalls, Question
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
from stages.judges.verdicts import Reading, ScoreRule


class Compare(JudgeCalls, Stage):
    """Asks for the better of two, each pair in both orders. Further fields: JudgeCalls.

    schedule: which pairs. `shortlist`: among the two best and two worst by earlier scores, and neighbours closer than
    `close` (scores on [0, 1]); `all`: each against each; `knockout`, `swiss` (over `rounds`): by results; `pairs`: the
    arms of the pairs an upstream job made; `asked`: what earlier judges compared.
    unsure: only those pairs of the schedule that earlier judges left open, the least sure first (stages/judges/doubt.py);
    the others are counted (`left_as_sure`), and the calls that they would have cost (`calls_saved`).
    max_per_prompt: pairs per prompt, a hard limit; each costs 2 x samples calls. Those beyond it are counted. Behind
    `near_errors` the budget that it gave the prompt is a limit too.
    samples: calls per pair and order. Mode parsed needs 3 or more: one word says little, so it is asked repeatedly.
    ties: the judge may call a tie.
    aspect: compares on this aspect alone (a name of the library, or {name, description, levels}); none: overall.
    Equal texts are not compared.
    """

    schedule: Literal["shortlist", "all", "knockout", "swiss", "pairs", "asked"] = "shortlist"
    rounds: int = Field(3, ge=1, le=64)
    close: float = Field(0.25, ge=0, le=1)
    max_per_prompt: int = Field(12, ge=1)
    ties: bool = True
    aspect: Aspect | None = None
    unsure: Unsure | None = None

    template_variables: ClassVar[frozenset[str]] = frozenset(
        {"prompt", "reference", "response_a", "response_b", "aspect", "description", "ties", "reason"}
    )

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
        if self.unsure is not None and self.schedule in ("knockout", "swiss"):
            raise PlanError(
                f"compare: {self.schedule} needs the result of every pair; unsure goes with shortlist, all, pairs, asked"
            )

    def needs(self) -> tuple[type[Record], ...]:
        """Candidates; judgments where earlier ones count, pairs where they are given."""
        judged = self.unsure is not None or self.schedule in ("shortlist", "asked")
        return (Candidate, *((Judgment,) if judged else ()), *((Pair,) if self.schedule == "pairs" else ()))

    def labels(self) -> tuple[str, ...]:
        """A, B and T for a tie."""
        return tuple(BETTER) if self.ties else (FIRST, SECOND)

    @cached_property
    def _rule(self) -> ScoreRule:
        return ScoreRule(0, 1, {side: BETTER[side] for side in self.labels()}, self.label_mass_min, self.reason)

    def read(self, completion: Completion, row: Judgment) -> Reading:
        """P(cand_ids[0] is better)."""
        return read_preference(completion, self._rule, first=row.order == 0, ties=self.ties)

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
            questions = self._questions(duels[:left], texts, unfit, example.prompt, ctx)
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
            return in_one_round([d for d in known if d[0] in texts and d[1] in texts])
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

    def _questions(
        self, duels: Sequence[Duel], texts: Mapping[str, str], unfit: Mapping[str, Status], prompt: Prompt, ctx: Context
    ) -> list[Question]:
        """Both orders of each pair and sample; a hash bit says which comes first (C0.5)."""
        about = self.about(prompt) | {"ties": self.ties, "aspect": None, "description": None}
        if self.aspect is not None:
            about |= {"aspect": self.aspect.name.replace("_", " "), "description": self.aspect.description}
        frame = self.frame(prompt.prompt_id, "pairwise", ctx)
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
