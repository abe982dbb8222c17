"""One running AsyncLLM: started, then a function from token ids to output with failures translated, all counted."""

from __future__ import annotations

import contextlib
import itertools
import os
import time
from collections.abc import Iterator, Mapping
from typing import Any

from pipeline import vllm_arguments as as_vllm
from pipeline.errors import EngineDied, EngineError, PlanError, Rejected
from pipeline.model_files import find_model

_QUIET = {"VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
_QUIET |= {"VLLM_LOGGING_LEVEL": "ERROR", "TOKENIZERS_PARALLELISM": "false"}


class Calls:
    """llm: vLLM's AsyncLLM; model: its name; lora: the folder of an adapter.

    context: tokens that fit; fragile: whether short prompts can end the engine (16-bit kernels of some CPUs), so that
    `shortest` is the least number of tokens; refusals: what vLLM raises for requests that can never be answered.
    """

    def __init__(self, llm: Any, model: str, lora: str | None = None) -> None:
        from vllm import PoolingParams
        from vllm.exceptions import VLLMClientError
        from vllm.lora.request import LoRARequest

        self.llm = llm
        self.model = model
        self.refusals: tuple[type[Exception], ...] = (VLLMClientError, ValueError)
        self.context: int = llm.model_config.max_model_len
        on_cpu = llm.vllm_config.device_config.device_type == "cpu"
        self.fragile = on_cpu and "float32" not in str(llm.model_config.dtype)
        self.shortest = as_vllm.SHORT_PROMPT + 1 if self.fragile else 1
        self._pooling = PoolingParams
        self._lora = LoRARequest("adapter", 1, find_model(lora, "lora")) if lora else None
        self._ids = itertools.count()
        self._in_flight, self._since = 0, 0.0
        self.reset()

    def reset(self) -> None:
        """Counts from zero."""
        self.stats = dict.fromkeys(("requests", "prompt_tokens", "tokens", "cached_tokens", "seconds_busy"), 0.0)

    async def ask(self, ids: list[int], params: Any) -> Any:
        """The output of one request (SamplingParams or PoolingParams) when all of it is finished.

        Raises Rejected and EngineError. A cancelled call is aborted in the engine too.
        """
        output: Any = None
        if not self._in_flight:
            self._since = time.monotonic()
        self._in_flight += 1
        try:
            if (llm := self.llm) is None:  # another call met the engine's end a moment ago
                raise EngineDied(f"vLLM on {self.model} has ended")
            call = llm.encode if isinstance(params, self._pooling) else llm.generate
            prompt = {"type": "token", "prompt_token_ids": ids}
            async for made in call(prompt, params, str(next(self._ids)), lora_request=self._lora):
                output = made
        except self.refusals as error:
            raise Rejected("invalid_request", str(error).split("\n")[0]) from error
        except EngineDied:
            raise
        except Exception as error:
            failure = EngineDied if llm.errored else EngineError  # errored: the core process is gone
            raise failure(f"vLLM failed on {self.model}: {error or type(error).__name__}") from error
        finally:
            self._in_flight -= 1
            if not self._in_flight:
                self.stats["seconds_busy"] += time.monotonic() - self._since
        if output is None or _cut_short(output):  # by a signal that a scheduler or a terminal sends to all processes
            raise EngineDied(f"vLLM gave up a request to {self.model}: its process was told to stop")
        self._count(output)
        return output

    def close(self) -> None:
        """Ends the engine's process."""
        if self.llm is not None:
            self.llm.shutdown()
        self.llm = None  # else it is shut down again, noisily, when the interpreter ends

    def _count(self, output: Any) -> None:
        self.stats["requests"] += 1
        self.stats["prompt_tokens"] += len(output.prompt_token_ids)
        self.stats["cached_tokens"] += output.num_cached_tokens or 0
        if isinstance(output.outputs, list):  # samples
            self.stats["tokens"] += sum(len(sample.token_ids) for sample in output.outputs)


def _cut_short(output: Any) -> bool:
    """Whether vLLM ended a request before its end: what is there would pass for a short answer."""
    samples = output.outputs if isinstance(output.outputs, list) else []
    return any(sample.finish_reason in (None, "abort") for sample in samples)


def start(fields: Mapping[str, Any], dtype: str) -> Any:
    """The AsyncLLM of a Vllm config's fields.

    Raises PlanError where vLLM is not installed or has no such argument, EngineError when it does not start.
    """
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    try:
        from vllm.engine.arg_utils import AsyncEngineArgs
        from vllm.platforms import current_platform
        from vllm.v1.engine.async_llm import AsyncLLM
    except ImportError as error:
        raise PlanError(f"engine kind vllm needs vLLM ({error}); install it or use kind openai") from error
    arguments = as_vllm.engine_arguments(fields, dtype, on_cpu := current_platform.is_cpu())
    if unknown := sorted(arguments.keys() - AsyncEngineArgs.__dataclass_fields__.keys()):
        raise PlanError(f"engine_args: vLLM's AsyncEngineArgs has no {', '.join(unknown)}")
    try:
        with _one_process(on_cpu and arguments["tensor_parallel_size"] == 1):
            return AsyncLLM.from_engine_args(AsyncEngineArgs(**arguments))
    except Exception as error:
        lines = [line.strip() for line in str(error).splitlines()] or [type(error).__name__]
        told = next((line for line in lines if line.startswith("Value error,")), lines[0])  # pydantic's own words first
        raise EngineError(f"vLLM could not start {fields['model']}: {told}") from error


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
