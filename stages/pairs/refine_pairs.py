"""refine_pairs: answers, a pair of them, a judge of the pair, and another round by its critique (Anyprefer).

- {stage: generate, engine: policy, sampling: {n: 5}}
- stage: refine_pairs
  engine: policy
  sampling: {n: 5}
  judge: {engine: judge, template: advised, aspect: helpfulness}
  pair_judge: {engine: other_judge, reason: true}
  informative: {engine: other_judge}
  adviser: {engine: other_judge}
  rounds: 3
  until: 0.8
"""

from __future__ import annotations

from functools import cached_property
from typing import Any, ClassVar

import msgspec
from pydantic import Field

from pipeline.engine import Sampling
from pipeline.errors import PlanError
from pipeline.pair import Pair
from pipeline.prompts import Template
from pipeline.records import Candidate, Judgment, Prompt, Record, Reject
from pipeline.stage import Context, Example, Stage
from pipeline.tokenizer import check_tokenizer
from stages.judges.comparing import COMPARES
from stages.judges.critic import RATES, Critic, critique, ratings
from stages.judges.labels import label_columns
from stages.pairs.advice import Advice, Adviser, without_leaks
from stages.pairs.attempts import Attempt, Writer, best_of, best_worst
from stages.pairs.build import lineage, response_pair
from stages.pairs.gate import Bounds, Gate
from stages.pairs.pair_judge import PairCriteria, PairJudge, compared, informative, p_chosen, shown
from stages.pairs.truncation import TrainingLength, training_length


