"""modify_instruction: a good answer to a changed instruction x′ is a bad answer to x (Self-Taught Evaluator).

    - {stage: generate, engine: policy}
    - {stage: rate, engine: judge, aspects: [helpfulness]}
    - {stage: modify_instruction, engine: author, of: best}
    - {stage: pair_constructed, kind: modified_instruction}

One call writes x′ and the answer to it. x′ lies in the candidate's `ext_json` (`instruction`, `similarity`).
"""

from __future__ import annotations

from collections import Counter
from math import sqrt
from typing import ClassVar

from pydantic import Field, model_validator

from pipeline.errors import Rejected
from pipeline.records import Candidate, Judgment, Record, Reject
from pipeline.stage import Context, Example, Stage
from stages.candidates.asking import Asking, Question, lost
from stages.candidates.making import Making, constructed
from stages.candidates.parents import Which, parents
from stages.candidates.tagged import sections
from stages.judges.hygiene import as_data, prompt_text
from stages.pairs.select import normal_text, same_text


class ModifyInstruction(Asking, Stage):
    """One bad answer for each of `answers` good ones a prompt (`of`: see stages/candidates/parents.py).

    window: least and greatest similarity of x and x′ (see `instruction_similarity`): below it x′ is another task,
    above it the same one. Counts: `no_parent`, `lost:<reason>`.
    """

    version: ClassVar[int] = 1
    template_variables: ClassVar[frozenset[str]] = frozenset({"prompt", "response"})
    where_made: ClassVar[frozenset[type[Record]]] = frozenset({Judgment})

    of: Which = "best"
    answers: int = Field(1, ge=1, le=64)
    window: tuple[float, float] = (0.5, 0.95)

    @model_validator(mode="after")
    def _makes_sense(self) -> ModifyInstruction:
        if not 0 <= self.window[0] < self.window[1] <= 1:
            raise ValueError("window is [least, greatest] similarity, on 0 to 1")
        return self

    async def process(self, example: Example[Candidate | Judgment], ctx: Context) -> list[Candidate | Reject]:
        """One candidate for each parent, or a reject that says why there is none. Raises EngineError."""
        prompt = example.prompt
        found = parents(example.candidates, example.judgments, self.of, self.answers, ctx.run_seed)
        if not found:
            ctx.count("no_parent")
        shown, [template] = prompt_text(prompt.messages), self.templates()
        questions = [
            Question(f"modify:{p.candidate_id}", template.render(prompt=shown, response=as_data(p.text))) for p in found
        ]

        def read(text: str) -> tuple[str, str, float]:
            instruction, answer = sections(text, "instruction", "answer")
            similarity = instruction_similarity(prompt.text, instruction)
            if not self.window[0] <= similarity <= self.window[1]:
                raise Rejected("similarity", f"x and x' have similarity {similarity:.3f}; wanted {self.window}")
            if any(same_text(answer, p.text) for p in found):
                raise Rejected("unchanged", "the answer to x' is the answer to x")
            return instruction, answer, similarity

        made: list[Candidate | Reject] = []
        for parent, heard in zip(found, await self.heard(prompt, questions, read, ctx), strict=True):
            if isinstance(heard, Rejected):
                made.append(lost(prompt, heard, parent.candidate_id, ctx))
                continue
            instruction, answer, similarity = heard.value
            detail: dict[str, str | int | float] = {"instruction": instruction, "similarity": round(similarity, 6)}
            making = Making("modify_instruction", parent.candidate_id, role="modified", detail=detail)
            columns = self.sampled(heard, ctx)
            made.append(constructed(prompt, answer, making, ctx, policy_relation="off", **columns))
        return made


def instruction_similarity(a: str, b: str) -> float:
    """Cosine of the counts of character trigrams, on [0, 1]; 1 only for texts of the same trigrams, case aside."""
    one, two = (
        Counter(t[i : i + 3] for i in range(max(1, len(t) - 2))) for t in map(normal_text, (a.lower(), b.lower()))
    )
    dot = sum(n * two[gram] for gram, n in one.items())
    return min(1.0, dot / sqrt(sum(n * n for n in one.values()) * sum(n * n for n in two.values())))
