"""revise: an answer is criticised and then written again, in rounds (Constitutional AI, or by the reasons of a judge).

    - {stage: generate, engine: policy}
    - {stage: revise, engine: policy, principles: [correctness, clarity], rounds: 1}
    - {stage: revise, engine: policy, critic: {engine: judge, aspect: helpfulness}, until: 4.5, drafts: 4, rounds: 3}
    - {stage: rate, engine: judge, aspects: [helpfulness]}  # drafts and revisions alike
    - {stage: pair_constructed, kind: revision}

Draft, critique and revision stay linked: a revision's `ext_json` names its draft (`parent_id`), principle and critique.
"""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar, NamedTuple

from pydantic import Field, field_validator

from pipeline import ids
from pipeline.errors import PlanError, Rejected
from pipeline.prompts import Template, load_template
from pipeline.records import Candidate, Judgment, Prompt, Record, Reject
from pipeline.stage import Context, Example, Stage
from stages.candidates.asking import Asking, Question, lost
from stages.candidates.making import Making, constructed
from stages.candidates.parents import Which, parents
from stages.candidates.principles import LIBRARY, Principle, named
from stages.candidates.tagged import answer_body
from stages.judges.critic import RATES, Critic, critique, ratings
from stages.judges.hygiene import as_data, prompt_text
from stages.pairs.select import same_text

Made = Candidate | Judgment | Reject


class Found(NamedTuple):
    """A critique: under which principle, its text, what was said, and the rating that the critic gave the draft."""

    name: str
    principle: str
    critique: str
    rating: float | None = None


