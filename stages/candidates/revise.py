"""revise: an answer is criticised under one principle drawn at random, then revised (Constitutional AI).

    - {stage: generate, engine: policy}
    - {stage: revise, engine: policy, principles: [correctness, clarity], rounds: 1}
    - {stage: rate, engine: judge, aspects: [helpfulness]}
    - {stage: pair_constructed, kind: revision}

Draft, critique and revision stay linked: a revision's `ext_json` names its draft (`parent_id`), principle and critique.
"""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar

from pydantic import Field, field_validator

from pipeline import ids
from pipeline.errors import Rejected
from pipeline.prompts import Template, load_template
from pipeline.records import Candidate, Judgment, Prompt, Record, Reject
from pipeline.stage import Context, Example, Stage
from stages.candidates.asking import Asking, Question, lost
from stages.candidates.making import Making, constructed
from stages.candidates.parents import Which, parents
from stages.candidates.principles import LIBRARY, Principle, named
from stages.candidates.tagged import answer_body
from stages.judges.hygiene import as_data, prompt_text
from stages.pairs.select import same_text


class Revise(Asking, Stage):
    """Revisions of `drafts` answers a prompt (which: see stages/candidates/parents.py), each in `rounds` rounds: a
    later round criticises the revision before it, under another draw.

    principles: names of the library or {name, text, weight}. A revision that changes nothing is no candidate.
    Counts: `no_parent`, `lost:<reason>`.
    """

    version: ClassVar[int] = 1
    template_variables: ClassVar[frozenset[str]] = frozenset({"prompt", "response", "principle", "critique"})
    where_made: ClassVar[frozenset[type[Record]]] = frozenset({Judgment})

    critique_template: str = "critique"
    principles: tuple[Principle, ...] = Field(tuple(LIBRARY.values()), min_length=1)
    of: Which = "any"
    drafts: int = Field(1, ge=1, le=64)
    rounds: int = Field(1, ge=1, le=4)

    @field_validator("principles", mode="before")
    @classmethod
    def _named(cls, value: Any) -> Any:
        return named(value)

    def templates(self) -> tuple[Template, ...]:
        """The one that asks for a critique, and the one that asks for the revision."""
        return load_template("revise", self.critique_template), load_template("revise", self.template)

    async def process(self, example: Example[Candidate | Judgment], ctx: Context) -> list[Candidate | Reject]:
        """Revisions, and a reject for each that was not to be had. Raises EngineError."""
        drafts = parents(example.candidates, example.judgments, self.of, self.drafts, ctx.run_seed)
        if not drafts:
            ctx.count("no_parent")
        made = await asyncio.gather(*[self._revisions(example.prompt, draft, ctx) for draft in drafts])
        return [row for rows in made for row in rows]

    async def _revisions(self, prompt: Prompt, draft: Candidate, ctx: Context) -> list[Candidate | Reject]:
        made: list[Candidate | Reject] = []
        for number in range(self.rounds):
            try:
                draft = await self._revision(prompt, draft, number, ctx)
            except Rejected as why:
                return [*made, lost(prompt, why, draft.candidate_id, ctx)]
            made.append(draft)
        return made

    async def _revision(self, prompt: Prompt, draft: Candidate, number: int, ctx: Context) -> Candidate:
        """Raises Rejected where critique or revision fail, or nothing changes."""
        which = f"{draft.candidate_id}:{number}"
        draw = ids.stream(ctx.run_seed, ctx.job, prompt.prompt_id, which)
        principle = draw.choices(self.principles, [p.weight for p in self.principles])[0]
        about = {"prompt": prompt_text(prompt.messages), "response": as_data(draft.text), "principle": principle.text}
        ask, again = self.templates()
        [critique] = await self.heard(
            prompt, [Question(f"critique:{which}", ask.render(**about, critique=""))], answer_body, ctx
        )
        if isinstance(critique, Rejected):
            raise critique
        messages = again.render(**about, critique=as_data(critique.value))
        [heard] = await self.heard(prompt, [Question(f"revision:{which}", messages)], answer_body, ctx)
        if isinstance(heard, Rejected):
            raise heard
        if same_text(heard.value, draft.text):
            raise Rejected("unchanged", "the revision is the draft again")
        detail: dict[str, str | int | float] = {
            "principle": principle.name, "critique": critique.value, "round": number + 1,
        }  # fmt: skip
        making = Making("revise", draft.candidate_id, role="revision", detail=detail)
        columns = {"policy_relation": "edited", "principle": principle.name, "n_tokens": heard.completion.n_tokens}
        return constructed(prompt, heard.value, making, ctx, **columns, **self.sampled(heard, ctx))
