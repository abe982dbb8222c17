"""What becomes of vLLM's outputs before anybody reads them; without vLLM."""

from __future__ import annotations

from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest

from pipeline.errors import EngineDied
from pipeline.vllm_calls import Calls


class Ending:
    """An AsyncLLM whose only request ends for these reasons, one a sample; for none, it ends without an output."""

    errored = False

    def __init__(self, *reasons: str | None) -> None:
        self.reasons = reasons

    async def generate(self, *_: object, **__: object) -> AsyncIterator[Any]:
        samples = [SimpleNamespace(finish_reason=reason, token_ids=[5]) for reason in self.reasons]
        if samples:
            yield SimpleNamespace(outputs=samples, prompt_token_ids=[1, 2], num_cached_tokens=0)


class Bare(Calls):
    """Calls, without what is read from vLLM's own objects."""

    def __init__(self, llm: Any) -> None:
        self.llm, self.model, self.refusals, self._pooling, self._lora = llm, "m", (), SimpleNamespace, None
        self._ids, self._in_flight, self._since = iter(range(9)), 0, 0.0  # type: ignore[assignment]
        self.reset()


@pytest.mark.parametrize("reasons", [("abort",), ("stop", "abort"), (None,), ()])
async def test_an_answer_that_was_cut_short_from_outside_is_none(reasons: tuple[str | None, ...]) -> None:
    calls = Bare(Ending(*reasons))
    with pytest.raises(EngineDied, match="its process was told to stop"):
        await calls.ask([1, 2], None)
    assert calls.stats["requests"] == 0


async def test_an_answer_that_ended_by_itself_is_one() -> None:
    calls = Bare(Ending("stop", "length"))
    assert [s.finish_reason for s in (await calls.ask([1, 2], None)).outputs] == ["stop", "length"]
    assert (calls.stats["requests"], calls.stats["tokens"]) == (1, 2)


async def test_a_call_that_comes_after_the_engine_was_closed_meets_a_dead_engine() -> None:
    calls = Bare(None)
    with pytest.raises(EngineDied, match="vLLM on m has ended"):
        await calls.ask([1, 2], None)
    assert calls._in_flight == 0
