"""aggregate: from raw judgments to pairs with calibrated labels, or a second look at labels that are there (spec C3, C4).

A pure function of stored rows and a calibration file: it can be run again with other rules and without a model.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import msgspec
from pydantic import Field, computed_field

from pipeline.engine import resolve_path
from pipeline.errors import PlanError
from pipeline.pair import Pair, Selection
from pipeline.records import Candidate, Judgment, Prompt, Record, Reject
from pipeline.stage import Context, Example, Stage
from pipeline.tokenizer import check_tokenizer
from stages.judges.calibration_file import Calibration, read_calibration
from stages.judges.evidence import judge_name
from stages.judges.labels import FLIP_CONFIDENCE, TIE_DELTA
from stages.judges.panel import Rules
from stages.judges.preferences import Preferences, prefer
from stages.judges.relabel import Bar, look_again
from stages.judges.scores import candidate_scores
from stages.judges.worth import distinct, unworthy, usable
from stages.pairs.build import lineage, pair_ids, response_pair, score_columns
from stages.pairs.gate import Arm, Bounds, Gate, Refusal, why_refused
from stages.pairs.pool import rated
from stages.pairs.select import Choice, Pool, Proposal, Scored, StrategyName, propose, rank
from stages.pairs.truncation import TrainingLength, training_length


class Aggregate(Stage):
    """Chooses pairs by what a jury of judges thinks; with `relabel` it decides what becomes of the pairs there are.

    judges: who counts, by job (`compare`) or by job and model (`recorded:gpt-4`); default: all. Checks always count.
    second_opinion: those of them that form, with the reward models, the signal that is independent of the jury. A label
    is only turned round when both are against it (`relabel`).
    calibration: a file made by `prefsynth calibrate`; its content is part of the recipe, its path is not. Without one
    all judges weigh the same.
    domain: the domain of the calibration whose weights count; default: those over all domains.
    both_orders: a comparison seen in one order counts for nothing.
    quorum: share of the asked judges' weight that must have answered.
    min_chosen: least mean score, on [0, 1], of the answer that is preferred; an answer that a check found wrong never is.
    cascade: jobs, the cheapest judge first: of those that were asked about a pair only the last is heard. `signals` says
    which it was, and the count `decided:<judge>` how often.
    ambiguous: pairs without a clear preference become rejects, or stay with `ambiguous` set.
    Pairs across a cycle of preferences are never made. `chosen_score` and `rejected_score` are what checks and ratings say
    of each answer by itself; who won a comparison has none. `margin_logit` is told where the judges are calibrated.
    Counts: `kept`, `flipped`, `ambiguous`, `passed` (left as they are: pairs of steps, under another prompt or for one
    person, of which judgments of this prompt's answers say nothing, and labels of a check where no check says otherwise),
    `refused:<reason>`, `dropped:<reason>` (candidates), `no_pair:<reason>`.
    """

    version: ClassVar[int] = 2

    not_identity: ClassVar[frozenset[str]] = frozenset({"calibration"})

    relabel: bool = False
    judges: tuple[str, ...] = ()
    second_opinion: tuple[str, ...] = ()
    calibration: str | None = None
    domain: str | None = None
    both_orders: bool = True
    exclude_same_family: bool = True
    quorum: float = Field(0.5, ge=0, le=1)
    cascade: tuple[str, ...] = ()
    tie_delta: float = Field(TIE_DELTA, ge=0, lt=0.5)
    flip_confidence: float = Field(FLIP_CONFIDENCE, gt=0, le=0.5)
    min_chosen: float | None = Field(None, ge=0, le=1)
    ambiguous: Literal["reject", "flag"] = "reject"
    strategy: StrategyName = "best_worst"
    max_pairs: int = Field(4, ge=1)
    k: float = Field(2.0, ge=0)  # max_vs_mu_ksigma: deviations below the mean
    m: int = Field(2, ge=1)  # top_bottom: how many of each end
    gate: Gate = Gate()

    @computed_field  # type: ignore[prop-decorator]
    @property
    def calibration_sha256(self) -> str | None:
        """Hash of the calibration's bytes, for the recipe."""
        return hashlib.sha256(self._file.read_bytes()).hexdigest() if self._file is not None else None

    def check(self) -> None:
        """Raises PlanError: no calibration there, one that knows no such domain, a tokenizer that does not exist."""
        check_tokenizer(self.gate.tokenizer)
        known = (
            {d for judge in self._calibration.judges.values() for d in judge.domains} if self._calibration else set()
        )
        if self.domain is not None and self.domain not in known:
            raise PlanError(
                f"aggregate: the calibration has no domain {self.domain!r}; it has {sorted(known) or 'none'}"
            )

    def needs(self) -> tuple[type[Record], ...]:
        """Candidates and judgments; pairs where they are to be labelled again."""
        return (Candidate, Judgment, Pair) if self.relabel else (Candidate, Judgment)

    def replaces(self) -> tuple[type[Record], ...]:
        """The pairs it labels again."""
        return (Pair,) if self.relabel else ()

    async def process(self, example: Example[Candidate | Judgment | Pair], ctx: Context) -> list[Pair | Reject]:
        """The pairs of one prompt, and a reject for each that is refused. Raises PlanError: a judge not calibrated."""
        candidates = usable(example.candidates, ctx.count)
        judgments: Sequence[Judgment] = example.judgments
        if self.judges:
            named = {*self.judges, *self.second_opinion}
            judgments = [j for j in judgments if j.mode == "tool" or j.job in named or judge_name(j) in named]
        if not self.relabel:
            candidates = distinct(candidates, judgments)
        found = prefer(candidates, judgments, self._rules, self.tie_delta, not self.exclude_same_family)
        if self.relabel:
            texts = {c.candidate_id: c.text for c in candidates}
            return [self._look_again(pair, example.prompt, found, texts, ctx) for pair in example.pairs]
        return self._choose(example.prompt, candidates, found, judgments, ctx)

    def _choose(
        self,
        prompt: Prompt,
        candidates: Sequence[Candidate],
        found: Preferences,
        judgments: Sequence[Judgment],
        ctx: Context,
    ) -> list[Pair | Reject]:
        bad, ratings = unworthy(judgments, self.min_chosen), candidate_scores(judgments)
        by_id = {c.candidate_id: c for c in candidates}
        scored = [Scored(c.candidate_id, c.text, float(found.scores[found.places[c.candidate_id]])) for c in candidates]
        pool = rank(scored, ctx.run_seed, prompt.prompt_id)
        proposals = propose(pool, Choice(self.strategy, self.k, self.m))
        if not proposals and len(pool.entries) > 1:
            proposals = [Proposal(0, len(pool.entries) - 1, 0.0)]  # all are equal: the gate says so
        kept: list[Pair] = []
        refused: list[Reject] = []
        for place, proposal in enumerate(proposals):
            if len(kept) == self.max_pairs:
                ctx.count("over_cap", len(proposals) - place)
                break
            arms = [by_id[pool.entries[at].candidate_id] for at in proposal[:2]]
            i, j = (found.places[c.candidate_id] for c in arms)
            label = found.columns(i, j, self.tie_delta)
            if why := self._why_refused(prompt, arms, label) or bad.get(arms[0].candidate_id):
                ctx.count(f"refused:{why[0]}")
                detail = f"{why[1]}; candidate {arms[0].candidate_id} over {arms[1].candidate_id}"
                pair_id = pair_ids(self.strategy, prompt, *arms)[0]
                refused.append(Reject(prompt.prompt_id, ctx.job, "pair", why[0], detail, pair_id))
                continue
            ctx.count("kept")
            if self.cascade:
                for signal in label["signals"]:
                    ctx.count(f"decided:{signal.judge}")
            label |= {"label_source": "verifier", "dominance": "checker"} if found.decided[i, j] else _source(found)
            label |= score_columns(rated(*[ratings.get(c.candidate_id) for c in arms]))
            kept.append(self._pair(prompt, arms, pool, proposal, label, ctx))
        if not kept:
            ctx.count(f"no_pair:{refused[0].reason if refused else _why_no_pool(candidates)}")
        return [*kept, *refused]

    def _why_refused(self, prompt: Prompt, arms: Sequence[Candidate], label: dict[str, Any]) -> Refusal | None:
        p = label.get("pref_prob")
        if p is None:
            return "not_compared", "no quorum of judges compared the two"
        if label["same_scc"]:
            return "cycle", "both are on a cycle of preferences"
        if p - 0.5 < self.tie_delta:
            return "tie", f"the direct comparison gives {p:.3f}"
        if label.get("ambiguous") and self.ambiguous == "reject":
            return "ambiguous", f"judges are divided: {label['strength']:.3f} ± {label['strength_std']:.3f} logits"
        sides = [Arm(c.text, c.finish_reason) for c in arms]
        return why_refused(prompt.messages, sides[0], sides[1], Bounds(), self.gate, self._length)

    def _pair(
        self, prompt: Prompt, arms: Sequence[Candidate], pool: Pool, p: Proposal, label: dict[str, Any], ctx: Context
    ) -> Pair:  # fmt: skip
        return response_pair(
            self.strategy, prompt, *arms,
            selection=Selection(
                self.strategy, len(pool.entries), p.chosen + 1, p.rejected + 1, pool.mean, pool.std,
                pool.z(p.chosen), pool.z(p.rejected), self._params_json,
            ),
            lineage=lineage("aggregate", self.version, ctx, [c.candidate_id for c in arms]),
            **label,
        )  # fmt: skip

    def _look_again(
        self, pair: Pair, prompt: Prompt, found: Preferences, texts: Mapping[str, str], ctx: Context
    ) -> Pair | Reject:
        """The pair with its label kept or turned round, or the reject that says why it is gone."""
        bar = Bar(self._rules, self.second_opinion, self.tie_delta, self.flip_confidence)
        what, new, detail = look_again(pair, prompt, found, texts, bar)
        if new is None or (what == "ambiguous" and self.ambiguous == "reject"):
            ctx.count(f"refused:{what}")
            return Reject(pair.prompt_id, ctx.job, "pair", what, detail, pair.pair_id)
        ctx.count(what)
        if what == "flipped":
            return msgspec.structs.replace(new, lineage=lineage("aggregate", self.version, ctx, [pair.pair_id]))
        return new

    @property
    def _file(self) -> Path | None:
        return resolve_path(self.calibration) if self.calibration is not None else None

    @functools.cached_property
    def _calibration(self) -> Calibration | None:
        return read_calibration(self._file) if self._file is not None else None

    @functools.cached_property
    def _rules(self) -> Rules:
        return Rules(self._calibration, self.both_orders, self.quorum, self.domain, self.cascade)

    @functools.cached_property
    def _params_json(self) -> str:
        names = {
            "strategy",
            "max_pairs",
            "k",
            "m",
            "judges",
            "tie_delta",
            "quorum",
            "both_orders",
            "domain",
            "min_chosen",
            "cascade",
        }
        fields = self.model_dump(mode="json", include={*names, "calibration_sha256"})
        return msgspec.json.encode(fields, order="sorted").decode()

    @functools.cached_property
    def _length(self) -> TrainingLength | None:
        return training_length(self.gate.tokenizer, self.gate.max_length)


def _source(found: Preferences) -> dict[str, Any]:
    rewards_only = all(judge.kind == "rm" for judge in found.panel.judges)
    return {"label_source": "rm" if rewards_only else "judge"}


def _why_no_pool(candidates: Sequence[Candidate]) -> str:
    return ("no_candidates", "single_candidate", "not_compared")[min(len(candidates), 2)]
