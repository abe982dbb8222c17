"""score_reward: what reward models give each answer. One row per candidate and model (spec judges C3 J6)."""

from __future__ import annotations

import math
from typing import Any, ClassVar

from pydantic import Field, field_validator

from pipeline import ids
from pipeline.engine import RewardRequest
from pipeline.errors import Rejected
from pipeline.records import Candidate, Judgment, Message
from pipeline.stage import Context, Example, Stage
from stages.contexts.system_message import under_system
from stages.judges.calls import ask_each
from stages.judges.families import model_family
from stages.judges.gauge import Gauge


class ScoreReward(Stage):
    """Scores every candidate with every reward model.

    engine: an alias, or a list of them (an ensemble: different models, three or more; none may have been trained on
    these prompts). A value is the model's raw output, log-odds without bounds, whose unit is the model's own: the
    temperature of each model comes from its calibration. system: a system message in place of the prompt's own.
    max_chars: a longer prompt or candidate is `too_long`, never cut.

    A candidate that was cut off is scored as it is. One that does not fit is `too_long`; other refusals of an engine and
    outputs that are no number are `parse_error`. Counts: `refused:<reason>`.
    """

    version: ClassVar[int] = 1

    engine: tuple[str, ...] = Field(min_length=1)
    system: str | None = None
    max_chars: int = Field(40_000, ge=1)

    @field_validator("engine", mode="before")
    @classmethod
    def _several(cls, value: Any) -> Any:
        """A single alias is an ensemble of one."""
        return (value,) if isinstance(value, str) else value

    @field_validator("engine")
    @classmethod
    def _distinct(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(value)) < len(value):
            raise ValueError("engine names a reward model twice; every member of an ensemble counts once")
        return value

    def engines(self) -> tuple[str, ...]:
        """The reward models."""
        return self.engine

    def capabilities(self, alias: str) -> frozenset[str]:
        """`reward`."""
        return frozenset({"reward"})

    async def process(self, example: Example[Candidate], ctx: Context) -> list[Judgment]:
        """One judgment per (candidate, reward model), mode `rm`, in this order. Raises EngineError."""
        columns = [await self._column(example, alias, ctx) for alias in self.engine]
        return [judgment for row in zip(*columns, strict=True) for judgment in row]

    async def _column(self, example: Example[Candidate], alias: str, ctx: Context) -> list[Judgment]:
        """What one model says of all candidates. Equal texts are asked once."""
        judge = self._judge(alias, ctx)
        family = ctx.engine_families.get(alias) or model_family(judge)
        gauge = Gauge(ctx.job, "rm", judge, family, ids.content_hash("score_reward/1", self.version, self.system))
        asked = max([len(message.content) for message in example.prompt.messages])
        fitting = [c for c in example.candidates if max(asked, len(c.text)) <= self.max_chars]
        requests = {c.text: self._request(example, c, gauge) for c in reversed(fitting)}
        answers = await ask_each(ctx.engines[alias].reward, list(requests.values()))
        found: dict[str, float | Rejected] = {}
        for text, answer in zip(requests, answers, strict=True):
            if isinstance(answer, Rejected):
                ctx.count(f"refused:{answer.reason}")
                found[text] = answer
            else:
                found[text] = answer[0] if len(answer) == 1 else math.nan
        return [gauge.row(candidate, found.get(candidate.text)) for candidate in example.candidates]

    def _judge(self, alias: str, ctx: Context) -> str:
        """The model's name, and the alias where another member of the ensemble has the same."""
        models = [ctx.engine_models.get(name) or name for name in self.engine]
        own = ctx.engine_models.get(alias) or alias
        return own if models.count(own) == 1 else f"{own}:{alias}"

    def _request(self, example: Example[Candidate], candidate: Candidate, gauge: Gauge) -> RewardRequest:
        said = under_system(self.system, example.prompt.messages)
        return RewardRequest(gauge.key(candidate), (*said, Message("assistant", candidate.text)))
