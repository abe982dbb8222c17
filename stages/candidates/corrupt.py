"""corrupt: one stated, subtle error is put into a good answer (Llama 3: the rejected arm of a pair).

    - {stage: corrupt, method: rule, of: right}                            # arithmetic: no model needed
    - {stage: corrupt, engine: author, method: model, errors: [reasoning, fact], of: best}
    - {stage: verify}
    - {stage: pair_constructed, kind: corrupted}                           # a judge or checker has to see the error

The error is stated in the candidate's `ext_json` (`error`, `stated`), so that it can be explained and audited.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import ClassVar, Literal, get_args

from pydantic import Field, field_validator, model_validator

from pipeline import ids
from pipeline.errors import Rejected
from pipeline.prompts import Template
from pipeline.records import Candidate, Judgment, Prompt, Record, Reject
from pipeline.stage import Context, Example, Stage
from stages.candidates.arithmetic import ErrorType, slips
from stages.candidates.asking import Asking, Question, lost
from stages.candidates.making import Making, constructed
from stages.candidates.parents import Which, parents
from stages.candidates.tagged import sections
from stages.judges.hygiene import as_data, prompt_text
from stages.pairs.distance import normalised_distance

ERRORS: Mapping[str, str] = {
    "reasoning": "one step does not follow from what stands before it",
    "calculation": "one calculation has a wrong result",
    "fact": "one name, date, number or other fact is wrong",
    "condition": "one condition of the prompt is overlooked",
    "unit": "one unit or order of magnitude is wrong",
    "negation": "one statement says the opposite of what holds",
}
"""What the model form can be asked for."""


class Corrupt(Asking, Stage):
    """Corrupted answers of `answers` good ones a prompt (`of`: see stages/candidates/parents.py).

    method: `rule` breaks an equation of the text and carries the wrong number on (errors: result, operand, operator,
    final); `model` asks for an error drawn of `errors` (names of ERRORS, or descriptions by name).
    edit_ratio: edit distance over the longer text's length, in characters; outside of it the error is none that is
    subtle, or no small change: asked for again, then lost. Counts: `no_parent`, `lost:<reason>`, `error:<type>`.
    """

    version: ClassVar[int] = 1
    template_variables: ClassVar[frozenset[str]] = frozenset({"prompt", "response", "error"})
    where_made: ClassVar[frozenset[type[Record]]] = frozenset({Judgment})

    engine: str = ""  # of the model form
    method: Literal["rule", "model"] = "model"
    errors: dict[str, str] = Field(default_factory=dict)  # default: all that the method knows
    of: Which = "right"
    answers: int = Field(1, ge=1, le=64)
    edit_ratio: tuple[float, float] = (0.02, 0.2)

    @field_validator("errors", mode="before")
    @classmethod
    def _by_name(cls, value: object) -> object:
        return {name: ERRORS.get(name, "") for name in value} if isinstance(value, (list, tuple)) else value

    @model_validator(mode="after")
    def _fits_together(self) -> Corrupt:
        if (self.method == "model") != bool(self.engine):
            raise ValueError("method model needs an engine, method rule takes none")
        known = get_args(ErrorType) if self.method == "rule" else ERRORS
        if bad := [n for n, text in self.errors.items() if n not in known and (self.method == "rule" or not text)]:
            raise ValueError(f"unknown error {bad[0]!r}; method {self.method} knows {', '.join(known)}")
        if not 0 <= self.edit_ratio[0] < self.edit_ratio[1] <= 1:
            raise ValueError("edit_ratio is [least, most], on 0 to 1")
        return self

    def templates(self) -> tuple[Template, ...]:
        """None where no model is asked."""
        return () if self.method == "rule" else super().templates()

    async def process(self, example: Example[Candidate | Judgment], ctx: Context) -> list[Candidate | Reject]:
        """One candidate for each parent, or a reject that says why there is none. Raises EngineError."""
        found = parents(example.candidates, example.judgments, self.of, self.answers, ctx.run_seed)
        if not found:
            ctx.count("no_parent")
        return list(await asyncio.gather(*[self._one(example.prompt, parent, ctx) for parent in found]))

    async def _one(self, prompt: Prompt, parent: Candidate, ctx: Context) -> Candidate | Reject:
        try:
            made = self._by_rule(prompt, parent, ctx) if not self.engine else await self._by_model(prompt, parent, ctx)
        except Rejected as why:
            return lost(prompt, why, parent.candidate_id, ctx)
        return made

    def _by_rule(self, prompt: Prompt, parent: Candidate, ctx: Context) -> Candidate:
        errors = [e for e in get_args(ErrorType) if not self.errors or e in self.errors]
        draw = ids.stream(ctx.run_seed, ctx.job, prompt.prompt_id, parent.candidate_id)
        ratio = None
        for slip in slips(parent.text, errors, draw):
            ratio = normalised_distance(parent.text, slip.text)
            if self.edit_ratio[0] <= ratio <= self.edit_ratio[1]:
                stated = f"{slip.before} became {slip.after}"
                return self._candidate(prompt, slip.text, (parent, slip.error, stated, ratio), ctx, {})
        if ratio is None:
            raise Rejected("no_equation", "no equation that holds and whose error would reach the end of the text")
        raise Rejected("edit_ratio", f"the last way tried changes {ratio:.3f} of the text; wanted {self.edit_ratio}")

    async def _by_model(self, prompt: Prompt, parent: Candidate, ctx: Context) -> Candidate:
        errors = self.errors or dict(ERRORS)
        draw = ids.stream(ctx.run_seed, ctx.job, prompt.prompt_id, parent.candidate_id)
        name = draw.choice(sorted(errors))
        messages = self.templates()[0].render(
            prompt=prompt_text(prompt.messages), response=as_data(parent.text), error=errors[name]
        )

        def read(text: str) -> tuple[str, str, float]:
            stated, corrupted = sections(text, "error", "corrupted")
            ratio = normalised_distance(parent.text.strip(), corrupted)
            if not self.edit_ratio[0] <= ratio <= self.edit_ratio[1]:
                raise Rejected("edit_ratio", f"{ratio:.3f} of the text is changed; wanted {self.edit_ratio}")
            return stated, corrupted, ratio

        [heard] = await self.heard(prompt, [Question(f"corrupt:{parent.candidate_id}", messages)], read, ctx)
        if isinstance(heard, Rejected):
            raise heard
        stated, text, ratio = heard.value
        return self._candidate(prompt, text, (parent, name, stated, ratio), ctx, self.sampled(heard, ctx))

    def _candidate(
        self, prompt: Prompt, text: str, made: tuple[Candidate, str, str, float], ctx: Context, columns: dict[str, object]
    ) -> Candidate:  # fmt: skip
        parent, error, stated, ratio = made
        ctx.count(f"error:{error}")
        detail: dict[str, str | int | float] = {"error": error, "stated": stated, "edit_ratio": round(ratio, 6)}
        making = Making("corrupt", parent.candidate_id, role="corrupted", detail=detail)
        return constructed(prompt, text, making, ctx, policy_relation="corrupted", **columns)
