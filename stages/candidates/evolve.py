"""evolve: harder and rarer prompts from those there are (Evol-Instruct), with its elimination of failed ones.

    - {stage: prompts, path: data/prompts.jsonl, columns: {prompt: prompt}}
    - {stage: evolve, engine: author, rounds: 3, sampling: {temperature: 1.0, max_tokens: 512}}

It makes prompts, which no later job of the same run sees: the next run reads them,
`{stage: prompts, path: runs/NAME/evolve, columns: {prompt: messages, base: base_prompt_id, row_id: prompt_id}}`.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import ClassVar, Literal

from pydantic import Field

from pipeline import ids
from pipeline.errors import Rejected
from pipeline.prompts import Template, load_template
from pipeline.records import Prompt, Reject
from pipeline.stage import Context, Example, Stage
from stages.candidates.asking import Asking, Question, lost
from stages.candidates.evolution import OPERATORS, read_evolved, read_gain
from stages.candidates.making import Making, made_prompt
from stages.judges.hygiene import as_data

Operator = Literal["constraint", "deepen", "concretise", "reasoning", "breadth"]


class Evolve(Asking, Stage):
    """`lines` lines of evolution for each prompt, of `rounds` rounds each under a drawn operator; each round is a
    prompt. A line ends where a round fails. check_gain: the model is asked whether the new prompt differs from the one
    before. max_added: words by which a round may lengthen a prompt. Counts: `lost:<reason>`.
    """

    version: ClassVar[int] = 1
    template_variables: ClassVar[frozenset[str]] = frozenset({"prompt", "operator", "rewritten"})

    gain_template: str = "gain"
    operators: tuple[Operator, ...] = Field(
        ("constraint", "deepen", "concretise", "reasoning", "breadth"), min_length=1
    )
    lines: int = Field(1, ge=1, le=64)
    rounds: int = Field(1, ge=1, le=8)
    check_gain: bool = True
    max_added: int = Field(60, ge=1)

    def templates(self) -> tuple[Template, ...]:
        """The one that asks for a rewriting, and the one that asks whether it differs."""
        return load_template("evolve", self.template), load_template("evolve", self.gain_template)

    async def process(self, example: Example[Prompt], ctx: Context) -> list[Prompt | Reject]:
        """The evolved prompts, and a reject where a line ended early. Raises EngineError."""
        made = await asyncio.gather(*[self._line(example.prompt, k, ctx) for k in range(self.lines)])
        return [row for rows in made for row in rows]

    async def _line(self, seed: Prompt, line: int, ctx: Context) -> list[Prompt | Reject]:
        made: list[Prompt | Reject] = []
        parent = seed
        for number in range(self.rounds):
            try:
                parent = await self._round(seed, parent, f"{line}:{number}", ctx)
            except Rejected as why:
                return [*made, lost(seed, why, parent.prompt_id, ctx)]
            made.append(parent)
        return made

    async def _round(self, seed: Prompt, parent: Prompt, which: str, ctx: Context) -> Prompt:
        """Raises Rejected where the round fails or its prompt is eliminated."""
        operator = ids.stream(ctx.run_seed, ctx.job, seed.prompt_id, which).choice(self.operators)
        rewrite, gain = self.templates()
        before = as_data(parent.text)
        messages = rewrite.render(prompt=before, operator=OPERATORS[operator], rewritten="")
        read = partial(read_evolved, before=parent.text, max_added=self.max_added)
        [heard] = await self.heard(seed, [Question(f"evolve:{which}", messages)], read, ctx)
        if isinstance(heard, Rejected):
            raise heard
        if self.check_gain:
            asked = gain.render(prompt=before, operator="", rewritten=as_data(heard.value))
            [verdict] = await self.heard(seed, [Question(f"gain:{which}", asked)], read_gain, ctx)
            if isinstance(verdict, Rejected):
                raise verdict
        detail: dict[str, str | int | float] = {"operator": operator, "round": int(which.split(":")[1]) + 1}
        return made_prompt(seed, heard.value, Making("evolve", parent.prompt_id, detail=detail))
