"""two_stage: many verifiable questions about a passage, then harder ones merged from them (Long Grounded Thoughts).

    - {stage: prompts, path: data/passages.jsonl, columns: {prompt: text}}       # captions with boxes, documents, …
    - {stage: two_stage, engine: author, scale: 6, merge: 3, merged: 2, sampling: {temperature: 0.8, max_tokens: 4096}}

Scale: `scale` multiple-choice questions from one passage. Complexity: `merge` of them composed into one whose answer
takes all their answers. It makes prompts with a letter as their reference, which no later job of the same run sees.
The next run reads them and sets right answers over wrong ones:
`{stage: prompts, path: runs/NAME/two_stage, columns: {prompt: messages, reference: reference, base: base_prompt_id}}`,
generate, verify, `{stage: pair_responses, outcome: only}`.
"""

from __future__ import annotations

from functools import partial
from typing import ClassVar

from pydantic import Field, model_validator

from pipeline import ids
from pipeline.errors import Rejected
from pipeline.prompts import Template, load_template
from pipeline.records import Prompt, Reject
from pipeline.stage import Context, Example, Stage
from stages.candidates.asking import Asking, Question, lost
from stages.candidates.making import Making, made_prompt
from stages.candidates.quizzes import Quiz, read_quizzes
from stages.judges.hygiene import as_data, prompt_text


class TwoStage(Asking, Stage):
    """Questions about each passage. merged: how many harder questions; merge: of how many simple ones each.

    keep_simple: the simple questions are made as well, not only the merged ones. Options stand in drawn order.
    Counts: `lost:<reason>`.
    """

    version: ClassVar[int] = 1
    template_variables: ClassVar[frozenset[str]] = frozenset({"passage", "n", "items"})

    merge_template: str = "merge"
    scale: int = Field(6, ge=1, le=32)
    merge: int = Field(2, ge=2, le=8)
    merged: int = Field(1, ge=0, le=32)
    keep_simple: bool = True

    @model_validator(mode="after")
    def _enough_to_merge(self) -> TwoStage:
        if self.merged and self.merge > self.scale:
            raise ValueError(f"merge is {self.merge}, but scale makes only {self.scale} questions")
        if not self.merged and not self.keep_simple:
            raise ValueError("neither merged nor simple questions are wanted; set merged or keep_simple")
        return self

    def templates(self) -> tuple[Template, ...]:
        """The one that asks for simple questions, and the one that merges them."""
        return load_template("two_stage", self.template), load_template("two_stage", self.merge_template)

    async def process(self, example: Example[Prompt], ctx: Context) -> list[Prompt | Reject]:
        """Simple questions, then merged ones, and a reject for what failed. Raises EngineError."""
        seed, passage = example.prompt, prompt_text(example.prompt.messages)
        ask, merge = self.templates()
        question = Question("scale", ask.render(passage=passage, n=self.scale, items=()))
        [heard] = await self.heard(seed, [question], partial(read_quizzes, n=self.scale), ctx)
        if isinstance(heard, Rejected):
            return [lost(seed, heard, None, ctx)]
        draw = ids.stream(ctx.run_seed, ctx.job, seed.prompt_id, "two_stage")
        simple = [quiz.shuffled(draw) for quiz in heard.value]
        made: list[Prompt | Reject] = []
        if self.keep_simple:
            made += [self._prompt(seed, quiz, {"level": "simple"}) for quiz in simple]
        drawn = [draw.sample(simple, self.merge) for _ in range(self.merged)]
        asked = [
            Question(f"merge:{k}", merge.render(passage=passage, n=1, items=[_shown(quiz) for quiz in group]))
            for k, group in enumerate(drawn)
        ]
        for group, answer in zip(
            drawn, await self.heard(seed, asked, partial(read_quizzes, n=1), ctx), strict=True
        ):  # fmt: skip
            if isinstance(answer, Rejected):
                made.append(lost(seed, answer, None, ctx))
                continue
            merged_of = " | ".join(quiz.question for quiz in group)
            quiz = answer.value[0].shuffled(draw)
            made.append(self._prompt(seed, quiz, {"level": "merged", "merge": self.merge, "of": merged_of}))
        return made

    def _prompt(self, seed: Prompt, quiz: Quiz, detail: dict[str, str | int | float]) -> Prompt:
        making = Making("two_stage", seed.prompt_id, detail=detail)
        return made_prompt(seed, f"{seed.text}\n\n{quiz.text()}", making, quiz.answer)


def _shown(quiz: Quiz) -> str:
    return f"{as_data(quiz.text())}\nRight: ({quiz.answer})"
