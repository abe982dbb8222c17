"""diverse: several answers of different values from one request (Community Alignment, negatively correlated sampling).

    - {stage: diverse, engine: policy, n: 4, structured: true, sampling: {temperature: 1.0, max_tokens: 4096}}
    - {stage: rate, engine: judge, aspects: [helpfulness]}
    - {stage: pair_responses, strategy: best_worst}

One model that writes its answers side by side covers more values than many models that answer alone. Answers of one
request share `group`; they were not sampled alone, so they have no `mean_logp` that others could be compared with.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from pydantic import Field

from pipeline import ids
from pipeline.errors import Rejected
from pipeline.records import Candidate, Prompt, Reject
from pipeline.stage import Context, Example, Stage
from stages.candidates.asking import Asking, Heard, Question, lost
from stages.candidates.making import Making, constructed
from stages.candidates.tagged import texts
from stages.judges.hygiene import prompt_text
from stages.pairs.gate import similarity


class Diverse(Asking, Stage):
    """`n` candidates of each of `groups` requests, in drawn order (the place in a list goes with the value).

    A request whose answers are not `n`, or of which two are alike (Jaccard of character 5-grams at `max_similarity` or
    above), or of which the longest is more than `length_ratio` times the shortest, is asked again, then lost.
    structured: holds the answer to a JSON list; else any form of `stages/candidates/tagged.py:texts` is read.
    Counts: `lost:<reason>`, `tokens_of_requests`.
    """

    version: ClassVar[int] = 1
    template_variables: ClassVar[frozenset[str]] = frozenset({"prompt", "n", "structured"})

    n: int = Field(4, ge=2, le=16)
    groups: int = Field(1, ge=1, le=64)
    max_similarity: float = Field(0.8, gt=0, le=1)
    length_ratio: float = Field(4.0, ge=1)
    structured: bool = False

    def capabilities(self, alias: str) -> frozenset[str]:
        """`json` where the answer is held to it."""
        return frozenset({"generate", "json"} if self.structured else {"generate"})

    async def process(self, example: Example[Prompt], ctx: Context) -> list[Candidate | Reject]:
        """The candidates of every request that gave them, else a reject for it. Raises EngineError."""
        prompt = example.prompt
        shown = prompt_text(prompt.messages)
        messages = self.templates()[0].render(prompt=shown, n=self.n, structured=self.structured)
        schema = _schema(self.n) if self.structured else None
        questions = [Question(f"diverse:{k}", messages, schema=schema) for k in range(self.groups)]
        made: list[Candidate | Reject] = []
        for question, heard in zip(
            questions, await self.heard(prompt, questions, self.read, ctx), strict=True
        ):  # fmt: skip
            if isinstance(heard, Rejected):
                made.append(lost(prompt, heard, None, ctx))
            else:
                ctx.count("tokens_of_requests", heard.completion.n_tokens)
                made += self._candidates(prompt, question.purpose, heard, ctx)
        return made

    def read(self, text: str) -> list[str]:
        """The answers, all different. Raises Rejected: parse_error, alike, uneven_length."""
        found = texts(text, "answer", self.n)
        for i, one in enumerate(found):
            for other in found[:i]:
                if (same := similarity(one, other)) >= self.max_similarity:
                    raise Rejected("alike", f"two answers of one request have similarity {same:.2f}")
        shortest, *_, longest = sorted(map(len, found))
        if longest > shortest * self.length_ratio:
            raise Rejected("uneven_length", f"answers of one request have {shortest} to {longest} characters")
        return found

    def _candidates(self, prompt: Prompt, purpose: str, heard: Heard[list[str]], ctx: Context) -> Sequence[Candidate]:
        group = ids.content_hash("group/1", prompt.prompt_id, ctx.job, purpose)
        drawn = list(heard.value)
        ids.stream(ctx.run_seed, ctx.job, prompt.prompt_id, purpose).shuffle(drawn)
        columns = self.sampled(heard, ctx) | {"policy_relation": "on"}
        return [
            constructed(prompt, text, Making("diverse", group=group), ctx, sample_idx=place, **columns)
            for place, text in enumerate(drawn)
        ]


def _schema(n: int) -> dict[str, object]:
    return {"type": "array", "items": {"type": "string", "minLength": 1}, "minItems": n, "maxItems": n}
