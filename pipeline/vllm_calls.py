"""One running AsyncLLM as a function from token ids to output: failures translated, everything counted."""

from __future__ import annotations

import itertools
import time
from typing import Any

from pipeline.errors import EngineDied, EngineError, Rejected


class Calls:
    """llm: vLLM's AsyncLLM; refusals: what it raises for requests that can never be answered; lora: a LoRARequest."""

    def __init__(self, llm: Any, model: str, refusals: tuple[type[Exception], ...], lora: Any) -> None:
        self.llm = llm
        self._model = model
        self._refusals = refusals
        self._lora = lora
        self._ids = itertools.count()
        self._in_flight, self._since = 0, 0.0
        self.reset()

    def reset(self) -> None:
        """Counts from zero."""
        self.stats = dict.fromkeys(("requests", "prompt_tokens", "tokens", "cached_tokens", "seconds_busy"), 0.0)

    async def ask(self, ids: list[int], params: Any) -> Any:
        """The RequestOutput of one request when all its samples are finished. Raises Rejected and EngineError.

        A cancelled call is aborted in the engine too.
        """
        output: Any = None
        if not self._in_flight:
            self._since = time.monotonic()
        self._in_flight += 1
        try:
            prompt = {"type": "token", "prompt_token_ids": ids}
            async for made in self.llm.generate(prompt, params, str(next(self._ids)), lora_request=self._lora):
                output = made
        except self._refusals as error:
            raise Rejected("invalid_request", str(error).split("\n")[0]) from error
        except Exception as error:
            failure = EngineDied if self.llm.errored else EngineError  # errored: the core process is gone
            raise failure(f"vLLM failed on {self._model}: {error or type(error).__name__}") from error
        finally:
            self._in_flight -= 1
            if not self._in_flight:
                self.stats["seconds_busy"] += time.monotonic() - self._since
        self._count(output)
        return output

    def _count(self, output: Any) -> None:
        self.stats["requests"] += 1
        self.stats["prompt_tokens"] += len(output.prompt_token_ids)
        self.stats["tokens"] += sum(len(sample.token_ids) for sample in output.outputs)
        self.stats["cached_tokens"] += output.num_cached_tokens or 0
