"""vLLM's asynchronous engine in this process: a GPU, or a CPU with vLLM's CPU build."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from pipeline import vllm_arguments as as_vllm
from pipeline.chat import ChatEncoder
from pipeline.engine import Capability, Completion, EngineConfig, Request, ScoreRequest
from pipeline.errors import EngineError, PlanError, Rejected
from pipeline.labels import label_tokens
from pipeline.model_files import adapter_rank, find_model, model_digest, read_template
from pipeline.tokenizer import load_tokenizer
from pipeline.vllm_calls import Calls

_QUIET = {"VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
_QUIET |= {"VLLM_LOGGING_LEVEL": "ERROR", "TOKENIZERS_PARALLELISM": "false"}
log = logging.getLogger(__name__)


class Vllm(EngineConfig):
    """A model that vLLM runs here. `model` is a folder (also below the installation, `models/abacus`) or a hub name.

    `lora` is an adapter's folder; `chat_template` a file or the template's text; `engine_args` goes to vLLM's
    AsyncEngineArgs as it is and wins over the other fields.
    """

    kind: str = "vllm"
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
        """All but embeddings."""
        return super().capabilities() | {"score", "token_texts"}

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

    async def open(self) -> VllmEngine:
        """Loads the model (about 20 s for a small one on a CPU). Raises EngineError, or PlanError without vLLM."""
        engine = VllmEngine(self, _start(self, self.dtype))
        try:
            await engine.probe()
        except EngineError:
            log.warning("the 16-bit kernels of this CPU fail on %s; it runs in float32 instead", self.model)
            await engine.close()
            engine = VllmEngine(self, _start(self, "float32"))
        return engine


class VllmEngine:
    """One AsyncLLM with its tokenizer. vLLM batches the requests; any number may be in flight."""

    def __init__(self, config: Vllm, llm: Any) -> None:
        from vllm import SamplingParams
        from vllm.exceptions import VLLMClientError
        from vllm.lora.request import LoRARequest
        from vllm.sampling_params import RequestOutputKind, StructuredOutputsParams

        self.llm = llm
        self.context: int = llm.model_config.max_model_len
        self._config = config
        self._raw = load_tokenizer(find_model(config.model)).raw
        self._chat = ChatEncoder(self._raw, read_template(config.chat_template), config.model)
        self._params, self._structured = SamplingParams, StructuredOutputsParams
        self._whole = RequestOutputKind.FINAL_ONLY
        self._refusals = (VLLMClientError, ValueError)
        lora = LoRARequest("adapter", 1, find_model(config.lora, "lora")) if config.lora else None
        self._calls = Calls(llm, config.model, self._refusals, lora)
        self._labels: dict[tuple[str, ...], dict[int, str]] = {}
        on_cpu = llm.vllm_config.device_config.device_type == "cpu"
        self._fragile = on_cpu and "float32" not in str(llm.model_config.dtype)
        self._shortest = as_vllm.SHORT_PROMPT + 1 if self._fragile else 1

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
        """Natural log-probability of every continuation token given what stands before it."""
        return list(await asyncio.gather(*[self._score(request) for request in requests]))

    async def embed(self, texts: Sequence[str]) -> np.ndarray:
        """Raises PlanError: this kind runs models that generate."""
        raise PlanError("engine kind vllm does not embed; use kind openai with the endpoint of an embedding model")

    async def close(self) -> None:
        """Ends the engine's process."""
        if self.llm is not None:
            self.llm.shutdown()
        self.llm = self._calls.llm = None  # else it is shut down again, noisily, when the interpreter ends

    def stats(self) -> dict[str, float]:
        """Counters since start; cached_tokens: prompt tokens found in the prefix cache; seconds_busy: with work."""
        return dict(self._calls.stats)

    async def probe(self) -> None:
        """Tries what some CPUs cannot do: prompts of which 1 to 4 tokens are not in the prefix cache.

        Raises EngineError when that ended the engine's process.
        """
        block = self.llm.vllm_config.cache_config.block_size
        if self._fragile and self._config.enable_prefix_caching and self.context > block + as_vllm.SHORT_PROMPT + 1:
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
        except self._refusals as error:
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
        before = self._prompt(request, "")
        given = request.continuation
        whole = self._prompt(request, given) if isinstance(given, str) else [*before, *given]
        if not (tokens := whole[len(before) :]):
            return []
        as_vllm.check_length(len(whole) if before else 0, 1, self.context, self._shortest)
        output = await self._calls.ask(whole, self._params(output_kind=self._whole, **as_vllm.SCORING))
        scores = as_vllm.read_scores(output.prompt_logprobs, len(before), tokens)
        if scores is None:
            raise EngineError(f"vLLM scored other tokens of {self._config.model} than were asked")
        return scores


def _start(config: Vllm, dtype: str) -> Any:
    """The AsyncLLM of a config. Raises PlanError where vLLM is not installed, EngineError when it does not start."""
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    try:
        from vllm.engine.arg_utils import AsyncEngineArgs
        from vllm.platforms import current_platform
        from vllm.v1.engine.async_llm import AsyncLLM
    except ImportError as error:
        raise PlanError(f"engine kind vllm needs vLLM ({error}); install it or use kind openai") from error
    arguments = as_vllm.engine_arguments(config.model_dump(), dtype, on_cpu := current_platform.is_cpu())
    if unknown := sorted(arguments.keys() - AsyncEngineArgs.__dataclass_fields__.keys()):
        raise PlanError(f"engine_args: vLLM's AsyncEngineArgs has no {', '.join(unknown)}")
    try:
        with _one_process(on_cpu and arguments["tensor_parallel_size"] == 1):
            return AsyncLLM.from_engine_args(AsyncEngineArgs(**arguments))
    except Exception as error:
        lines = [line.strip() for line in str(error).splitlines()] or [type(error).__name__]
        told = next((line for line in lines if line.startswith("Value error,")), lines[0])  # pydantic's own words first
        raise EngineError(f"vLLM could not start {config.model}: {told}") from error


@contextlib.contextmanager
def _one_process(wanted: bool) -> Iterator[None]:
    """On a CPU vLLM puts a worker process behind the engine's process unless this variable is set while it starts.

    It does so to bind OpenMP threads to cores, which one small engine does not need; without, every step is cheaper
    and the engine starts with one process less.
    """
    name = "VLLM_ENABLE_V1_MULTIPROCESSING"
    if not wanted or name in os.environ:
        yield
        return
    os.environ[name] = "0"
    try:
        yield
    finally:
        del os.environ[name]
