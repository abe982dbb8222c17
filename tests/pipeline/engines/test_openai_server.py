"""The openai engine against vLLM's own server with the embedded model on loopback."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import math
import os
import re
import socket
import sys
from collections.abc import AsyncIterator
from typing import Any

import httpx2 as httpx
import pytest
import pytest_asyncio

from pipeline.engine import ROOT, Request, Sampling, ScoreRequest
from pipeline.engines.openai import Openai, OpenaiEngine
from pipeline.errors import PlanError, Rejected
from pipeline.records import Message

pytestmark = [
    pytest.mark.slow,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.timeout(1800),
    pytest.mark.skipif(importlib.util.find_spec("vllm") is None, reason="vLLM is not installed"),
    pytest.mark.skipif(not (ROOT / "models/abacus/model.safetensors").is_file(), reason="models/abacus has no weights"),
]
CHAT = (Message("user", "Tom has 12 apples and buys 7 more. How many apples does he have now?"),)
START_S = 900


async def _is_up(url: str, process: asyncio.subprocess.Process) -> None:
    async with httpx.AsyncClient(trust_env=False) as client, asyncio.timeout(START_S):
        while process.returncode is None:
            with contextlib.suppress(httpx.TransportError):
                if (await client.get(url.removesuffix("/v1") + "/health")).is_success:
                    return
            await asyncio.sleep(0.5)  # polling a process that has no other way to say that it listens
    raise RuntimeError(f"the server ended with {process.returncode}")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def url() -> AsyncIterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    arguments = (
        f"--model {ROOT / 'models/abacus'} --served-model-name abacus --host 127.0.0.1 --port {port} --enforce-eager "
        f"--max-model-len 512 --max-num-seqs 32 --kv-cache-memory-bytes {2**28} --disable-log-stats --api-key local-key"
    )
    quiet = {"VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1", "VLLM_LOGGING_LEVEL": "WARNING"}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "vllm.entrypoints.openai.api_server", *arguments.split(),
        stdout=asyncio.subprocess.DEVNULL, env={**os.environ, **quiet},
    )  # fmt: skip
    address = f"http://127.0.0.1:{port}/v1"
    try:
        await _is_up(address, process)
        yield address
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


@pytest_asyncio.fixture(loop_scope="module")
async def engine(url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[OpenaiEngine]:
    monkeypatch.setenv("LOCAL_KEY", "local-key")
    made = await Openai(model="abacus", base_url=url, api_key_env="LOCAL_KEY", server="vllm", max_retries=1).open()
    yield made
    await made.close()


def ask(labels: str = "", prefix: str = "", structured: Any = None, **sampling: Any) -> Request:
    given = Sampling(**{"max_tokens": 24} | sampling)
    return Request(given, "k", 5, CHAT, None, prefix, tuple(labels), structured, want_token_ids=True)


async def test_samples_stop_strings_and_seeds(engine: OpenaiEngine) -> None:
    hot = ask(n=8, temperature=2.0)
    [several, again, [stopped]] = await engine.generate([hot, hot, ask(stop=("=",))])
    assert len({c.text for c in several}) > 1
    assert [c.text for c in several] == [c.text for c in again]
    assert all(c.token_ids is not None and c.n_tokens == len(c.token_ids) for c in several)
    assert "=" not in stopped.text
    assert engine.stats()["tokens"] == sum(c.n_tokens for c in (*several, *again, stopped))


async def test_structured_answers(engine: OpenaiEngine) -> None:
    forms = ({"choice": ["yes", "no"]}, {"regex": "[0-9]{3}"})
    [[choice], [pattern]] = await engine.generate([ask(structured=form) for form in forms])
    assert choice.text in {"yes", "no"}
    assert re.fullmatch("[0-9]{3}", pattern.text)


async def test_scores_are_those_of_the_servers_own_answer_and_a_whole_turn_has_its_end(engine: OpenaiEngine) -> None:
    [[said]] = await engine.generate([ask(temperature=0.0, max_tokens=40)])
    assert said.token_ids is not None
    text = ScoreRequest(said.text, messages=CHAT)
    turn = ScoreRequest(said.text, messages=CHAT, whole_turn=True)
    ids, open_end, closed = await engine.score([ScoreRequest(said.token_ids, messages=CHAT), text, turn])
    assert len(ids) == said.n_tokens
    assert len(open_end) < len(closed)
    assert closed[: len(open_end)] == pytest.approx(open_end, abs=0.05)
    assert all(logp <= 0 for logp in closed)
    assert sum(ids) / len(ids) > -0.5  # greedy, by a model that is sure


async def test_labels(engine: OpenaiEngine) -> None:
    [[found]] = await engine.generate([ask("0123456789", temperature=0.0)])
    assert found.labels is not None
    assert sum(map(math.exp, found.labels.values())) <= 1 + 1e-4
    assert max(found.labels, key=found.labels.__getitem__) == re.findall("[0-9]", found.text)[-1]


async def test_a_prefix_is_continued(engine: OpenaiEngine) -> None:
    [[whole]] = await engine.generate([ask(temperature=0.0)])
    [[rest]] = await engine.generate([ask(prefix=whole.text[:6], temperature=0.0)])
    assert (whole.text[:6] + rest.text).startswith(whole.text)


async def test_token_ids_as_prompt(engine: OpenaiEngine) -> None:
    [[found]] = await engine.generate([Request(Sampling(max_tokens=4), "k", 1, token_ids=(9,) * 20, labels=("1",))])
    assert (found.n_prompt_tokens, found.n_tokens <= 4) == (20, True)


async def test_a_prompt_that_does_not_fit_is_rejected_with_the_servers_words(engine: OpenaiEngine) -> None:
    with pytest.raises(Rejected, match=r"context_overflow: .*512"):
        await engine.generate([Request(Sampling(max_tokens=4), "k", 1, messages=(Message("user", "no " * 600),))])


async def test_a_wrong_key_or_model_is_a_plan_error(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_KEY", "wrong")
    for fields, told in (({"model": "abacus"}, "refused the key"), ({"model": "other"}, "refused the key|knows no")):
        engine = await Openai(base_url=url, api_key_env="LOCAL_KEY", **fields).open()
        with pytest.raises(PlanError, match=told):
            await engine.generate([Request(Sampling(), "k", 1, messages=CHAT)])
        await engine.close()
