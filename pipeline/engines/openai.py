"""Any endpoint that speaks the OpenAI protocol: a vLLM server, a gateway, a provider."""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Literal, TypeVar
from urllib.parse import urlsplit

import httpx2 as httpx
import numpy as np
from pydantic import Field

from pipeline import endpoint, ids
from pipeline import openai_protocol as protocol
from pipeline import vllm_server as as_server
from pipeline.engine import Capability, Completion, EngineConfig, Request, RewardRequest, ScoreRequest
from pipeline.errors import EngineError, PlanError, Rejected

T = TypeVar("T")
_TRANSIENT = {408, 409, 425, 429}
_TOO_LONG = ("context length", "context_length", "maximum context", "max_model_len", "maximum model length", "too long")
_EMBED_BATCH = 128


class Openai(EngineConfig):
    """`base_url` ends where `/chat/completions` begins (https://host/v1); `base_url_env` and `api_key_env` name
    environment variables. The key itself is never configured, logged or part of an error.

    `extra_body` is added to every request; a null takes a field out (`{max_tokens: null, max_completion_tokens: 900}`).
    `server: vllm` allows what vLLM's server adds to the protocol: scores, and rewards where it serves a reward model (a
    process reward model as one started with its `step_tag_id`). Messages are tokenized by the server: control strings
    in them are whatever it makes of them.
    """

    kind: str = "openai"
    base_url: str | None = None
    base_url_env: str | None = None
    api_key_env: str | None = None
    server: Literal["openai", "vllm"] = "openai"
    max_in_flight: int = Field(32, ge=1)
    timeout_s: float = Field(600.0, gt=0)  # of one request; also the longest wait that a server may ask for
    max_retries: int = Field(6, ge=0)
    backoff_s: float = Field(1.0, ge=0)  # before the first retry; doubles up to a minute
    extra_body: dict[str, Any] = Field(default_factory=dict)

    not_identity: ClassVar[frozenset[str]] = frozenset(
        "resources base_url base_url_env api_key_env max_in_flight timeout_s max_retries backoff_s".split()
    )

    def capabilities(self) -> frozenset[Capability]:
        """Any request where vLLM's server answers; the protocol itself has less."""
        if self.server == "vllm":
            return super().capabilities() | {"score", "reward", "embed"}
        return frozenset({"generate", "labels", "json", "embed"})

    def silence_s(self) -> float:
        """See EngineConfig."""
        return self.timeout_s

    def check(self) -> None:
        """Raises PlanError for an address or a key that is not there; sends nothing."""
        if not self.model:
            raise PlanError("engine kind openai needs model: the name by which the endpoint serves it")
        self.address()
        self.key()

    def address(self) -> str:
        """The base URL. Raises PlanError."""
        return endpoint.address(self.base_url, self.base_url_env)

    def key(self) -> str | None:
        """The API key, or None where none is configured. Raises PlanError when its variable is empty."""
        return endpoint.key(self.api_key_env)

    async def open(self) -> OpenaiEngine:
        """Makes the connection pool. Raises EngineError at once where nobody listens, before any retry."""
        self.check()
        engine = OpenaiEngine(self)
        try:
            await engine.reach()
        except EngineError:
            await engine.close()
            raise
        return engine


