"""pair_joint: which of two answers to different prompts is the better one for its own prompt (DOVE; spec pairs 2).

    - stage: prompts
      path: items.jsonl    # two items a line
      columns: {prompt: instruction, candidates: [response], keep: [other_instruction, other_response]}
    - {stage: pair_joint, engine: judge, other_prompt: other_instruction, other_response: other_response}

A shard holds a slice of the prompts, and no stage sees two of them: who stands against whom is the source's to say.
Labelled joint rows come in by `columns: {prompt: …, chosen: …, rejected_prompt: …, rejected: …}`.
"""

from __future__ import annotations

from functools import cached_property
from typing import ClassVar, NamedTuple

from pydantic import Field

from pipeline import ids
from pipeline.engine import Completion
from pipeline.errors import Rejected
from pipeline.pair import FilterResult, Lineage, Pair
from pipeline.records import Candidate, Judgment, Message, Reject, Status
from pipeline.stage import Context, Example, Stage
from stages.judges.hygiene import as_data, prompt_text
from stages.judges.options import BETTER, read_preference
from stages.judges.questions import JudgeCalls, Question
from stages.judges.rubrics import kept_column
from stages.judges.verdicts import Reading, ScoreRule
from stages.pairs.build import CODE_VERSION
from stages.pairs.gate import Arm, Gate, text_refusal
from stages.pairs.joint_pairs import joint_pair


class Item(NamedTuple):
    """A prompt and its answer."""

    messages: tuple[Message, ...]
    candidate: Candidate


class PairJoint(JudgeCalls, Stage):
    """One pair for each answer of the source, or a reject: `no_verdict` (an order is missing), `orders_disagree`, `tie`,
    `lengths` and the gate's. Every call is a row of `judgments`. Further fields: JudgeCalls.

    max_length_gap: in words, between the prompts and between the answers; a model learns from joint rows how likely a
    prompt is as well, so that both should be alike. Counts: `kept`, `refused:<reason>`.
    """

    version: ClassVar[int] = 2
    template_variables: ClassVar[frozenset[str]] = frozenset(
        {"prompt_a", "response_a", "prompt_b", "response_b", "reason"}
    )

    other_prompt: str
    other_response: str
    max_length_gap: int = Field(100, ge=0)
    gate: Gate = Gate()

    def labels(self) -> tuple[str, ...]:
        """A, B and T for a tie."""
        return tuple(BETTER)

    @cached_property
    def _stage(self) -> str:
        return "pair_joint"

    @cached_property
    def _rule(self) -> ScoreRule:
        return ScoreRule(0, 1, BETTER, self.label_mass_min, self.reason)

    def read(self, completion: Completion, row: Judgment) -> Reading:
        """P(the source's own answer is better)."""
        return read_preference(completion, self._rule, first=row.order == 0, ties=True)

    async def process(self, example: Example[Candidate], ctx: Context) -> list[Pair | Judgment | Reject]:
        """Pairs, judgments, rejects. Raises EngineError, and Rejected: missing_<column>."""
        prompt = example.prompt
        asked = (Message("user", str(kept_column(prompt, self.other_prompt))),)
        said = str(kept_column(prompt, self.other_response))
        other_id = ids.prompt_id(asked)
        name = ids.content_hash("cand/1", other_id, ctx.job, said)
        other = Item(asked, Candidate(other_id, name, said, ctx.job))
        made: list[Pair | Judgment | Reject] = []
        for candidate in example.candidates:
            own = Item(prompt.messages, candidate)
            try:
                self._check(own, other)
                judgments = await self.answered(self._questions(example, own, other, ctx), ctx)
                made += judgments
                made.append(self._pair(example, (own, other), judgments, ctx))
                ctx.count("kept")
            except Rejected as why:
                ctx.count(f"refused:{why.reason}")
                made.append(Reject(prompt.prompt_id, ctx.job, "pair", why.reason, why.detail, candidate.candidate_id))
        return made

    def _check(self, own: Item, other: Item) -> None:
        arms = [Arm(item.candidate.text, item.candidate.finish_reason) for item in (own, other)]
        if why := text_refusal(arms[0], arms[1], self.gate):
            raise Rejected(*why)
        for texts in ([prompt_text(i.messages) for i in (own, other)], [arm.text for arm in arms]):
            if (gap := abs(len(texts[0].split()) - len(texts[1].split()))) > self.max_length_gap:
                raise Rejected("lengths", f"{gap} words of difference, at most {self.max_length_gap} may be")

    def _questions(self, example: Example[Candidate], own: Item, other: Item, ctx: Context) -> list[Question]:
        unfit: dict[str, Status] = self.unfit([own.candidate, other.candidate], example.prompt, ctx)
        status = next(iter(unfit.values()), "ok")
        frame = self.frame(example.prompt.prompt_id, "joint", ctx)
        who = own.candidate.candidate_id, other.candidate.candidate_id
        made = []
        for k in range(self.samples):
            bit = ids.seed(ctx.run_seed, "order", *who, frame.judge_id, k) & 1
            for order in (bit, 1 - bit):
                a, b = (own, other) if order == 0 else (other, own)
                messages = self._template.render(
                    prompt_a=prompt_text(a.messages), response_a=as_data(a.candidate.text),
                    prompt_b=prompt_text(b.messages), response_b=as_data(b.candidate.text), reason=self.reason,
                )  # fmt: skip
                row = self.row(frame, who, order=order, sample_idx=k, status=status)
                made.append(Question((row,), messages if status == "ok" else None))
        return made

    def _pair(
        self, example: Example[Candidate], items: tuple[Item, Item], judgments: list[Judgment], ctx: Context
    ) -> Pair:  # fmt: skip
        orders = [[j.value for j in judgments if j.order == order and j.value is not None] for order in (0, 1)]
        if not all(orders):
            raise Rejected("no_verdict", "the judge did not answer in both orders")
        first, second = (sum(values) / len(values) for values in orders)
        p = (first + second) / 2
        if (first - 0.5) * (second - 0.5) <= 0:
            tie = first == second == 0.5
            raise Rejected("tie" if tie else "orders_disagree", f"P(own is better) is {first:.3f} and {second:.3f}")
        better, worse = items if p > 0.5 else items[::-1]
        p = max(p, 1 - p)
        return joint_pair(
            "joint", example.prompt, (better, worse),
            label_source="judge", chosen_score=p, rejected_score=1 - p, score_gap=2 * p - 1, position_consistent=True,
            n_judges=1, filters=(FilterResult("both_orders", True, p, 0.5),),
            lineage=Lineage(
                ctx.run, "pair_joint", str(self.version), CODE_VERSION, ctx.fingerprint, ctx.run_seed,
                (better.candidate.candidate_id, worse.candidate.candidate_id),
            ),
        )  # fmt: skip
