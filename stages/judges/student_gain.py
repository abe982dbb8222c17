"""student_gain: how much a student learns from an answer as its one example in context (ARTE), by `engine.score`.

    - {stage: generate, engine: teacher, sampling: {n: 4}}                     # drafts: answers to the source's questions
    - {stage: student_gain, engine: student, probes: data/probes.jsonl}        # {"prompt": …, "right": …, "wrong": […]}
    - {stage: pair_constructed, kind: student_icl}                             # pairs that train the teacher

The student is shown the question with the draft as its answer, then a probe; it gets the probe right when the right
answer is likelier, per token, than every wrong one. Nothing is generated.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, field_validator

from pipeline import ids
from pipeline.engine import ScoreRequest, resolve_path
from pipeline.errors import Rejected
from pipeline.records import Candidate, Judgment, Message, Prompt, Status
from pipeline.stage import Context, Example, Stage
from stages.pairs.constructed_labels import GAIN
from stages.pairs.gate import FINISHED
from stages.pairs.select import same_text


class Probe(BaseModel):
    """A question with its right answer and wrong ones of the same form."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    prompt: str
    right: str = Field(min_length=1)
    wrong: tuple[str, ...] = Field(min_length=1)


class StudentGain(Stage):
    """A judgment for each candidate and probe, aspect `icl_acc`: 1 right, 0 wrong; None where it cannot be told.

    probes: a list, or the path of a file of JSON lines; their texts are part of the recipe either way. 40 or more:
    fewer tell drafts apart only by chance. A probe that asks the candidate's own question is left out (`na`).
    """

    version: ClassVar[int] = 1

    engine: str
    probes: tuple[Probe, ...] = Field(min_length=1)

    @field_validator("probes", mode="before")
    @classmethod
    def _read(cls, value: Any) -> Any:
        """Raises ValueError for a file that is missing or holds something else."""
        if not isinstance(value, str):
            return value
        path: Path = resolve_path(value)
        try:
            return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
        except (OSError, ValueError) as error:
            raise ValueError(f"{value}: {error}; give JSON lines of prompt, right and wrong") from None

    def capabilities(self, alias: str) -> frozenset[str]:
        """`score`."""
        return frozenset({"score"})

    async def process(self, example: Example[Candidate], ctx: Context) -> list[Judgment]:
        """Judgments in the order of candidates and probes. Raises EngineError."""
        judged: list[Judgment] = []
        for candidate in example.candidates:
            if candidate.finish_reason in FINISHED and candidate.text.strip() and candidate.policy_relation != "canary":
                judged += await self._judgments(example.prompt, candidate, ctx)
        return judged

    async def _judgments(self, prompt: Prompt, candidate: Candidate, ctx: Context) -> list[Judgment]:
        asked = [probe for probe in self.probes if not same_text(probe.prompt, prompt.text)]
        shown = (*prompt.messages, Message("assistant", candidate.text))
        requests = [
            ScoreRequest(answer, (*shown, Message("user", probe.prompt)))
            for probe in asked
            for answer in (probe.right, *probe.wrong)
        ]
        try:
            scores: list[list[float]] | None = await ctx.engines[self.engine].score(requests) if requests else []
        except Rejected:  # the draft does not fit into the student's context
            scores = None
        means = iter([_mean(logprobs) for logprobs in scores or ()])
        rows = []
        for number, probe in enumerate(self.probes):
            value: float | None = None
            status: Status = "na" if probe not in asked else "too_long" if scores is None else "ok"
            if status == "ok":
                right, *wrong = [next(means) for _ in range(1 + len(probe.wrong))]
                value = float(all(right > other for other in wrong))
            rows.append(self._row(candidate, number, value, status, ctx))
        return rows

    def _row(self, candidate: Candidate, number: int, value: float | None, status: Status, ctx: Context) -> Judgment:
        student, probe = ctx.engine_models.get(self.engine) or self.engine, self.probes[number]
        which = (probe.prompt, probe.right, list(probe.wrong), number)
        return Judgment(
            prompt_id=candidate.prompt_id,
            judgment_key=ids.content_hash("judgment/1", "student_gain", student, candidate.candidate_id, *which),
            job=ctx.job,
            mode="icl",
            judge_id=student,
            cand_ids=(candidate.candidate_id,),
            status=status,
            value=value,
            value_mode=value,
            aspect=GAIN,
            sample_idx=number,
        )


def _mean(logprobs: Sequence[float]) -> float:
    return math.fsum(logprobs) / len(logprobs) if logprobs else -math.inf
