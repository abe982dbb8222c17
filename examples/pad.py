"""pad: the same answer in more words, so that length alone never wins. A stage of one's own, worked through in the docs.

- {stage: generate, engine: policy, sampling: {n: 2}}
- {stage: examples.pad, engine: policy}      # its name is its module; the job is called pad
- {stage: rate, engine: judge}
- {stage: pair_responses, min_margin: 0.1}
"""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from pipeline import ids
from pipeline.engine import Request, Sampling
from pipeline.errors import Rejected
from pipeline.records import Candidate, Reject
from pipeline.stage import Context, Example, Stage


class Pad(Stage):
    """One longer answer for each of the first `answers` candidates. Counts: `padded`.

    least: how many times as long it must be, else it is a reject (`not_longer`), as is one that was cut (`truncated`).
    """

    version: ClassVar[int] = 1  # raise it when the code below would answer differently
    template_variables: ClassVar[frozenset[str]] = frozenset({"prompt", "response"})

    engine: str
    template: str = "examples/pad.j2"
    sampling: Sampling = Sampling(temperature=0.7, max_tokens=1024)
    answers: int = Field(1, ge=1, le=64)
    least: float = Field(1.2, gt=1)

    async def process(self, example: Example[Candidate], ctx: Context) -> list[Candidate | Reject]:
        """New candidates beside those there are; a reject for each that failed. Raises EngineError."""
        prompt, given = example.prompt, example.candidates[: self.answers]
        [template] = self.templates()
        requests = [
            Request(
                sampling=self.sampling,
                key=f"{ctx.job}:{c.candidate_id}",
                seed=ctx.seed(prompt.prompt_id, f"pad:{c.candidate_id}"),  # of what it is for, never of a counter
                messages=template.render(prompt=prompt.text, response=c.text),
            )
            for c in given
        ]
        made: list[Candidate | Reject] = []
        for parent, [answer] in zip(given, await ctx.engines[self.engine].generate(requests), strict=True):
            try:
                made.append(self._candidate(parent, answer.text.strip(), answer.finish_reason, ctx))
            except Rejected as why:
                made.append(Reject(prompt.prompt_id, ctx.job, "candidate", why.reason, why.detail, parent.candidate_id))
        return made

    def _candidate(self, parent: Candidate, text: str, finish_reason: str | None, ctx: Context) -> Candidate:
        if finish_reason != "stop":
            raise Rejected("truncated", f"the answer ended by {finish_reason}")
        if len(text) < self.least * len(parent.text):
            raise Rejected("not_longer", f"{len(text)} characters, of {len(parent.text)}")
        ctx.count("padded")
        return Candidate(
            prompt_id=parent.prompt_id,
            candidate_id=ids.content_hash("cand/1", parent.prompt_id, ctx.job, parent.candidate_id, text),
            text=text,
            job=ctx.job,
            model=ctx.engine_models.get(self.engine),
            policy_relation="edited",
            finish_reason=finish_reason,
        )
