"""vLLM's asynchronous engine in this process: a GPU, or a CPU with vLLM's CPU build."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from pipeline import vllm_arguments as as_vllm
from pipeline.certainty import TOP, certainty
from pipeline.chat import ChatEncoder
from pipeline.engine import Capability, Completion, Engine, EngineConfig, Request, RewardRequest, ScoreRequest
from pipeline.errors import EngineError, PlanError, Rejected
from pipeline.labels import label_tokens
from pipeline.model_files import adapter_rank, find_model, model_digest, read_template
from pipeline.records import Message
from pipeline.tokenizer import load_tokenizer
from pipeline.vllm_calls import Calls, start
from pipeline.vllm_pooling import PoolingEngine

log = logging.getLogger(__name__)


class Vllm(EngineConfig):
    """A model that vLLM runs here. `model` is a folder (also below the installation, `models/abacus`) or a hub name.

    `task`: generate (and score); reward: a sequence or token classification model, or another that vLLM knows to give
    rewards, of whole answers or of steps; embed. `lora` is an adapter's folder; `chat_template` a file or the template's
    text; `engine_args` goes to vLLM's AsyncEngineArgs as it is and wins over the other fields.
    """

    kind: str = "vllm"
    task: Literal["generate", "reward", "embed"] = "generate"
    dtype: Literal["auto", "bfloat16", "float16", "float32"] = "auto"
    max_model_len: int | None = Field(None, ge=8)
    tensor_parallel: int | None = Field(None, ge=1)  # default: over all GPUs of a replica
    gpu_memory_utilization: float = Field(0.9, gt=0, le=1)
    cpu_kv_cache_gb: float = Field(1.0, gt=0)  # size of the key-value cache on a CPU, GiB
    max_num_seqs: int = Field(256, ge=1)
    enforce_eager: bool | None = None  # default: on a CPU yes, on a GPU no
    enable_prefix_caching: bool = True
    seed: int = 0
    quantization: str | None = None
    lora: str | None = None
    chat_template: str | None = None
    mean_logp: bool = False  # log-probability of sampled tokens; on a CPU it costs a quarter of the throughput
    engine_args: dict[str, Any] = Field(default_factory=dict)

    not_identity: ClassVar[frozenset[str]] = frozenset(
        "resources tensor_parallel gpu_memory_utilization cpu_kv_cache_gb max_num_seqs enforce_eager".split()
    )

    def capabilities(self) -> frozenset[Capability]:
        """What its task is."""
        if self.task != "generate":
            return frozenset({self.task})
        return super().capabilities() | {"score", "certainty", "token_texts"}

    def batch(self) -> int:
        """Sequences that vLLM runs in one step."""
        return int(self.engine_args.get("max_num_seqs", self.max_num_seqs))

    def check(self) -> None:
        """Raises PlanError for a model, adapter or template that does not exist; loads nothing."""
        find_model(self.model)
        if self.tensor_parallel and 0 < (gpus := self.resources.gpus) < self.tensor_parallel:
            raise PlanError(f"tensor_parallel {self.tensor_parallel} is more than resources.gpus {gpus:g}")
        if self.lora is not None:
            adapter_rank(self.lora)
        read_template(self.chat_template)

    def identity(self) -> dict[str, Any]:
        """The fields, with digests of local models and the text of the chat template."""
        found = super().identity() | {"chat_template": read_template(self.chat_template)}
        for field in ("model", "lora"):
            path = getattr(self, field)
            if path and (folder := Path(find_model(path, field))).is_dir():
                found[f"{field}_digest"] = model_digest(folder)
        return found

    async def open(self) -> Engine:
        """Loads the model (about 20 s for a small one on a CPU). Raises EngineError, or PlanError without vLLM."""
        llm = start(self.model_dump(), self.dtype)
        if self.task != "generate":
            calls, raw = Calls(llm, self.model, self.lora), load_tokenizer(find_model(self.model)).raw
            chat = ChatEncoder(raw, read_template(self.chat_template), self.model)
            return PoolingEngine(calls, chat, await llm.get_supported_tasks())
        engine = VllmEngine(self, llm)
        try:
            await engine.probe()
        except EngineError:
            log.warning("the 16-bit kernels of this CPU fail on %s; it runs in float32 instead", self.model)
            await engine.close()
            engine = VllmEngine(self, start(self.model_dump(), "float32"))
        return engine


class VllmEngine:
    """One AsyncLLM with its tokenizer. vLLM batches the requests; any number may be in flight."""

    def __init__(self, config: Vllm, llm: Any) -> None:
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind, StructuredOutputsParams

        self.llm = llm
        self._config = config
        self._raw = load_tokenizer(find_model(config.model)).raw
        self._chat = ChatEncoder(self._raw, read_template(config.chat_template), config.model)
        self._params, self._structured = SamplingParams, StructuredOutputsParams
        self._whole = RequestOutputKind.FINAL_ONLY
        self._calls = Calls(llm, config.model, config.lora)
        self.context, self._shortest = self._calls.context, self._calls.shortest
        self._labels: dict[tuple[str, ...], dict[int, str]] = {}

    async def generate(self, requests: Sequence[Request]) -> list[list[Completion]]:
        """`sampling.n` completions for each request; sample i has seed `request.seed + i`.

        Raises Rejected (context_overflow, prompt_too_short, invalid_request), EngineError when the engine died.
        """
        sent = [(self._prompt(r, r.assistant_prefix), self._sampling(r)) for r in requests]
        for ids, params in sent:
            as_vllm.check_length(len(ids), params.max_tokens, self.context, self._shortest)
        outputs = await asyncio.gather(*[self._calls.ask(ids, params) for ids, params in sent])
        return list(await asyncio.gather(*[self._completions(r, o) for r, o in zip(requests, outputs, strict=True)]))

    async def score(self, requests: Sequence[ScoreRequest]) -> list[list[float]]:
        """See Engine. Raises Rejected (context_overflow, prompt_too_short) and EngineError."""
        return list(await asyncio.gather(*[self._score(request) for request in requests]))

    async def reward(self, requests: Sequence[RewardRequest]) -> list[list[float]]:
        """Raises PlanError: this model was started to generate."""
        raise PlanError(f"{self._config.model} was started to write; give reward an engine with task: reward")

    async def embed(self, texts: Sequence[str]) -> np.ndarray:
        """Raises PlanError: this model was started to generate."""
        raise PlanError(f"{self._config.model} was started to write; give embed an engine with task: embed")

    async def close(self) -> None:
        """Ends the engine's process."""
        self._calls.close()
        self.llm = None

    def stats(self) -> dict[str, float]:
        """Counters since start; cached_tokens: prompt tokens found in the prefix cache; seconds_busy: with work."""
        return dict(self._calls.stats)

    async def probe(self) -> None:
        """Tries what some CPUs cannot do: prompts of which 1 to 4 tokens are not in the prefix cache.

        Raises EngineError when that ended the engine's process.
        """
        block = self.llm.vllm_config.cache_config.block_size
        fits = self.context > block + as_vllm.SHORT_PROMPT + 1
        if self._calls.fragile and self._config.enable_prefix_caching and fits:
            for rest in range(as_vllm.SHORT_PROMPT + 1):
                await self._calls.ask([1] * block + [2] * rest, self._params(max_tokens=1, output_kind=self._whole))
            self._calls.reset()

    def _prompt(self, request: Request | ScoreRequest, then: str) -> list[int]:
        if request.messages is not None:
            return self._chat(request.messages, then)
        if request.token_ids is None:
            raise PlanError("a request needs messages or token_ids")
        return [*request.token_ids, *(self._chat.encode_text(then) if then else ())]

    def _label_ids(self, labels: tuple[str, ...]) -> dict[int, str]:
        if labels not in self._labels:
            self._labels[labels] = label_tokens(self._raw, labels)
        return self._labels[labels]

    def _sampling(self, request: Request) -> Any:
        arguments = as_vllm.sampling_arguments(request, self._label_ids(request.labels), self._config.mean_logp)
        try:
            if request.structured:
                arguments["structured_outputs"] = self._structured(**request.structured)
            return self._params(output_kind=self._whole, **arguments)
        except self._calls.refusals as error:
            raise Rejected("invalid_request", str(error).split("\n")[0]) from error

    async def _completions(self, request: Request, output: Any) -> list[Completion]:
        prompt, samples = output.prompt_token_ids, output.outputs
        labels: Sequence[dict[str, float] | None] = [None] * len(samples)
        if request.labels:
            labels = await asyncio.gather(*[self._label_probs(request, prompt, sample) for sample in samples])
        found = zip(samples, labels, strict=True)
        made = [as_vllm.read_completion(request, prompt, s, self._chat, label) for s, label in found]
        return made * request.sampling.n if len(made) < request.sampling.n else made

    async def _label_probs(self, request: Request, prompt: list[int], sample: Any) -> dict[str, float] | None:
        labels = self._label_ids(request.labels)
        position = as_vllm.last_label(labels, sample.token_ids)
        if not request.structured or position is None:
            return as_vllm.read_labels(labels, sample.logprobs, position)
        # Asked again without the grammar, in one token that finds everything before it in the prefix cache.
        params = self._params(output_kind=self._whole, logprob_token_ids=list(labels), **as_vllm.READING)
        again = await self._calls.ask([*prompt, *sample.token_ids[:position]], params)
        return as_vllm.read_labels(labels, again.outputs[0].logprobs, 0)

    async def _score(self, request: ScoreRequest) -> list[float]:
        whole, start_at = self._scored(request)
        if not (tokens := whole[start_at:]):
            return []
        as_vllm.check_length(len(whole) if start_at else 0, 1, self.context, self._shortest)
        top = TOP if request.measure == "certainty" else 0
        params = self._params(output_kind=self._whole, prompt_logprobs=top, **as_vllm.READING)
        found = as_vllm.read_scores((await self._calls.ask(whole, params)).prompt_logprobs, start_at, tokens)
        if found is None:
            raise EngineError(f"vLLM scored other tokens of {self._config.model} than were asked")
        if request.measure == "certainty":
            vocabulary = self.llm.model_config.get_vocab_size()
            return [certainty(list(known.values()), vocabulary) for known in found]
        return [known[token] for token, known in zip(tokens, found, strict=True)]

    def _scored(self, request: ScoreRequest) -> tuple[list[int], int]:
        """All token ids of a request, and where those begin that are to be measured."""
        before, given = self._prompt(request, ""), request.continuation
        if not isinstance(given, str):
            return [*before, *given], len(before)
        if not request.whole_turn or request.messages is None:
            return self._prompt(request, given), len(before)
        whole = self._chat.whole([*request.messages, Message("assistant", given)])
        same = next((i for i, (a, b) in enumerate(zip(before, whole, strict=False)) if a != b), len(before))
        return whole, min(same, len(whole))
