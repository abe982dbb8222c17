"""contrast: answers to one prompt under two opposed affixes of the same form (RLCD, p⁺ and p⁻).

    - {stage: contrast, engine: policy, contrasts: [care], pairs: 2, sampling: {temperature: 1.0, max_tokens: 512}}
    - {stage: rate, engine: judge, aspects: [helpfulness]}
    - {stage: pair_constructed, kind: contrast_prompt}

The label follows from the construction, and a model that ignores the affix makes it noise: so a judge has to confirm
it. Training is on the neutral prompt.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, field_validator

from pipeline import ids
from pipeline.errors import Rejected
from pipeline.records import Candidate, Prompt, Reject
from pipeline.stage import Context, Example, Stage
from stages.candidates.asking import Asking, Heard, Question, lost
from stages.candidates.making import Making, constructed
from stages.candidates.tagged import answer_body


class Contrast(BaseModel):
    """Two affixes that differ in what they ask for and in nothing else: same form, about the same length."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    plus: str
    minus: str


CONTRASTS: Mapping[str, Contrast] = {
    name: Contrast(name=name, plus=plus, minus=minus)
    for name, plus, minus in (
        ("help", "a helpful, complete answer", "an unhelpful, partial answer"),
        ("care", "a careful answer, every step checked", "a careless answer, no step checked"),
        ("harm", "a considerate, harmless answer", "an inconsiderate, harmful answer"),
        ("clarity", "a clear, well ordered answer", "an unclear, badly ordered answer"),
    )
}


class ContrastAnswers(Asking, Stage):
    """`pairs` times two candidates, each time under a contrast drawn of `contrasts` (names of the library, or
    {name, plus, minus}). Of a pair both are made, or neither. Counts: `lost:<reason>`.
    """

    version: ClassVar[int] = 1
    template_variables: ClassVar[frozenset[str]] = frozenset({"prompt", "affix"})

    contrasts: tuple[Contrast, ...] = Field((CONTRASTS["help"],), min_length=1)
    pairs: int = Field(1, ge=1, le=64)

    @field_validator("contrasts", mode="before")
    @classmethod
    def _known(cls, value: Any) -> Any:
        if not isinstance(value, (list, tuple)):
            return value
        if unknown := [v for v in value if isinstance(v, str) and v not in CONTRASTS]:
            raise ValueError(f"unknown contrast {unknown[0]!r}; the library has {', '.join(CONTRASTS)}")
        return tuple([CONTRASTS[v] if isinstance(v, str) else v for v in value])

    async def process(self, example: Example[Prompt], ctx: Context) -> list[Candidate | Reject]:
        """Candidates in pairs, plus before minus. Raises EngineError."""
        prompt = example.prompt
        draw = ids.stream(ctx.run_seed, ctx.job, prompt.prompt_id, "contrast")
        drawn = [draw.choice(self.contrasts) for _ in range(self.pairs)]
        questions = [
            self._question(prompt, f"contrast:{k}:{role}", affix)
            for k, contrast in enumerate(drawn)
            for role, affix in (("plus", contrast.plus), ("minus", contrast.minus))
        ]
        heard = await self.heard(prompt, questions, answer_body, ctx)
        made: list[Candidate | Reject] = []
        for k, contrast in enumerate(drawn):
            plus, minus = heard[2 * k : 2 * k + 2]
            if isinstance(plus, Rejected):
                made.append(lost(prompt, plus, None, ctx))
            elif isinstance(minus, Rejected):
                made.append(lost(prompt, minus, None, ctx))
            else:
                group = ids.content_hash("group/1", prompt.prompt_id, ctx.job, k)
                made.append(self._candidate(prompt, plus, Making("contrast", None, group, "plus"), contrast, ctx))
                made.append(self._candidate(prompt, minus, Making("contrast", None, group, "minus"), contrast, ctx))
        return made

    def _question(self, prompt: Prompt, purpose: str, affix: str) -> Question:
        *earlier, _ = prompt.messages
        return Question(purpose, (*earlier, *self.templates()[0].render(prompt=prompt.text, affix=affix)))

    def _candidate(
        self, prompt: Prompt, heard: Heard[str], making: Making, contrast: Contrast, ctx: Context
    ) -> Candidate:  # fmt: skip
        affix = contrast.plus if making.role == "plus" else contrast.minus
        return constructed(
            prompt, heard.value,
            Making(making.way, None, making.group, making.role, {"contrast": contrast.name, "affix": affix}), ctx,
            policy_relation="off",  # sampled under another prompt than the one trained on
            gen_context_id=ids.content_hash("context/1", affix),
            n_tokens=heard.completion.n_tokens,
            **self.sampled(heard, ctx),
        )  # fmt: skip