class Revise(Asking, Stage):
    """Revisions of `drafts` answers a prompt (which: see stages/candidates/parents.py), each in `rounds` rounds: a
    later round criticises the revision before it, under another draw.

    principles: names of the library or {name, text, weight}; the critique is asked for under one drawn at random.
    critic: a judge that rates each draft in their place (stages/judges/critic.py); its reasons are the critique, its
    calls are judgments of mode `meta`. until: its rating from which a draft is good enough to be left alone.
    A template whose last block is the assistant's begins the revision. A revision that changes nothing is no candidate.
    Counts: `no_parent`, `good_enough`, `lost:<reason>`.
    """

    version: ClassVar[int] = 2
    template_variables: ClassVar[frozenset[str]] = frozenset({"prompt", "response", "principle", "critique", *RATES})
    where_made: ClassVar[frozenset[type[Record]]] = frozenset({Judgment})

    critique_template: str = "critique"
    principles: tuple[Principle, ...] = Field(tuple(LIBRARY.values()), min_length=1)
    of: Which = "any"
    drafts: int = Field(1, ge=1, le=64)
    rounds: int = Field(1, ge=1, le=4)
    critic: Critic | None = None
    until: float | None = None

    @field_validator("principles", mode="before")
    @classmethod
    def _named(cls, value: Any) -> Any:
        return named(value)

    def check(self) -> None:
        """Raises PlanError: a rating to reach without a critic who gives any, or a critic that cannot be."""
        if self.until is not None and self.critic is None:
            raise PlanError("revise: until is a rating of the critic; give a critic, or leave it out")
        if self.critic is not None:
            self.critic.check()
            if not self.critic.reason:
                raise PlanError("revise: the critic's reasons are the critique; leave reason on")

    def engines(self) -> tuple[str, ...]:
        """Who revises, and who criticises."""
        return tuple(dict.fromkeys((self.engine, self.critic.engine if self.critic else self.engine)))

    def capabilities(self, alias: str) -> frozenset[str]:
        """What the critic's form of answer needs; `prefix` where the template begins the revision."""
        critics = self.critic.capabilities(alias) if self.critic and alias == self.critic.engine else frozenset()
        begins = alias == self.engine and self.templates()[-1].begins_answer
        return frozenset({"generate", *critics, *(("prefix",) if begins else ())})

    def makes(self) -> tuple[type[Record], ...]:
        """Candidates, and the critic's calls."""
        return (Candidate, Judgment) if self.critic else (Candidate,)

    def templates(self) -> tuple[Template, ...]:
        """The one that asks for a critique, and the one that asks for the revision."""
        asks = load_template("revise", self.critique_template) if self.critic is None else self.critic._template
        return asks, load_template("revise", self.template)

    async def process(self, example: Example[Candidate | Judgment], ctx: Context) -> list[Made]:
        """Revisions, the calls of a critic, and a reject for each revision that was not to be had. Raises EngineError."""
        drafts = parents(example.candidates, example.judgments, self.of, self.drafts, ctx.run_seed)
        if not drafts:
            ctx.count("no_parent")
        made = await asyncio.gather(*[self._revisions(example.prompt, draft, ctx) for draft in drafts])
        return [row for rows in made for row in rows]

    async def _revisions(self, prompt: Prompt, draft: Candidate, ctx: Context) -> list[Made]:
        made: list[Made] = []
        for number in range(self.rounds):
            try:
                found = await self._criticised(prompt, draft, number, made, ctx)
                if found is None:
                    ctx.count("good_enough")
                    break
                draft = await self._revision(prompt, draft, number, found, ctx)
            except Rejected as why:
                return [*made, lost(prompt, why, draft.candidate_id, ctx)]
            made.append(draft)
        return made

    async def _criticised(
        self, prompt: Prompt, draft: Candidate, number: int, made: list[Made], ctx: Context
    ) -> Found | None:
        """The critique of a draft, None where it is good enough; the critic's rows go to `made`.

        Raises Rejected where there is none.
        """
        if self.critic is not None:
            rows = await self.critic.rated(prompt, [draft], ctx)
            made += rows
            rating = ratings(rows).get(draft.candidate_id)
            if rating is None:
                raise Rejected("no_critique", f"the critic's call ended with status {rows[-1].status}")
            if self.until is not None and rating >= self.until:
                return None
            if not (said := critique(rows, draft.candidate_id).text):
                raise Rejected(
                    "no_critique", "the critic gives a rating and no reasons; its template must ask for them"
                )
            return Found(self.critic.aspect.name, self.critic.aspect.description, said, rating)
        which = f"{draft.candidate_id}:{number}"
        draw = ids.stream(ctx.run_seed, ctx.job, prompt.prompt_id, which)
        principle = draw.choices(self.principles, [p.weight for p in self.principles])[0]
        messages = self.templates()[0].render(critique="", **_about(prompt, draft, principle.text))
        [heard] = await self.heard(prompt, [Question(f"critique:{which}", messages)], answer_body, ctx)
        if isinstance(heard, Rejected):
            raise heard
        return Found(principle.name, principle.text, heard.value)

    async def _revision(self, prompt: Prompt, draft: Candidate, number: int, found: Found, ctx: Context) -> Candidate:
        """Raises Rejected where the revision fails, or nothing changes."""
        messages = self.templates()[1].render(
            critique=as_data(found.critique), **_about(prompt, draft, found.principle)
        )
        purpose = f"revision:{draft.candidate_id}:{number}"
        [heard] = await self.heard(prompt, [Question(purpose, messages)], answer_body, ctx)
        if isinstance(heard, Rejected):
            raise heard
        if same_text(heard.value, draft.text):
            raise Rejected("unchanged", "the revision is the draft again")
        detail: dict[str, str | int | float] = {
            "principle": found.name,
            "critique": found.critique,
            "round": number + 1,
        }
        if found.rating is not None:
            detail["draft_rating"] = found.rating
        making = Making("revise", draft.candidate_id, role="revision", detail=detail)
        columns = {"policy_relation": "edited", "principle": found.name, "n_tokens": heard.completion.n_tokens}
        return constructed(prompt, heard.value, making, ctx, **columns, **self.sampled(heard, ctx))


def _about(prompt: Prompt, draft: Candidate, principle: str) -> dict[str, str]:
    return {"prompt": prompt_text(prompt.messages), "response": as_data(draft.text), "principle": principle}