class OpenaiEngine:
    """A bounded number of requests in flight over one connection pool; transient failures are repeated."""

    def __init__(self, config: Openai) -> None:
        address = config.address()
        self._config = config
        self._host = urlsplit(address).hostname or ""
        self._key = config.key()
        is_local = self._host in {"localhost", "127.0.0.1", "::1"}
        # Redirects stay off: they would carry prompts, and the key, to a host that nobody configured.
        self._client = httpx.AsyncClient(
            base_url=address,
            headers={"Authorization": f"Bearer {self._key}"} if self._key else {},
            timeout=httpx.Timeout(config.timeout_s, connect=min(60.0, config.timeout_s)),
            limits=httpx.Limits(max_connections=config.max_in_flight, max_keepalive_connections=config.max_in_flight),
            follow_redirects=False,
            trust_env=not is_local,
        )
        self._slots = asyncio.Semaphore(config.max_in_flight)
        self._silence = protocol.Silence(self._is_answered)
        self.heard = 0.0  # when a request last ended, in whatever way; monotonic seconds
        self._stats = dict.fromkeys(("requests", "prompt_tokens", "tokens", "retries"), 0.0)

    async def reach(self) -> None:
        """Raises EngineError where nothing accepts a connection; whatever an endpoint answers is an answer."""
        try:
            await self._client.get("/models", timeout=10)
        except httpx.ConnectError as error:
            raise EngineError(f"no server at {self._client.base_url.netloc.decode()} ({error}); is it up?") from None
        except httpx.RequestError:
            return

    async def generate(self, requests: Sequence[Request]) -> list[list[Completion]]:
        """`sampling.n` completions each. Raises Rejected (context_overflow, invalid_request) and EngineError."""
        vllm = self._config.server == "vllm"
        sent = [protocol.path_and_body(request, self._config.model, vllm) for request in requests]
        return list(await asyncio.gather(*[self._ask(r, *s) for r, s in zip(requests, sent, strict=True)]))

    async def score(self, requests: Sequence[ScoreRequest]) -> list[list[float]]:
        """Log-probabilities, of a vLLM server. Raises as `generate` does, and PlanError for other servers."""
        return list(await asyncio.gather(*[as_server.score(self._beside, request) for request in requests]))

    async def reward(self, requests: Sequence[RewardRequest]) -> list[list[float]]:
        """See Engine; of a vLLM server. Raises as `generate` does, and PlanError for other servers."""
        return list(await asyncio.gather(*[as_server.reward(self._beside, request) for request in requests]))

    async def embed(self, texts: Sequence[str]) -> np.ndarray:
        """Float32 array of shape (len(texts), dimension)."""
        batches = [list(texts[i : i + _EMBED_BATCH]) for i in range(0, len(texts), _EMBED_BATCH)]
        found = await asyncio.gather(*[self._embed(batch) for batch in batches])
        return np.concatenate(found) if found else np.zeros((0, 0), np.float32)

    async def close(self) -> None:
        """Closes the connections."""
        await self._client.aclose()

    def stats(self) -> dict[str, float]:
        """Counters since start; retries: requests that were sent again."""
        return dict(self._stats)

    async def _ask(self, request: Request, path: str, body: dict[str, Any]) -> list[Completion]:
        made = await self._post(path, body, lambda answer: protocol.read_completions(request, answer))
        self._stats["requests"] += 1
        self._stats["prompt_tokens"] += made[0].n_prompt_tokens
        self._stats["tokens"] += sum(completion.n_tokens for completion in made)
        return made

    async def _embed(self, batch: list[str]) -> np.ndarray:
        body = {"model": self._config.model, "input": batch, "encoding_format": "float"}
        return await self._post("/embeddings", body, functools.partial(protocol.read_embeddings, len(batch)))

    async def _beside(self, path: str, body: dict[str, Any], read: Callable[[Any], Any]) -> Any:
        """Asks what a vLLM server has beside the protocol, from its root. Raises PlanError for other servers."""
        if self._config.server != "vllm":
            raise PlanError(f"the OpenAI protocol has no {path}; set server: vllm if a vLLM server answers")
        self._stats["requests"] += 1
        root = str(self._client.base_url).rstrip("/").removesuffix("/v1")
        return await self._post(root + path, {"model": self._config.model} | body, read)

    async def _post(self, path: str, body: dict[str, Any], read: Callable[[Any], T]) -> T:
        """Sends until `read` accepts an answer. A slot is kept while waiting, so that a busy server is spared."""
        body = {k: v for k, v in (body | self._config.extra_body).items() if v is not None}
        name = ids.content_hash(body)
        self._silence.recall(name)
        jitter = ids.stream("backoff", name)  # no two requests come back at the same moment
        failure, is_odd = "", False
        async with self._slots:
            answered = self._silence.answered
            for attempt in range(self._config.max_retries + 1):
                asked_s: float | None = None
                try:
                    response = await self._client.post(path, json=body)
                    if response.is_success:
                        made = read(self._json(response))
                        self._silence.heard(path, body)
                        return made
                    self._raise_if_final(response)
                    failure, is_odd = f"status {response.status_code}: {self._told(response)}", False
                    asked_s = protocol.retry_after(response.headers)
                except httpx.RequestError as error:
                    failure, is_odd = type(error).__name__, False
                except protocol.BadResponse as error:
                    failure, is_odd = str(error).split("\n")[0], True
                self.heard = time.monotonic()
                if attempt < self._config.max_retries:
                    self._stats["retries"] += 1
                    await asyncio.sleep(self._wait_s(attempt, asked_s, jitter.random()))
                    self.heard = time.monotonic()
        told = f"{self._host} failed {self._config.max_retries + 1} times for {path}: {failure}"
        # A server that answers, but not this request, costs the row; if it is all rows, max_reject_rate stops the run.
        raise Rejected("bad_response", told) if is_odd else await self._silence.error(name, answered, told)

    def _json(self, response: httpx.Response) -> Any:
        try:
            return response.json()
        except ValueError:
            if "html" in response.headers.get("content-type", ""):
                where = f"{self._host}{response.url.path}"
                raise PlanError(f"{where} is a web page; base_url must end as in https://host/v1") from None
            raise protocol.BadResponse("the response is not JSON") from None

    def _wait_s(self, attempt: int, asked_s: float | None, jitter: float) -> float:
        own = min(60.0, self._config.backoff_s * 2.0**attempt) * (0.5 + jitter / 2)
        return own if asked_s is None else min(max(asked_s, own), self._config.timeout_s)

    def _raise_if_final(self, response: httpx.Response) -> None:
        """Raises for what a repetition cannot change."""
        status = response.status_code
        if status in _TRANSIENT or status >= 500:
            return
        if status in {401, 403}:  # the body may repeat the key
            raise PlanError(f"{self._host} refused the key ({status}); see api_key_env {self._config.api_key_env}")
        if response.is_redirect:
            target = urlsplit(response.headers.get("location", "")).hostname
            raise PlanError(f"{self._host} redirects to {target}; set base_url to the address that answers")
        told = self._told(response)
        if status in {404, 405}:
            raise PlanError(f"{self._host} knows no {response.url.path} for model {self._config.model}: {told}")
        too_long = status == 413 or any(words in told.lower() for words in _TOO_LONG)
        raise Rejected("context_overflow" if too_long else "invalid_request", told)

    def _told(self, response: httpx.Response) -> str:
        return protocol.error_text(response.text, self._key)

    async def _is_answered(self, path: str, body: dict[str, Any]) -> bool:
        try:
            return (await self._client.post(path, json=body)).is_success
        except httpx.RequestError:
            return False
