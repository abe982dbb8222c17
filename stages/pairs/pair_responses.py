"""Pairs of whole answers: candidates ranked by outcome and score, and a strategy that picks pairs from the pool."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import msgspec
from pydantic import Field

from pipeline.pair import Lineage, Pair, Selection
from pipeline.records import Candidate, Judgment, Prompt, Reject
from pipeline.stage import Context, Example, Stage
from pipeline.tokenizer import check_tokenizer
from stages.judges.labels import TOOL_LABEL, label_columns
from stages.judges.scores import candidate_scores
from stages.pairs.build import (
    dominance,
    judge_columns,
    lineage,
    pair_ids,
    response_pair,
    score_columns,
    score_rows,
    spreads,
)
from stages.pairs.difficulty import with_difficulty
from stages.pairs.gate import Arm, Bounds, Gate, Refusal, passed_filters, why_refused
from stages.pairs.pool import Combine, Entry, OutcomeRule, Rules, absolute_scores, usable
from stages.pairs.select import Choice, Pool, Proposal, Scored, StrategyName, propose, rank
from stages.pairs.truncation import TrainingLength, training_length


class PairResponses(Stage):
    """Picks chosen and rejected answers. Every pair it considers is kept, or refused with a reason that is counted.

    Rewards and `combine: rank` order a pool and say of no answer how good it is: such pairs have scores (1 and 0) only
    where a check decided.
    Counts: `kept`, `refused:<reason>` (with a reject row), `over_cap`, `dropped:<reason>` (candidates),
    `no_pair:<reason>` (prompts), `warned:deviations_of_fewer_than_20` (prompts; max_vs_mu_ksigma is best_worst there).
    """

    version: ClassVar[int] = 2

    strategy: StrategyName = "best_worst"
    min_margin: float = Field(0.1, ge=0, le=1)  # least score gap, on [0, 1]
    chosen_min: float | None = Field(None, ge=0, le=1)  # least score of the chosen arm
    max_pairs: int = Field(4, ge=1)  # per prompt; the widest gaps are kept
    k: float = Field(2.0, ge=0)  # max_vs_mu_ksigma: deviations below the mean
    m: int = Field(2, ge=1)  # top_bottom: how many of each end
    scores: tuple[str, ...] = ()  # judging jobs whose scores count; default: all. Outcomes always count
    weights: dict[str, float] = Field(default_factory=dict)  # aspect -> weight, 1 where not named
    combine: Combine = "auto"  # several judges: z over the pool (auto), rank over the pool, or plain mean
    outcome: OutcomeRule = "first"  # first: right beats wrong, then by score; only: right against wrong; ignore
    beta: float = Field(0.1, gt=0)  # of the DPO to come: for `difficulty`, where score_likelihood was run before
    min_judgments: int = Field(1, ge=0)  # valid judgments each arm needs
    gate: Gate = Gate()

    def check(self) -> None:
        """Raises PlanError for a tokenizer that does not exist."""
        check_tokenizer(self.gate.tokenizer)

    async def process(self, example: Example[Candidate | Judgment], ctx: Context) -> list[Pair | Reject]:
        """The pairs of one prompt, widest gap first, then the refused ones as rejects."""
        entries, dropped = self._entries(example)
        for reason, n in dropped.items():
            ctx.count(f"dropped:{reason}", n)
        scored = [Scored(e.candidate.candidate_id, e.candidate.text, e.score) for e in entries]
        pool = rank(scored, ctx.run_seed, example.prompt.prompt_id)
        if self.strategy == "max_vs_mu_ksigma" and len(pool.entries) < 20:
            ctx.count("warned:deviations_of_fewer_than_20")
        by_id = {e.candidate.candidate_id: e for e in entries}
        ranked = [
            msgspec.structs.replace(by_id[e.candidate_id], score=e.score) for e in pool.entries
        ]  # merged, rounded
        kept, refused = self._gated(example, pool, ranked, ctx)
        if not kept:
            why = refused[0].reason if refused else _why_no_pool(len(example.candidates), ranked, dropped)
            ctx.count(f"no_pair:{why}")
        return [*with_difficulty(kept, example.judgments, self.beta), *refused]

    def _entries(self, example: Example[Candidate | Judgment]) -> tuple[list[Entry], dict[str, int]]:
        judgments: Sequence[Judgment] = example.judgments
        if self.scores:
            judgments = [j for j in judgments if j.mode == "tool" or j.job in self.scores]
        return usable(example.candidates, candidate_scores(judgments, self.weights), self._rules)

    def _gated(
        self, example: Example[Any], pool: Pool, ranked: Sequence[Entry], ctx: Context
    ) -> tuple[list[Pair], list[Reject]]:
        kept: list[Pair] = []
        refused: list[Reject] = []
        proposals = self._proposals(pool, ranked)
        for place, proposal in enumerate(proposals):
            if len(kept) == self.max_pairs:
                ctx.count("over_cap", len(proposals) - place)
                break
            chosen, rejected = ranked[proposal.chosen], ranked[proposal.rejected]
            why = why_refused(
                example.prompt.messages, _arm(chosen), _arm(rejected), self._bounds, self.gate, self._length
            )  # fmt: skip
            if why is None:
                parents = chosen.candidate.candidate_id, rejected.candidate.candidate_id
                made = lineage("pair_responses", self.version, ctx, parents)
                kept.append(self._pair(example.prompt, pool, ranked, proposal, made))
                ctx.count("kept")
            else:
                refused.append(self._refused(example.prompt, chosen.candidate, rejected.candidate, why, ctx))
        return kept, refused

    def _refused(self, prompt: Prompt, chosen: Candidate, rejected: Candidate, why: Refusal, ctx: Context) -> Reject:
        ctx.count(f"refused:{why[0]}")
        detail = f"{why[1]}; candidate {chosen.candidate_id} over {rejected.candidate_id}"
        return Reject(
            prompt.prompt_id, ctx.job, "pair", why[0], detail, pair_ids(self.strategy, prompt, chosen, rejected)[0]
        )

    def _proposals(self, pool: Pool, ranked: Sequence[Entry]) -> list[Proposal]:
        n_right = sum(e.outcome is True for e in ranked) if self.outcome == "only" else None
        found = propose(pool, Choice(self.strategy, self.k, self.m, n_right))
        if not found and len(ranked) > 1 and pool.std == 0 and _common_outcome(ranked) is None:
            return [Proposal(0, len(ranked) - 1, 0.0)]  # all are equal: the gate says so
        return found

    def _pair(
        self, prompt: Prompt, pool: Pool, ranked: Sequence[Entry], p: Proposal, made: Lineage
    ) -> Pair:  # fmt: skip
        chosen, rejected = ranked[p.chosen], ranked[p.rejected]
        decided = self.outcome != "ignore" and chosen.outcome is True and rejected.outcome is False
        judged = judge_columns(chosen.by_judge, rejected.by_judge, spreads([e.by_judge for e in ranked]))
        return response_pair(
            self.strategy, prompt, chosen.candidate, rejected.candidate,
            label_source="verifier" if decided else "judge",
            **score_columns(absolute_scores(chosen, rejected, self._rules)),
            dominance="checker" if decided else dominance(chosen.detail, rejected.detail),
            scores=score_rows(chosen.detail.scores, rejected.detail.scores),
            selection=Selection(
                self.strategy, len(ranked), p.chosen + 1, p.rejected + 1, pool.mean, pool.std,
                pool.z(p.chosen), pool.z(p.rejected), self._params_json,
            ),
            filters=passed_filters(p.gap, self._bounds, self.gate),
            lineage=made,
            **(judged | label_columns(TOOL_LABEL) if decided else judged),
        )  # fmt: skip

    @functools.cached_property
    def _bounds(self) -> Bounds:
        return Bounds(self.min_margin, self.chosen_min, self.min_judgments)

    @functools.cached_property
    def _rules(self) -> Rules:
        return Rules(self.outcome, self.combine, self.weights)

    @functools.cached_property
    def _params_json(self) -> str:
        names = {
            "strategy",
            "min_margin",
            "chosen_min",
            "max_pairs",
            "k",
            "m",
            "combine",
            "outcome",
            "min_judgments",
            "scores",
            "weights",
        }
        return msgspec.json.encode(self.model_dump(mode="json", include=names), order="sorted").decode()

    @functools.cached_property
    def _length(self) -> TrainingLength | None:
        return training_length(self.gate.tokenizer, self.gate.max_length)


def _arm(entry: Entry) -> Arm:
    return Arm(entry.candidate.text, entry.candidate.finish_reason, entry.score, entry.detail.n_ok)


def _common_outcome(ranked: Sequence[Entry]) -> bool | None:
    outcomes = {e.outcome for e in ranked}
    return next(iter(outcomes)) if len(outcomes) == 1 else None


def _why_no_pool(n_candidates: int, ranked: Sequence[Entry], dropped: Mapping[str, int]) -> str:
    """Why a prompt had no pair that could have been considered."""
    if len(ranked) < 2 and dropped:
        return max(dropped, key=lambda r: (dropped[r], r))
    if len(ranked) == 1 and n_candidates > 1:
        return "identical_text"
    if not ranked:
        return "no_candidates"
    if len(ranked) == 1:
        return "single_candidate"
    return "all_right" if ranked[0].outcome else "all_wrong"
