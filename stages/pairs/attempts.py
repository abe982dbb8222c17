"""One round of `refine_pairs`: the answers it asks for, and the pair that ratings make of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec
from msgspec import Struct

from pipeline import ids
from pipeline.engine import Completion, Request, Sampling
from pipeline.errors import Rejected
from pipeline.pair import Selection
from pipeline.prompts import Template, load_template
from pipeline.records import Candidate, Message, Prompt
from pipeline.stage import Context
from stages.candidates.asking import begun_by
from stages.judges.critic import Critique
from stages.judges.hygiene import as_data
from stages.judges.labels import TIE_DELTA
from stages.pairs.gate import FINISHED, Arm, Bounds, Gate, Refusal, why_refused
from stages.pairs.select import Choice, Scored, propose, rank
from stages.pairs.truncation import TrainingLength


class Attempt(Struct, frozen=True):
    """What a round came to. arms: chosen and rejected, with their ratings on [0, 1]; refusal: why they are no pair.

    p: P(chosen is better) by the judge of the pair; informative: share of the criteria that hold; score: their product.
    All None where not every call that they rest on was answered.
    """

    number: int
    arms: tuple[Candidate, Candidate] | None = None
    ratings: tuple[float, float] = (0.0, 0.0)
    selection: Selection | None = None
    refusal: Refusal | None = None
    p: float | None = None
    informative: float | None = None
    score: float | None = None
    critique: Critique = Critique()

    @property
    def outcome(self) -> str:
        """`pair`, or why there is none: a reason of the gate, not_judged; undecided or contradicted by the judge of it."""
        if self.refusal is not None:
            return self.refusal[0]
        if self.score is None or self.p is None:
            return "not_judged"
        if abs(self.p - 0.5) < TIE_DELTA:  # above all where each order says the other thing
            return "undecided"
        return "pair" if self.p > 0.5 else "contradicted"

    @property
    def detail(self) -> str:
        """The same in a sentence."""
        if self.refusal is not None:
            return self.refusal[1]
        return f"the judge of the pair gives P(chosen is better) = {self.p if self.p is None else round(self.p, 3)}"


class Writer(Struct, frozen=True):
    """Who answers, and how."""

    engine: str
    template: Template
    sampling: Sampling

    @classmethod
    def of(cls, engine: str, template: str, sampling: Sampling) -> Writer:
        """With a template of `refine_pairs`."""
        return cls(engine, load_template("refine_pairs", template), sampling)

    async def written(self, prompt: Prompt, advice: str, number: int, ctx: Context) -> list[Candidate]:
        """The answers of a round. Raises EngineError; what the engine can never answer is counted and gives none."""
        messages, begun = self._messages(prompt, advice)
        request = Request(
            sampling=self.sampling,
            key=f"{ctx.job}:{prompt.prompt_id}:{number}",
            seed=ctx.seed(prompt.prompt_id, "answer", number),
            messages=messages,
            assistant_prefix=begun,
        )
        try:
            [completions] = await ctx.engines[self.engine].generate([request])
        except Rejected as why:
            ctx.count(f"lost:{why.reason}")
            return []
        return [self._candidate(prompt, begun, (request, c), (number, i), ctx) for i, c in enumerate(completions)]

    def _messages(self, prompt: Prompt, advice: str) -> tuple[tuple[Message, ...], str]:
        if not advice:
            return prompt.messages, ""
        rendered = self.template.render(prompt=prompt.text, advice=as_data(advice))
        messages, begun = begun_by((*prompt.messages[:-1], *rendered))
        return messages or (), begun

    def _candidate(
        self, prompt: Prompt, begun: str, heard: tuple[Request, Completion], place: tuple[int, int], ctx: Context
    ) -> Candidate:
        request, completion = heard
        text = begun + completion.text
        model = completion.model or ctx.engine_models.get(self.engine)
        advised = request.messages != prompt.messages or bool(begun)
        return Candidate(
            prompt_id=prompt.prompt_id,
            candidate_id=ids.content_hash("cand/1", prompt.prompt_id, ctx.job, model, *place, text),
            text=text,
            job=ctx.job,
            sample_idx=place[0] * self.sampling.n + place[1],
            model=model,
            engine=ctx.engine_kinds.get(self.engine),
            temperature=self.sampling.temperature,
            top_p=self.sampling.top_p,
            seed=request.seed,
            max_tokens=self.sampling.max_tokens,
            finish_reason=completion.finish_reason,
            n_tokens=completion.n_tokens,
            policy_relation="edited" if advised else "on",
            ext_json=msgspec.json.encode({"round": place[0] + 1, "advised": advised}).decode(),
        )


def best_worst(
    prompt: Prompt, pool: Sequence[Candidate], scores: Mapping[str, float], limits: tuple[Bounds, Gate],
    length: TrainingLength | None, seed: int,
) -> Attempt:  # fmt: skip
    """The highest rated finished answer against the lowest. An answer without a rating is neither."""
    by_id = {c.candidate_id: c for c in pool if c.candidate_id in scores and c.finish_reason in FINISHED}
    ranked = rank([Scored(who, c.text, scores[who]) for who, c in by_id.items()], seed, prompt.prompt_id)
    found = propose(ranked, Choice("best_worst"))
    if not found:
        reason = "tie" if len(ranked.entries) > 1 else "identical_text" if len(by_id) > 1 else "not_rated"
        detail = f"{len(by_id)} answers with a rating, {len(ranked.entries)} different ones, none rated below another"
        return Attempt(0, refusal=(reason, detail))
    best, worst = ranked.entries[found[0].chosen], ranked.entries[found[0].rejected]
    arms = by_id[best.candidate_id], by_id[worst.candidate_id]
    chosen, rejected = (Arm(c.text, c.finish_reason, s.score) for c, s in zip(arms, (best, worst), strict=True))
    return Attempt(
        0, arms, (best.score, worst.score),
        Selection("best_worst", len(ranked.entries), 1, found[0].rejected + 1, ranked.mean, ranked.std,
                  ranked.z(0), ranked.z(found[0].rejected), "{}"),
        why_refused(prompt.messages, chosen, rejected, limits[0], limits[1], length),
    )  # fmt: skip


def best_of(attempts: Sequence[Attempt]) -> Attempt | None:
    """The round whose pair scores highest, of equals the first; None where no round made a pair."""
    made = [a for a in attempts if a.outcome == "pair"]
    return max(made, key=lambda a: (a.score or 0.0, -a.number), default=None)
