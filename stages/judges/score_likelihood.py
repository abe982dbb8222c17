"""score_likelihood: what log-probabilities say of an answer, without a judge (spec judges §9, §15, §16, C3 J5)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property
from typing import Any, ClassVar, Literal

from pydantic import Field, field_validator

from pipeline import ids
from pipeline.engine import ScoreRequest
from pipeline.errors import PlanError, Rejected
from pipeline.prompts import Template
from pipeline.records import Candidate, Judgment
from pipeline.stage import Context, Example, Stage
from stages.judges.calls import ask_each
from stages.judges.families import model_family
from stages.judges.follow_ups import CATEGORIES, FollowUps
from stages.judges.gauge import Gauge
from stages.judges.hygiene import as_data, prompt_text
from stages.judges.likelihood import category_mean, follow_up_reward, implicit_reward

Found = float | Rejected
Measure = Literal["logp", "certainty"]


class ScoreLikelihood(Stage):
    """Measures every candidate by an engine's log-probabilities.

    signals:
    - `logp`: log π(answer | prompt), summed over the answer's tokens with the end of its turn, tokenized as in training;
      mode `likelihood`. Of `reference` (aspect logp_ref, which gives pairs their difficulty) and of `engine` (aspect
      logp); with both also β·log(π/πref), the implicit reward of DPO, mode `rm`. Without `reference` the engine is it.
    - `flr`: how much likelier satisfied follow-ups of the user are than dissatisfied ones, per_polarity of each for every
      category; mode `flr`, aspects `flr_<category>` and `flr`, their mean (half of them must be known).
    - `self_certainty`: mean over tokens of KL(p ‖ uniform), by the likeliest tokens; aspect kl_p_uniform. It rewards
      confidence, right or wrong: a tie-breaker, never a label.
    What is measured counts in a score only where its aspect is given a weight. FLR costs 24 prefills a candidate and is
    off by default. template: how prompt and answer are shown before the follow-ups. Counts: `refused:<reason>`.
    """

    version: ClassVar[int] = 1
    template_variables: ClassVar[frozenset[str]] = frozenset({"prompt", "response"})

    engine: str
    reference: str | None = None
    signals: tuple[Literal["logp", "flr", "self_certainty"], ...] = Field(("logp",), min_length=1)
    beta: float = Field(0.1, gt=0)
    categories: tuple[FollowUps, ...] = Field(tuple(CATEGORIES.values()), min_length=1)
    per_polarity: int = Field(2, ge=1)
    template: str = "default"

    @field_validator("categories", mode="before")
    @classmethod
    def _spelled(cls, value: Any) -> Any:
        """Names become the follow-ups of the library, so that their texts are part of the recipe."""
        if not isinstance(value, (list, tuple)):
            return value
        if unknown := [name for name in value if isinstance(name, str) and name not in CATEGORIES]:
            raise ValueError(f"unknown category {', '.join(unknown)}; categories: {', '.join(CATEGORIES)}")
        return tuple(CATEGORIES[name] if isinstance(name, str) else name for name in value)

    def check(self) -> None:
        """Raises PlanError when there are too few follow-ups, or a reference that nothing asks for."""
        for category in self.categories:
            if (least := min(len(category.positive), len(category.negative))) < self.per_polarity:
                raise PlanError(
                    f"score_likelihood: category {category.name} has {least} follow-ups of a kind, per_polarity asks for "
                    f"{self.per_polarity}"
                )
        if self.reference is not None and "logp" not in self.signals:
            raise PlanError("score_likelihood: reference is asked for signal logp alone; add it or leave reference out")

    def engines(self) -> tuple[str, ...]:
        """The engine, then the reference."""
        return tuple(dict.fromkeys((self.engine, *([self.reference] if self.reference else []))))

    def capabilities(self, alias: str) -> frozenset[str]:
        """`score`, and `certainty` where that is asked of it."""
        certain = "self_certainty" in self.signals and alias == self.engine
        return frozenset({"score", *(["certainty"] if certain else [])})

    def templates(self) -> tuple[Template, ...]:
        """That of the follow-ups, where they are asked for."""
        return super().templates() if "flr" in self.signals else ()

    @cached_property
    def _identity(self) -> str:
        fields = self.model_dump(mode="json", include={"beta", "categories", "per_polarity"})
        return ids.content_hash(
            "score_likelihood/1", self.version, fields, [template.sha256 for template in self.templates()]
        )

    async def process(self, example: Example[Candidate], ctx: Context) -> list[Judgment]:
        """The judgments of the signals, each for all candidates. Raises EngineError."""
        made: list[Judgment] = []
        if "logp" in self.signals:
            made += await self._logps(example, ctx)
        if "flr" in self.signals:
            made += await self._follow_ups(example, ctx)
        if "self_certainty" in self.signals:
            gauge = self._gauge(ctx, "self_certainty", self.engine)
            for candidate, tokens in await self._turns(example, ctx, self.engine, "certainty"):
                value = tokens if isinstance(tokens, Rejected) else _mean(tokens)
                made.append(gauge.row(candidate, value, "kl_p_uniform", (0.0, math.inf), _length(tokens)))
        return made

    def _gauge(self, ctx: Context, mode: str, alias: str) -> Gauge:
        judge = ctx.engine_models.get(alias) or alias
        family = ctx.engine_families.get(alias) or model_family(judge)
        return Gauge(ctx.job, mode, judge, family, self._identity)

    async def _turns(
        self, example: Example[Candidate], ctx: Context, alias: str, measure: Measure
    ) -> list[tuple[Candidate, list[float] | Rejected]]:
        """Each candidate's tokens, measured as the assistant's whole turn. Equal texts are asked once."""
        texts = list(dict.fromkeys(c.text for c in example.candidates))
        said = example.prompt.messages
        asked = [ScoreRequest(text, messages=said, whole_turn=True, measure=measure) for text in texts]
        found = dict(zip(texts, await self._ask(ctx, alias, asked), strict=True))
        return [(candidate, found[candidate.text]) for candidate in example.candidates]

    async def _ask(self, ctx: Context, alias: str, requests: Sequence[ScoreRequest]) -> list[list[float] | Rejected]:
        found = await ask_each(ctx.engines[alias].score, requests)
        for answer in found:
            if isinstance(answer, Rejected):
                ctx.count(f"refused:{answer.reason}")
        return found

    async def _logps(self, example: Example[Candidate], ctx: Context) -> list[Judgment]:
        aliases = {"logp": self.engine, "logp_ref": self.reference} if self.reference else {"logp_ref": self.engine}
        made: list[Judgment] = []
        sums: list[list[Found]] = []
        for aspect, alias in aliases.items():
            gauge = self._gauge(ctx, "likelihood", alias)
            measured = await self._turns(example, ctx, alias, "logp")
            sums.append([tokens if isinstance(tokens, Rejected) else math.fsum(tokens) for _, tokens in measured])
            bounds = (-math.inf, 0.0)
            rows = zip(measured, sums[-1], strict=True)
            made += [gauge.row(c, total, aspect, bounds, _length(tokens)) for (c, tokens), total in rows]
        if len(sums) == 2 and self.reference:
            gauge = self._gauge(ctx, "rm", self.engine)
            reference = ctx.engine_models.get(self.reference) or self.reference
            gauge = gauge._replace(judge=f"implicit:{gauge.judge}|{reference}")
            pairs = zip(example.candidates, *sums, strict=True)
            made += [gauge.row(c, self._implicit(policy, other), "implicit_reward") for c, policy, other in pairs]
        return made

    def _implicit(self, policy: Found, reference: Found) -> Found:
        if isinstance(policy, Rejected) or isinstance(reference, Rejected):
            return policy if isinstance(policy, Rejected) else reference
        return implicit_reward(policy, reference, self.beta)

    async def _follow_ups(self, example: Example[Candidate], ctx: Context) -> list[Judgment]:
        gauge, template = self._gauge(ctx, "flr", self.engine), self.templates()[0]
        texts = list(dict.fromkeys(c.text for c in example.candidates))
        n, asked = self.per_polarity, prompt_text(example.prompt.messages)
        said = [(*c.positive[:n], *c.negative[:n]) for c in self.categories]
        shown = [template.render(prompt=asked, response=as_data(text)) for text in texts]
        requests = [ScoreRequest(f, messages=m) for m in shown for category in said for f in category]
        answers = iter(await self._ask(ctx, self.engine, requests))
        found = {text: [_flr([next(answers) for _ in range(2 * n)]) for _ in self.categories] for text in texts}
        made = []
        for candidate in example.candidates:
            rewards = dict(zip([f"flr_{c.name}" for c in self.categories], found[candidate.text], strict=True))
            known = {name: None if isinstance(reward, Rejected) else reward for name, reward in rewards.items()}
            failed = next((reward for reward in rewards.values() if isinstance(reward, Rejected)), None)
            mean = category_mean(known)
            made += [gauge.row(candidate, reward, name) for name, reward in rewards.items()]
            made.append(gauge.row(candidate, failed if mean is None else mean, "flr"))
        return made


def _flr(answers: Sequence[list[float] | Rejected]) -> Found:
    """The reward of a category from its follow-ups, the satisfied half first."""
    known = [tokens for tokens in answers if not isinstance(tokens, Rejected)]
    if len(known) < len(answers):
        return next(answer for answer in answers if isinstance(answer, Rejected))
    half = len(known) // 2
    return follow_up_reward(known[:half], known[half:]) if all(known) else math.nan


def _mean(tokens: Sequence[float]) -> float:
    return math.fsum(tokens) / len(tokens) if tokens else math.nan


def _length(tokens: Sequence[float] | Rejected) -> int | None:
    return None if isinstance(tokens, Rejected) else len(tokens)
