"""Sample n answers to every prompt, from one engine or a weighted pool of them, plain or under system principles."""

from __future__ import annotations

import asyncio
import random
from typing import ClassVar, Literal, NamedTuple

from pydantic import Field, field_validator, model_validator

from pipeline import ids
from pipeline.engine import Completion, Request, Sampling
from pipeline.prompts import Template
from pipeline.records import Candidate, Message, Prompt
from pipeline.stage import Context, Example, Stage
from stages.candidates.principles import Principle
from stages.contexts.system_message import with_system

Relation = Literal["on", "off", "weak", "strong", "edited", "human", "gold", "corrupted"]  # to the policy to be trained


class Ask(NamedTuple):
    """What one engine of the pool is asked. `purpose` tells the requests of one prompt apart."""

    engine: str
    principle: Principle | None
    messages: tuple[Message, ...]
    sampling: Sampling
    purpose: str


class Generate(Stage):
    """Candidates. `engine`: one alias, or `pool`: alias -> weight, from which `models_per_prompt` are drawn without
    replacement (UltraFeedback draws 4 of 17); `sampling.n` answers from each. `reference: true` adds one greedy answer
    of the first engine drawn.
    """

    version: ClassVar[int] = 1
    template_variables: ClassVar[frozenset[str]] = frozenset({"prompt", "principle"})

    engine: str | None = None
    pool: dict[str, float] = Field(default_factory=dict)
    models_per_prompt: int | None = Field(None, ge=1)
    sampling: Sampling = Sampling()
    template: str | None = None
    principles: tuple[Principle, ...] = ()
    reference: bool = False
    token_ids: bool = False
    policy_relation: Relation | dict[str, Relation] | None = None  # per engine; of one engine: on

    @field_validator("pool")
    @classmethod
    def _weights_are_positive(cls, pool: dict[str, float]) -> dict[str, float]:
        if any(weight <= 0 for weight in pool.values()):
            raise ValueError("weights of a pool must be above 0; leave an engine out to never draw it")
        return pool

    @model_validator(mode="after")
    def _one_way_to_name_engines(self) -> Generate:
        if bool(self.engine) == bool(self.pool):
            raise ValueError("give either engine: alias or pool: {alias: weight, …}")
        if isinstance(self.policy_relation, dict) and (unknown := self.policy_relation.keys() - {*self.engines()}):
            raise ValueError(
                f"policy_relation names {', '.join(sorted(unknown))}; the engines are {', '.join(self.engines())}"
            )
        if self.models_per_prompt and self.models_per_prompt > len(self.engines()):
            raise ValueError(
                f"models_per_prompt is {self.models_per_prompt}, the pool has {len(self.engines())} engines"
            )
        return self

    def engines(self) -> tuple[str, ...]:
        return (self.engine,) if self.engine else tuple(self.pool)

    def capabilities(self, alias: str) -> frozenset[str]:
        return frozenset({"generate", "token_ids"} if self.token_ids else {"generate"})

    async def process(self, example: Example[Prompt], ctx: Context) -> list[Candidate]:
        prompt = example.prompt
        asks = self._asks(prompt, ctx)
        requests = [self._request(prompt, ask, ctx) for ask in asks]
        if len(asks) == 1:
            answers = [await ctx.engines[asks[0].engine].generate(requests)]
        else:
            calls = (ctx.engines[ask.engine].generate([r]) for ask, r in zip(asks, requests, strict=True))
            answers = await asyncio.gather(*calls)
        made: list[Candidate] = []
        for ask, request, (completions,) in zip(asks, requests, answers, strict=True):
            for completion in completions:
                made.append(self._candidate(ask, request, completion, len(made), ctx))
        return made

    def _asks(self, prompt: Prompt, ctx: Context) -> list[Ask]:
        """Who is asked what. Draws depend on the prompt alone, so any worker draws the same."""
        draw = ids.stream(ctx.run_seed, ctx.job, prompt.prompt_id, "generate")
        template = self.templates()[0] if self.template else None
        asks = []
        for alias in self._draw_engines(draw):
            principle = (
                draw.choices(self.principles, [p.weight for p in self.principles])[0] if self.principles else None
            )
            messages = _messages(prompt, principle, template)
            asks.append(Ask(alias, principle, messages, self.sampling, f":{alias}" if self.pool else ""))
        if self.reference:
            greedy = self.sampling.model_copy(update={"n": 1, "temperature": 0.0})
            asks.append(Ask(asks[0].engine, None, _messages(prompt, None, template), greedy, ":reference"))
        return asks

    def _request(self, prompt: Prompt, ask: Ask, ctx: Context) -> Request:
        return Request(
            sampling=ask.sampling,
            key=f"{ctx.job}:{prompt.prompt_id}{ask.purpose}",
            seed=ctx.seed(prompt.prompt_id, f"generate{ask.purpose}"),
            messages=ask.messages,
            want_token_ids=self.token_ids,
        )

    def _draw_engines(self, draw: random.Random) -> list[str]:
        """`models_per_prompt` engines without replacement, by weight (Efraimidis–Spirakis keys); all when not set."""
        if not self.pool:
            return list(self.engines())
        keyed = sorted(((draw.random() ** (1 / weight), alias) for alias, weight in self.pool.items()), reverse=True)
        return [alias for _, alias in keyed[: self.models_per_prompt or len(keyed)]]

    def _candidate(self, ask: Ask, request: Request, completion: Completion, index: int, ctx: Context) -> Candidate:
        prompt_id = request.key.split(":")[1]
        model = completion.model or ctx.engine_models[ask.engine]
        system = ask.messages[0].content if ask.messages[0].role == "system" else None
        return Candidate(
            prompt_id=prompt_id,
            candidate_id=ids.content_hash("cand/1", prompt_id, ctx.job, model, index, completion.text),
            text=completion.text,
            job=ctx.job,
            sample_idx=index,
            model=model,
            engine=ctx.engine_kinds[ask.engine],
            temperature=ask.sampling.temperature,
            top_p=ask.sampling.top_p,
            seed=request.seed,
            max_tokens=ask.sampling.max_tokens,
            finish_reason=completion.finish_reason,
            n_tokens=completion.n_tokens,
            mean_logp=completion.mean_logp,
            policy_relation=self._relation(ask.engine),
            principle=ask.principle.name if ask.principle else None,
            gen_context_id=ids.content_hash("context/1", system) if system else None,
            token_ids=completion.token_ids,
        )

    def _relation(self, engine: str) -> str | None:
        given = self.policy_relation
        if isinstance(given, dict):
            return given.get(engine)
        return given or ("on" if self.engine else None)


def _messages(prompt: Prompt, principle: Principle | None, template: Template | None) -> tuple[Message, ...]:
    """The prompt as it is, or its last turn through a template; a principle without one joins the system message."""
    if template:
        earlier = prompt.messages[:-1]
        rendered = template.render(prompt=prompt.text, principle=principle.text if principle else "")
        if rendered and rendered[0].role == "system":
            return (*with_system(rendered[0].content, earlier), *rendered[1:])
        return (*earlier, *rendered)
    return with_system(principle.text, prompt.messages) if principle else prompt.messages
