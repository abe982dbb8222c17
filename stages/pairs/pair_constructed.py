"""pair_constructed: pairs whose label follows from how the answers were made, confirmed by checks and judges.

    - {stage: pair_constructed, kind: delta_weak_strong, confirm: required}   # strong over weak, where judges agree
    - {stage: pair_constructed, kind: corrupted, name: pair_corrupted}
    - {stage: pair_constructed, kind: student_icl, min_probes: 40}

| kind | chosen over rejected | confirm |
|---|---|---|
| delta_weak_strong | answer of a strong model over one of a weak model (`policy_relation` of `generate`) | off |
| on_vs_off | the policy's own and another's answer; the label is the score | required |
| spin | gold over the policy's own (`gold`) | unless_contradicted |
| revision | revision over draft (`revise`) | required |
| contrast_prompt | p⁺ over p⁻ (`contrast`) | required, 0.7 of the votes |
| corrupted | answer over the same with an error (`corrupt`) | required |
| modified_instruction | answer over an answer to x′ (`modify_instruction`) | unless_contradicted |
| student_icl | draft a student learns more from (`student_gain`); the label is its accuracy | – |
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any, ClassVar, NamedTuple

import msgspec
from pydantic import Field, model_validator

from pipeline.errors import Rejected
from pipeline.pair import FilterResult, Lineage, Pair
from pipeline.records import Candidate, Judgment, Prompt, Record, Reject
from pipeline.stage import Context, Example, Stage
from pipeline.tokenizer import check_tokenizer
from stages.judges.scores import AspectScore, candidate_scores
from stages.pairs.build import CODE_VERSION, pair_ids, response_pair, score_columns, score_rows
from stages.pairs.chosen_side import chosen_refusal
from stages.pairs.confirmation import check_confirmed, evidence
from stages.pairs.constructed_labels import (
    Labelled,
    Scores,
    by_construction,
    by_gain,
    by_score,
    evidence_columns,
    within,
)
from stages.pairs.constructions import RULES, Confirm, Duel, Kind, Rules, duels, made_columns
from stages.pairs.distance import normalised_distance
from stages.pairs.gate import FINISHED, Arm, Bounds, Gate, passed_filters, why_refused
from stages.pairs.select import tie_key
from stages.pairs.truncation import TrainingLength, training_length


class Passed(NamedTuple):
    """A pair that passed, what was measured of it, and what checks and judges add to its row."""

    label: Labelled
    filters: tuple[FilterResult, ...]
    columns: dict[str, Any]


class PairConstructed(Stage):
    """Pairs of one kind. Every pair considered is kept, or refused with a reason that is counted.

    confirm: `off` takes the label as it is; `unless_contradicted` refuses it where checks or judges say otherwise;
    `required` also where none says anything. Default: the kind's. min_confirm: least share of the judges' votes.
    min_margin: least gap of a judge's scores, on [0, 1], that is no tie; of on_vs_off, of the pair.
    length_gap_tokens: most difference of the arms in generated tokens, where both are known (chat: 100).
    clean_chosen: the rules of stages/pairs/chosen_side.py. z, min_probes: of student_icl.
    Counts: `kept`, `refused:<reason>` (with a reject row), `duplicate` (the same two texts), `over_cap`, `no_pair`
    (prompts), `confirmed` and `not_confirmed` (of the pairs that judges or checks said anything about).
    """

    version: ClassVar[int] = 2
    where_made: ClassVar[frozenset[type[Record]]] = frozenset({Judgment})

    kind: Kind
    confirm: Confirm | None = None
    min_confirm: float | None = Field(None, ge=0, le=1)
    min_margin: float = Field(0.1, ge=0, le=1)
    max_pairs: int = Field(4, ge=1)
    length_gap_tokens: int | None = Field(None, ge=0)
    clean_chosen: bool = True
    scores: tuple[str, ...] = ()  # judging jobs whose scores count; default: all. Outcomes always count
    z: float = Field(1.64, ge=0)
    min_probes: int = Field(40, ge=1)
    gate: Gate = Gate()

    @model_validator(mode="after")
    def _label_needs_a_score(self) -> PairConstructed:
        if self.kind == "on_vs_off" and self.confirm == "off":
            raise ValueError("the label of on_vs_off is the score; confirm cannot be off")
        return self

    def check(self) -> None:
        """Raises PlanError for a tokenizer that does not exist."""
        check_tokenizer(self.gate.tokenizer)

    async def process(self, example: Example[Candidate | Judgment], ctx: Context) -> list[Pair | Reject]:
        """The pairs of one prompt, widest gap first and equals by hash, then the refused ones as rejects."""
        judgments = [j for j in example.judgments if not self.scores or j.mode == "tool" or j.job in self.scores]
        scores = candidate_scores(judgments)
        passed: list[Passed] = []
        refused: list[Reject] = []
        for duel in duels(self.kind, [c for c in example.candidates if _usable(c)]):
            try:
                passed.append(self._passed(example.prompt, duel, scores, judgments, ctx))
            except Rejected as why:
                refused.append(self._refused(example.prompt, duel, why, ctx))
        passed.sort(key=lambda p: (-round(p.label.gap or 0.0, 12), _key(example.prompt, p.label.duel, ctx)))
        distinct: dict[tuple[str, ...], Passed] = {}
        for p in passed:
            distinct.setdefault(tuple([c.text for c in p.label.duel]), p)
        kept = [self._pair(example.prompt, p, ctx) for p in [*distinct.values()][: self.max_pairs]]
        ctx.count("kept" if kept else "no_pair", len(kept) or 1)
        for what, n in (("duplicate", len(passed) - len(distinct)), ("over_cap", len(distinct) - len(kept))):
            if n:
                ctx.count(what, n)
        return [*kept, *sorted(refused, key=lambda r: (r.subject_id or "", r.detail))]

    def _passed(
        self, prompt: Prompt, duel: Duel, scores: Scores, judgments: Sequence[Judgment], ctx: Context
    ) -> Passed:
        """A pair that is kept. Raises Rejected with the reason of the first rule it breaks."""
        match self.kind:
            case "on_vs_off":
                label = by_score(duel, scores, self.min_margin)
            case "student_icl":
                label = by_gain(duel, scores, self.z, self.min_probes)
            case _:
                label = Labelled(duel, "construction")
        one, other = (c.candidate_id for c in label.duel)
        found = evidence(one, other, scores, judgments, self.min_margin)
        if found.decided or found.share is not None:
            ctx.count("confirmed" if found.decided or (found.share or 0.0) > 0.5 else "not_confirmed")
        filters = label.filters
        if label.source == "construction":
            check_confirmed(found, self._rules.confirm, self._rules.min_confirm)
            label = by_construction(duel, scores, found)
            said = 1.0 if found.decided else found.share
            filters = (FilterResult("confirmed", True, said, self._rules.min_confirm),) if self._asked else ()
        columns = evidence_columns(found) | {"scores": score_rows(*[_aspects(scores, name) for name in (one, other)])}
        return Passed(label, (*filters, *self._text_filters(prompt, label)), columns)

    def _text_filters(self, prompt: Prompt, label: Labelled) -> tuple[FilterResult, ...]:
        """What the two texts were measured to be. Raises Rejected."""
        chosen, rejected = label.duel
        why = why_refused(
            prompt.messages, Arm(chosen.text, chosen.finish_reason), Arm(rejected.text, rejected.finish_reason),
            Bounds(), self._gate, self._length,
        ) or (chosen_refusal(chosen.text) if self.clean_chosen else None)  # fmt: skip
        if why is not None:
            raise Rejected(*why)
        made = list(passed_filters(None, Bounds(), self._gate))
        if self.clean_chosen:
            made.append(FilterResult("clean_chosen", True))
        if (ratio := self._rules.edit_ratio) is not None:
            made.append(within("edit_ratio", normalised_distance(chosen.text, rejected.text), ratio))
        lengths = chosen.n_tokens, rejected.n_tokens
        if self.length_gap_tokens is not None and lengths[0] is not None and lengths[1] is not None:
            made.append(within("length_gap", float(abs(lengths[0] - lengths[1])), (0.0, float(self.length_gap_tokens))))
        return tuple(made)

    def _pair(self, prompt: Prompt, passed: Passed, ctx: Context) -> Pair:
        label = passed.label
        chosen, rejected = label.duel
        made = made_columns(chosen, rejected)
        return response_pair(
            self.kind, prompt, chosen, rejected,
            label_source=label.source,
            **score_columns(label.scores if label.absolute else None),
            filters=passed.filters,
            lineage=Lineage(
                ctx.run, "pair_constructed", str(self.version), CODE_VERSION, ctx.fingerprint, ctx.run_seed,
                (chosen.candidate_id, rejected.candidate_id),
            ),
            ext_json=msgspec.json.encode({"made": made}, order="deterministic").decode() if made else None,
            **passed.columns,
        )  # fmt: skip

    def _refused(self, prompt: Prompt, duel: Duel, why: Rejected, ctx: Context) -> Reject:
        ctx.count(f"refused:{why.reason}")
        detail = f"{why.detail}; candidates {duel[0].candidate_id} and {duel[1].candidate_id}"
        return Reject(prompt.prompt_id, ctx.job, "pair", why.reason, detail, pair_ids(self.kind, prompt, *duel)[0])

    @cached_property
    def _rules(self) -> Rules:
        """The kind's, with what the config says."""
        kind = RULES[self.kind]
        least = kind.min_confirm if self.min_confirm is None else self.min_confirm
        return kind._replace(confirm=self.confirm or kind.confirm, min_confirm=least)

    @cached_property
    def _asked(self) -> bool:
        return self._rules.confirm != "off"

    @cached_property
    def _gate(self) -> Gate:
        """The config's, with the similarity that the kind allows where the config says nothing of it."""
        most = self.gate.max_similarity or RULES[self.kind].max_similarity
        return self.gate.model_copy(update={"max_similarity": most})

    @cached_property
    def _length(self) -> TrainingLength | None:
        return training_length(self.gate.tokenizer, self.gate.max_length)


def _usable(candidate: Candidate) -> bool:
    return (
        candidate.policy_relation != "canary"
        and candidate.finish_reason in FINISHED
        and bool(candidate.text.strip())
    )  # fmt: skip


def _aspects(scores: Scores, candidate_id: str) -> tuple[AspectScore, ...]:
    return score.scores if (score := scores.get(candidate_id)) else ()


def _key(prompt: Prompt, duel: Duel, ctx: Context) -> bytes:
    return tie_key(ctx.run_seed, prompt.prompt_id, duel[0].candidate_id + duel[1].candidate_id)
