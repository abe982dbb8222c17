"""backtranslate: the instruction that a good text answers, kept where the text is a good answer to it (Humpback).

    - {stage: prompts, path: data/texts.jsonl, columns: {prompt: text}}    # of: prompt – the source's rows are the texts
    - {stage: backtranslate, engine: author, min_score: 4.5, votes: 2}

It makes prompts with the text as their reference, which no later job of the same run sees. The next run reads them and
sets the text over the policy's own answer, where judges agree:
`{stage: prompts, path: runs/NAME/backtranslate, columns: {prompt: messages, reference: reference, base: base_prompt_id}}`,
gold, generate, rate, `{stage: pair_constructed, kind: spin, confirm: required}`.
"""

from __future__ import annotations

import math
import re
from typing import ClassVar, Literal

from pydantic import Field

from pipeline.errors import Rejected
from pipeline.prompts import Template, load_template
from pipeline.records import Candidate, Judgment, Prompt, Record, Reject
from pipeline.stage import Context, Example, Stage
from stages.candidates.asking import Asking, Question, lost
from stages.candidates.making import Making, made_prompt
from stages.candidates.parents import Which, parents
from stages.candidates.tagged import answer_body
from stages.judges.hygiene import as_data
from stages.pairs.gate import similarity

_SCORE = re.compile(r"\bscore\W{0,6}([1-5])\b(?!\s*[-/–.]\s*\d)", re.IGNORECASE)


class Backtranslate(Asking, Stage):
    """One prompt for each text. of: `prompt` takes the source's rows as texts, else answers (stages/candidates/parents.py).

    votes, min_score: the mean of so many scores from 1 to 5 that the text must reach as an answer to the instruction
    (self-curation). A score that cannot be read is missing; without any the prompt is lost (`unscored`). An instruction
    that gives the text away (Jaccard of character 5-grams from 0.5) is none. Counts: `no_parent`, `lost:<reason>`.
    """

    version: ClassVar[int] = 1
    template_variables: ClassVar[frozenset[str]] = frozenset({"response", "instruction"})
    where_made: ClassVar[frozenset[type[Record]]] = frozenset({Candidate, Judgment})

    curate_template: str = "curate"
    of: Which | Literal["prompt"] = "prompt"
    answers: int = Field(1, ge=1, le=64)
    votes: int = Field(2, ge=1, le=16)
    min_score: float = Field(4.5, ge=1, le=5)

    def templates(self) -> tuple[Template, ...]:
        """The one that asks for the instruction, and the one that asks for a score."""
        return load_template("backtranslate", self.template), load_template("backtranslate", self.curate_template)

    async def process(self, example: Example[Candidate | Judgment], ctx: Context) -> list[Prompt | Reject]:
        """The prompts, and a reject for each text without one. Raises EngineError."""
        seed = example.prompt
        if self.of == "prompt":
            texts = {seed.prompt_id: seed.text}
        else:
            found = parents(example.candidates, example.judgments, self.of, self.answers, ctx.run_seed)
            texts = {c.candidate_id: c.text for c in found}
        if not texts:
            ctx.count("no_parent")
        ask = self.templates()[0]
        questions = [
            Question(f"instruction:{name}", ask.render(response=as_data(text), instruction=""))
            for name, text in texts.items()
        ]
        made: list[Prompt | Reject] = []
        for (name, text), heard in zip(
            texts.items(), await self.heard(seed, questions, answer_body, ctx), strict=True
        ):  # fmt: skip
            try:
                if isinstance(heard, Rejected):
                    raise heard
                made.append(await self._curated(seed, name, text, heard.value, ctx))
            except Rejected as why:
                made.append(lost(seed, why, name, ctx))
        return made

    async def _curated(self, seed: Prompt, name: str, text: str, instruction: str, ctx: Context) -> Prompt:
        """The prompt, if its text answers it well. Raises Rejected: gives_away, unscored, low_score."""
        if (same := similarity(instruction, text)) >= 0.5:
            raise Rejected("gives_away", f"the instruction has similarity {same:.2f} to the text")
        messages = self.templates()[1].render(response=as_data(text), instruction=as_data(instruction))
        questions = [Question(f"curate:{name}:{k}", messages) for k in range(self.votes)]
        heard = await self.heard(seed, questions, _score, ctx)
        scores = [h.value for h in heard if not isinstance(h, Rejected)]
        if not scores:
            raise Rejected("unscored", f"none of {self.votes} scores could be read")
        if (mean := math.fsum(scores) / len(scores)) < self.min_score:
            raise Rejected("low_score", f"mean score {mean:g} of {len(scores)}, {self.min_score:g} is wanted")
        detail: dict[str, str | int | float] = {"score": mean, "votes": len(scores)}
        return made_prompt(seed, instruction, Making("backtranslate", name, detail=detail), text)


def _score(text: str) -> int:
    found = _SCORE.findall(answer_body(text))
    if not found:
        raise Rejected("parse_error", f"no score from 1 to 5: {text[:60]!r}")
    return int(found[-1])
