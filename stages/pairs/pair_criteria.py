"""pair_criteria: pairs by yes/no criteria that were judged: check functions (AutoIF) or a judge's questions (UltraIF).

- {stage: checklist, engine: judge, criteria_column: questions}   # or run_checks
- {stage: pair_criteria}
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import ClassVar

import msgspec
from pydantic import Field

from pipeline import ids
from pipeline.pair import Constraint, Lineage, Pair
from pipeline.records import Candidate, Judgment, Prompt, Reject
from pipeline.stage import Context, Example, Stage
from pipeline.tokenizer import check_tokenizer
from stages.pairs.build import CODE_VERSION, response_pair
from stages.pairs.criteria_matrix import Asked, Matrix, Rule, criteria_matrix, preferred
from stages.pairs.gate import Arm, Bounds, Gate, passed_filters, why_refused
from stages.pairs.truncation import TrainingLength, training_length


class PairCriteria(Stage):
    """Counts: `kept`, `refused:<reason>` (with a reject row), `over_cap`, `undecided` (candidates), and
    `no_pair:no_criteria` or `no_pair:no_contrast` (prompts).

    jobs: judging jobs whose criteria count, default all. rule: `all_kept` (the chosen arm keeps every criterion, the
    rejected one breaks one) or `dominance` (keeps all that the other keeps, and more). certain: P(yes) of a yes, and
    P(no) of a no; between them nothing is known, and a candidate of which something is not known is in no pair.
    """

    version: ClassVar[int] = 2

    jobs: tuple[str, ...] = ()
    rule: Rule = "all_kept"
    certain: float = Field(0.7, gt=0.5, le=1)
    max_pairs: int = Field(4, ge=1)  # per prompt
    gate: Gate = Gate()

    def check(self) -> None:
        """Raises PlanError for a tokenizer that does not exist."""
        check_tokenizer(self.gate.tokenizer)

    async def process(self, example: Example[Candidate | Judgment], ctx: Context) -> list[Pair | Reject]:
        """The pairs of one prompt in drawn order, then the refused ones."""
        candidates = {c.candidate_id: c for c in example.candidates if c.policy_relation != "canary"}
        matrix = criteria_matrix(example.judgments, self.jobs, self.certain)
        ctx.count("undecided", sum(None in matrix.kept.get(who, (None,)) for who in candidates))
        found = [(a, b) for a, b in preferred(matrix, self.rule) if a in candidates and b in candidates]
        if not found:
            ctx.count("no_pair:no_contrast" if matrix.criteria else "no_pair:no_criteria")
        ids.stream("pair_criteria", ctx.run_seed, example.prompt.prompt_id).shuffle(found)
        kept: list[Pair] = []
        refused: list[Reject] = []
        for place, (a, b) in enumerate(found):
            if len(kept) == self.max_pairs:
                ctx.count("over_cap", len(found) - place)
                break
            row = self._row(example.prompt, candidates[a], candidates[b], matrix, ctx)
            (kept if isinstance(row, Pair) else refused).append(row)  # type: ignore[arg-type]
            ctx.count("kept" if isinstance(row, Pair) else f"refused:{row.reason}")
        return [*kept, *refused]

    def _row(
        self, prompt: Prompt, chosen: Candidate, rejected: Candidate, matrix: Matrix, ctx: Context
    ) -> Pair | Reject:
        arms = [matrix.kept[c.candidate_id] for c in (chosen, rejected)]
        scores = [sum(map(bool, kept)) / len(kept) for kept in arms]
        by_code = all(row.judge_family == "tool" for row in matrix.rows.values())
        parents = (chosen.candidate_id, rejected.candidate_id)
        pair = response_pair(
            "conditionalised", prompt, chosen, rejected,
            label_source="checker" if by_code else "judge",
            chosen_score=scores[0], rejected_score=scores[1], score_gap=scores[0] - scores[1],
            dominance="strict_pareto",
            constraints=tuple([
                _constraint(asked, matrix.rows[asked], ok) for asked, *ok in zip(matrix.criteria, *arms, strict=True)
            ]),
            filters=passed_filters(None, Bounds(), self.gate),
            lineage=Lineage(ctx.run, "pair_criteria", str(self.version), CODE_VERSION, ctx.fingerprint, ctx.run_seed, parents),
        )  # fmt: skip
        better, worse = (Arm(c.text, c.finish_reason) for c in (chosen, rejected))
        if why := why_refused(prompt.messages, better, worse, Bounds(), self.gate, self._length):
            return Reject(prompt.prompt_id, ctx.job, "pair", why[0], why[1], pair.pair_id)
        return pair

    @cached_property
    def _length(self) -> TrainingLength | None:
        return training_length(self.gate.tokenizer, self.gate.max_length)


def _constraint(asked: Asked, judgment: Judgment, kept: Sequence[bool | None]) -> Constraint:
    """The criterion with what is needed to ask it again: the code of a check, or the question."""
    job, judge, text = asked
    code = judgment.tool_trace[0].args_json if judgment.tool_trace else None
    asked_json = code or msgspec.json.encode({"criterion": text, "weight": judgment.weight}).decode()
    family = "python" if code else "question"
    return Constraint(
        ids.content_hash("constraint/1", family, judge, text), family, text, asked_json, "original", True, True,
        kept[0], kept[1], judge, judgment.template_hash or "1", job,
    )  # fmt: skip
