"""pair_contexts: pairs that hold under a condition which their prompt says (spec pairs 3-5, 7, 8, 15, 17.2).

    - {stage: pair_contexts, kind: context_reversal}      # behind answer_contexts or adopt_contexts, and compare_contexts

| kind | rows | needs beside the answers |
|---|---|---|
| context_reversal | groups of 2 (scenarios: 4): each wins in its context, neither without | compare_contexts (*) |
| cross_context | groups of 2: each answer wins under its own context | compare_contexts or context_effect |
| stance | groups of 2 of conditions called support and oppose | rate with an aspect of 3 levels (oppose, neutral, support) |
| value | groups of 2: each answer wins for who holds its value | nothing; what compare_contexts says must agree |
| counterfactual_context | groups of 2 over passages that differ in few words | answer_contexts by another engine, 3 samples |
| persona | the personal answer over the generic one | rate_contexts (traits) or compare_contexts; an effect |
| role_constitution | any two answers, by hard and soft norms | rate_contexts |
| rater | what one rater of the source chose | kept columns (`rater`) |

(*) or context_effect, and for the control verify: two right answers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property, partial
from typing import ClassVar, Literal

from msgspec.structs import replace
from pydantic import Field, model_validator

from pipeline import ids
from pipeline.errors import Rejected
from pipeline.pair import Lineage, Pair
from pipeline.records import Candidate, Judgment, Prompt, Record, Reject
from pipeline.stage import Context, Example, Stage
from pipeline.tokenizer import check_tokenizer
from stages.contexts.conditions import GENERIC, Sided, groups, opposed
from stages.pairs.build import CODE_VERSION, score_rows
from stages.pairs.chosen_side import chosen_refusal
from stages.pairs.context_evidence import Evidence
from stages.pairs.context_kinds import RULES, Draft, MirrorKind, Rules, mirrored, small_edit, solved, stances
from stages.pairs.context_rows import conditional_pair
from stages.pairs.gate import Arm, Bounds, Gate, Refusal, why_refused
from stages.pairs.personal_pairs import by_constitution, personal
from stages.pairs.raters import RaterColumns, choice
from stages.pairs.truncation import TrainingLength, training_length

Kind = MirrorKind | Literal["persona", "role_constitution", "rater"]
Proposal = Callable[[], Draft | list[Draft]]


class PairContexts(Stage):
    """Pairs of one kind. A group is kept whole or refused whole.

    min_confirm: least P(intended answer) under its context. control: how far from 1/2 it may be without one.
    min_margin: least gap by the rubric of persona and role, on [0, 1]. stance_aspect, min_stance: of stance.
    solver: of counterfactual_context, the job of the independent answers. rater: columns of the source.
    Counts: `kept` (rows), `dropped:wrong_answer` (candidates), `refused:<reason>` (a reject for each group or pair),
    `over_cap`, `duplicate`, `no_pair`.
    """

    version: ClassVar[int] = 2
    where_made: ClassVar[frozenset[type[Record]]] = frozenset({Judgment})

    kind: Kind
    min_confirm: float = Field(0.7, gt=0.5, le=1)
    control: float = Field(0.15, ge=0, lt=0.5)
    min_margin: float = Field(0.1, ge=0, le=1)
    stance_aspect: str = "stance"
    min_stance: float = Field(0.8, ge=0, le=1)
    solver: str | None = None
    rater: RaterColumns | None = None
    max_pairs: int = Field(4, ge=1)
    clean_chosen: bool = True
    answers: tuple[str, ...] = ()  # jobs whose answers are meant; default: all
    scores: tuple[str, ...] = ()  # judging jobs that count; default: all. Outcomes always count
    gate: Gate = Gate()

    @model_validator(mode="after")
    def _complete(self) -> PairContexts:
        if (self.kind == "rater") != (self.rater is not None):
            raise ValueError("kind rater needs the columns `rater`, and no other kind has them")
        if (self.kind == "counterfactual_context") != (self.solver is not None):
            raise ValueError(
                "kind counterfactual_context needs `solver`, the job of independent answers; no other kind does"
            )
        return self

    def check(self) -> None:
        """Raises PlanError for a tokenizer that does not exist."""
        check_tokenizer(self.gate.tokenizer)

    async def process(self, example: Example[Candidate | Judgment], ctx: Context) -> list[Pair | Reject]:
        """The rows of one prompt, group by group, then what was refused. Raises Rejected: missing_<column>."""
        kept: dict[str, Pair] = {}
        refused: list[Reject] = []
        judgments = [j for j in example.judgments if not self.scores or j.mode == "tool" or j.job in self.scores]
        evidence = Evidence(judgments)
        for who, propose in self._proposals(example, evidence, ctx):
            try:
                found = propose()
                rows = self._rows(example.prompt, found if isinstance(found, list) else [found], evidence, ctx)
            except Rejected as why:
                ctx.count(f"refused:{why.reason}")
                detail = f"{who}: {why.detail}"
                refused.append(Reject(example.prompt.prompt_id, ctx.job, "pair", why.reason, detail))
                continue
            if any(row.unordered_id in kept for row in rows):
                ctx.count("duplicate")
            elif len(kept) + len(rows) > self.max_pairs:
                ctx.count("over_cap", len(rows))
            else:
                kept |= {row.unordered_id: row for row in rows}
        ctx.count("kept" if kept else "no_pair", len(kept) or 1)
        return [*kept.values(), *refused]

    def _proposals(
        self, example: Example[Candidate | Judgment], evidence: Evidence, ctx: Context
    ) -> Iterator[tuple[str, Proposal]]:  # fmt: skip
        """Who stands against whom, and what tells whether it holds; in an order that does not depend on arrival."""
        if self.rater is not None:
            given = [c for c in example.candidates if c.ext_json is None]
            yield "given answers", partial(choice, example.prompt, given, self.rater, ctx.run_seed)
            return
        for sides in groups(example.candidates, self._jobs).values():
            group = [one for one in sides if self._sound(one, evidence)]
            ctx.count("dropped:wrong_answer", len(sides) - len(group))
            if self.kind == "role_constitution":
                for found in by_constitution(group, evidence, self.min_margin):
                    yield "norms", partial(_given, found)
                continue
            for a, b in opposed([one for one in group if one.candidate.job != self.solver]):
                who = f"{a.role} ({a.candidate.candidate_id}) and {b.role} ({b.candidate.candidate_id})"
                if self.kind == "persona" and GENERIC in (a.role, b.role):
                    own, generic = (a, b) if b.role == GENERIC else (b, a)
                    yield who, partial(personal, own, generic, evidence, self.min_margin, self.min_confirm)
                elif self.kind in RULES and GENERIC not in (a.role, b.role):
                    yield who, partial(self._mirrored, (a, b), group, evidence)

    def _sound(self, one: Sided, evidence: Evidence) -> bool:
        """Whether no check found the answer wrong; a passage that was changed has another answer than the reference."""
        return self.kind == "counterfactual_context" or evidence.outcome(one.candidate.candidate_id) is not False

    def _mirrored(self, pair: tuple[Sided, Sided], group: Sequence[Sided], evidence: Evidence) -> list[Draft]:
        """Both rows with what was measured. Raises Rejected."""
        rules, measured = self._rules, []
        if rules.stance is not None:
            measured.append(stances(pair, self.stance_aspect, rules.stance, evidence))
        if rules.edit_ratio is not None:
            measured.append(small_edit(pair, rules.edit_ratio))
        if rules.solvers:
            for side in pair:
                solvers = [one for one in group if one.candidate.job == self.solver and one.role == side.role]
                measured.append(solved(side, solvers, rules.solvers))
        return [d._replace(filters=(*measured, *d.filters)) for d in mirrored(pair, rules, evidence)]

    def _rows(self, prompt: Prompt, drafts: Sequence[Draft], evidence: Evidence, ctx: Context) -> list[Pair]:
        """The finished rows of a group. Raises Rejected where one of them does not pass the gate."""
        rows = []
        for draft in drafts:
            arms = [side.candidate.candidate_id for side in (draft.chosen, draft.rejected)]
            lineage = Lineage(
                ctx.run, "pair_contexts", str(self.version), CODE_VERSION, ctx.fingerprint, ctx.run_seed, tuple(arms)
            )
            told = score_rows(*[s.scores if (s := evidence.scores.get(arm)) else () for arm in arms])
            rows.append(conditional_pair(self.kind, prompt, draft, self._gate, lineage=lineage, scores=told))
        for row, draft in zip(rows, drafts, strict=True):
            if why := self._why_refused(row, draft):
                raise Rejected(*why)
        if len(rows) < 2:
            return rows
        group = ids.content_hash("group/1", *sorted(row.pair_id for row in rows))
        return [
            replace(row, group_id=group, group_role=draft.role, group_size=len(rows))
            for row, draft in zip(rows, drafts, strict=True)
        ]

    def _why_refused(self, row: Pair, draft: Draft) -> Refusal | None:
        chosen, rejected = (Arm(s.candidate.text, s.candidate.finish_reason) for s in (draft.chosen, draft.rejected))
        why = why_refused(row.prompt_messages, chosen, rejected, Bounds(), self._gate, self._length)
        return why or (chosen_refusal(chosen.text) if self.clean_chosen else None)

    @cached_property
    def _jobs(self) -> tuple[str, ...]:
        return (*self.answers, self.solver) if self.answers and self.solver else self.answers

    @cached_property
    def _rules(self) -> Rules:
        """The kind's, with what the config says."""
        rules = RULES[self.kind]
        return rules._replace(
            min_confirm=self.min_confirm,
            control=None if rules.control is None else self.control,
            stance=None if rules.stance is None else self.min_stance,
        )

    @cached_property
    def _gate(self) -> Gate:
        """The config's, with the length ratio of the kind where the config says nothing of it."""
        ratio = self.gate.length_ratio or (RULES[self.kind].length_ratio if self.kind in RULES else None)
        return self.gate.model_copy(update={"length_ratio": ratio})

    @cached_property
    def _length(self) -> TrainingLength | None:
        return training_length(self.gate.tokenizer, self.gate.max_length)


def _given(found: Draft | Rejected) -> Draft:
    if isinstance(found, Rejected):
        raise found
    return found