class RefinePairs(Stage):
    """At most one pair for each prompt: that of the best round. Its score is P(chosen is better), told blind in both
    orders, times the share of the criteria of `informative` that hold.

    engine, sampling, template: who answers, `sampling.n` a round; the template shows the advice of later rounds. The
    first round takes upstream candidates where there are any.
    judge: rates each answer (stages/judges/critic.py); best and worst make the pair. pair_judge, informative: judge the
    pair; best of another family than `judge`, or what is approved is its own work. They are never advised.
    adviser: makes advice for writer and judge of the critique; without one the critique itself is the writer's advice.
    A piece of advice that names a response or a label is left out (`advice_leaks`).
    until: score from which no further round is made. keep: answers of earlier rounds stay in the pool.
    chosen_min, min_margin: of ratings on [0, 1]. A chosen answer below chosen_min makes another round, by the judge's
    reasons, and no pair. Counts: `round_<n>:<outcome>`, `kept_of_round:<n>`, `no_pair:<reason>`, `no_advice`.
    """

    version: ClassVar[int] = 2
    template_variables: ClassVar[frozenset[str]] = frozenset(
        {"prompt", "response", "advice", "criterion", "critique", "least", *RATES, *COMPARES}
    )
    where_made: ClassVar[frozenset[type[Record]]] = frozenset({Candidate})

    engine: str
    sampling: Sampling = Sampling(n=5)
    template: str = "default"
    judge: Critic
    pair_judge: PairJudge
    informative: PairCriteria | None = None
    adviser: Adviser | None = None
    rounds: int = Field(3, ge=1, le=3)
    until: float = Field(0.8, ge=0, le=1)
    keep: bool = False
    min_margin: float = Field(0.1, ge=0, le=1)
    chosen_min: float | None = Field(None, ge=0, le=1)
    gate: Gate = Gate()

    def check(self) -> None:
        """Raises PlanError for blocks that do not fit together."""
        check_tokenizer(self.gate.tokenizer)
        for block in self._asked():
            block.check()
        if self.sampling.n < 2:
            raise PlanError(f"refine_pairs: sampling.n is {self.sampling.n}; a pair needs 2 answers or more")
        if self.keep and "advice" in self.judge._template.variables:
            raise PlanError(
                "refine_pairs: keep compares ratings of several rounds, and the judge's template takes advice that "
                "changes between them; choose one"
            )
        if self.rounds > 1 and not self.pair_judge.reason:
            raise PlanError(
                "refine_pairs: the reasons of the judge of the pair are what the next round is told; "
                "set pair_judge.reason, or rounds to 1"
            )

    def engines(self) -> tuple[str, ...]:
        """Who answers, who judges, who advises."""
        return tuple(dict.fromkeys((self.engine, *[block.engine for block in self._asked()])))

    def capabilities(self, alias: str) -> frozenset[str]:
        """What the form of each answer needs; `prefix` where the template begins the answer."""
        found = {"generate"}.union(*[b.capabilities(alias) for b in self._asked() if b.engine == alias])
        begins = alias == self.engine and self._writer.template.begins_answer
        return frozenset(found | ({"prefix"} if begins else set()))

    def templates(self) -> tuple[Template, ...]:
        """The writer's, and those of who judges and advises."""
        return (self._writer.template, *[block._template for block in self._asked()])

    def _asked(self) -> list[Critic | PairJudge | PairCriteria | Adviser]:
        return [block for block in (self.judge, self.pair_judge, self.informative, self.adviser) if block is not None]

    @cached_property
    def _length(self) -> TrainingLength | None:
        return training_length(self.gate.tokenizer, self.gate.max_length)

    @cached_property
    def _writer(self) -> Writer:
        return Writer.of(self.engine, self.template, self.sampling)

    async def process(self, example: Example[Candidate], ctx: Context) -> list[Pair | Candidate | Judgment | Reject]:
        """The pair, or the reject that says why there is none; the answers of later rounds; every judge's calls.

        Raises EngineError.
        """
        prompt, rows, made = example.prompt, list[Judgment](), list[Candidate]()
        advice, attempts = Advice(), list[Attempt]()
        pool: list[Candidate] = []
        for number in range(self.rounds):
            fresh = [c for c in example.candidates if c.policy_relation != "canary"] if number == 0 else []
            if not fresh:
                made += (fresh := await self._writer.written(prompt, advice.writer, number, ctx))
            pool = [*pool, *fresh] if self.keep else fresh
            rows += await self.judge.rated(prompt, fresh, ctx, advice=advice.judge)
            attempts.append(attempt := await self._attempt(prompt, pool, rows, number, ctx))
            ctx.count(f"round_{number + 1}:{attempt.outcome}")
            if (attempt.score or 0.0) >= self.until:
                break
            if number + 1 < self.rounds and attempt.critique.text:
                advice = await self._advice(prompt, attempt, rows, ctx) or advice
        return [*self._kept(prompt, attempts, ctx), *made, *rows]

    async def _attempt(
        self, prompt: Prompt, pool: list[Candidate], rows: list[Judgment], number: int, ctx: Context
    ) -> Attempt:
        """The pair of this round with its score; the calls go to `rows`."""
        low, high = self.judge.scale
        scores = {who: (value - low) / (high - low) for who, value in ratings(rows).items()}
        limits = Bounds(self.min_margin, self.chosen_min), self.gate
        found = best_worst(prompt, pool, scores, limits, self._length, ctx.run_seed)
        found = msgspec.structs.replace(found, number=number + 1)
        if found.refusal or found.arms is None:
            blamed = found.arms[:1] if found.arms and found.outcome == "chosen_low" else ()
            return msgspec.structs.replace(found, critique=critique(rows, *[c.candidate_id for c in blamed]))
        told = await compared(self.pair_judge, prompt, found.arms, ctx)
        rows += told
        who = [arm.candidate_id for arm in found.arms]
        p, share = p_chosen(told, who[0], who[1]), 1.0 if self.informative is None else None
        if self.informative is not None and p is not None:
            rows += (answers := await self.informative.answers(prompt, found.arms, ctx))
            share = informative(answers, self.informative.criteria)
        score = None if p is None or share is None else p * share
        return msgspec.structs.replace(found, p=p, informative=share, score=score, critique=critique(told, *who))

    async def _advice(self, prompt: Prompt, of: Attempt, rows: list[Judgment], ctx: Context) -> Advice | None:
        if self.adviser is None:
            return Advice(writer=of.critique.text)
        texts = shown(of.arms or ())
        a, b = (*[texts[who] for who in of.critique.shown], "")[:2]
        told, advice = await self.adviser.advised(prompt, (a, b, of.critique.text), of.number, ctx)
        rows += told
        if advice is None:
            ctx.count("no_advice")
            return None
        advice, leaks = without_leaks(advice, prompt.text)
        ctx.count("advice_leaks", leaks)
        return advice

    def _kept(self, prompt: Prompt, attempts: list[Attempt], ctx: Context) -> list[Pair | Reject]:
        best = best_of(attempts)
        if best is None or best.arms is None or best.p is None:
            last = attempts[-1]
            ctx.count(f"no_pair:{last.outcome}")
            return [Reject(prompt.prompt_id, ctx.job, "pair", last.outcome, last.detail)]
        ctx.count(f"kept_of_round:{best.number}")
        told: dict[str, Any] = {"round": best.number, "score": best.score, "informative": best.informative,
                                "rounds": [[a.outcome, a.score] for a in attempts]}  # fmt: skip
        return [response_pair(
            "refined", prompt, *best.arms, label_source="judge",
            chosen_score=best.ratings[0], rejected_score=best.ratings[1], score_gap=best.ratings[0] - best.ratings[1],
            pref_prob=best.p, **label_columns(best.p), selection=best.selection, n_judges=1,
            lineage=lineage("refine_pairs", self.version, ctx, [arm.candidate_id for arm in best.arms]),
            ext_json=msgspec.json.encode({"refined": told}, order="deterministic").decode(),
        )]  # fmt: skip
