"""The OpenAI chat and completion protocol as data: request bodies, and completions read from response bodies.

`vllm` servers understand more than the protocol (top_k, token ids, a beginning of the answer, structured choices);
what the protocol lacks is refused for other servers before anything is sent.
"""

from __future__ import annotations

import email.utils
import json
import math
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from pipeline.engine import Completion, Request
from pipeline.errors import EngineError, PlanError, PrefsynthError, Rejected
from pipeline.labels import merge
from pipeline.records import Message

_FINISH = {"length": "length", "content_filter": "abort", "abort": "abort"}


class BadResponse(Exception):
    """A response that does not answer the request: wrong count, missing fields, not JSON."""


def path_and_body(request: Request, model: str, vllm: bool) -> tuple[str, dict[str, Any]]:
    """The path below the base URL and the JSON body. Raises PlanError for what the server cannot do."""
    if not vllm:
        _refuse_what_is_not_openai(request)
    sampling = request.sampling
    body: dict[str, Any] = {
        "model": model,
        "n": samples_asked(request),
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "max_tokens": sampling.max_tokens,
        "seed": request.seed,
    }
    if sampling.stop:
        body["stop"] = list(sampling.stop)
    if vllm:
        body |= _vllm_fields(request)
    elif request.structured:
        schema = {"name": "answer", "schema": request.structured["json"], "strict": True}
        body["response_format"] = {"type": "json_schema", "json_schema": schema}
    if request.messages is None:
        return "/completions", body | {"prompt": list(request.token_ids or ())} | (
            {"logprobs": 20} if request.labels else {}
        )
    body["messages"] = turns(request.messages)
    if request.labels:
        body |= {"logprobs": True, "top_logprobs": 20}
    if request.assistant_prefix:
        body["messages"].append({"role": "assistant", "content": request.assistant_prefix})
        body |= {"continue_final_message": True, "add_generation_prompt": False}
    return "/chat/completions", body


def turns(messages: Sequence[Message]) -> list[dict[str, str]]:
    """Messages as the protocol writes them."""
    return [{"role": m.role, "content": m.content} for m in messages]


def read_embeddings(n: int, body: Any) -> np.ndarray:
    """Float32 array of n rows, in the order asked. Raises BadResponse."""
    try:
        rows = sorted(body["data"], key=lambda row: row["index"])
        made = np.asarray([row["embedding"] for row in rows], dtype=np.float32)
    except (KeyError, TypeError, ValueError) as error:
        raise BadResponse(f"the response holds no embeddings ({error})") from None
    if made.ndim != 2 or len(made) != n:
        raise BadResponse(f"embeddings of shape {made.shape} for {n} texts")
    return made


def samples_asked(request: Request) -> int:
    """Greedy answers are all the same, and servers refuse to give several."""
    return request.sampling.n if request.sampling.temperature else 1


def _refuse_what_is_not_openai(request: Request) -> None:
    sampling, structured = request.sampling, request.structured or {}
    asked = {
        "top_k": sampling.top_k,
        "min_p": sampling.min_p,
        "repetition_penalty": sampling.repetition_penalty != 1.0,
        "stop_token_ids": sampling.stop_token_ids,
        "include_stop": sampling.include_stop,
        "token ids": request.token_ids or request.want_token_ids,
        "assistant_prefix": request.assistant_prefix,
        "structured choice or regex": structured and "json" not in structured,
    }
    if refused := [name for name, is_asked in asked.items() if is_asked]:
        told = "the OpenAI protocol has no " + ", ".join(refused)
        raise PlanError(f"{told}; set server: vllm if a vLLM server answers, or leave it out")


def _vllm_fields(request: Request) -> dict[str, Any]:
    sampling = request.sampling
    fields: dict[str, Any] = {
        "top_k": sampling.top_k,
        "min_p": sampling.min_p,
        "repetition_penalty": sampling.repetition_penalty,
        "include_stop_str_in_output": sampling.include_stop,
        "return_token_ids": True,
    }
    if sampling.stop_token_ids:
        fields["stop_token_ids"] = list(sampling.stop_token_ids)
    if request.structured:
        fields["structured_outputs"] = request.structured
    return fields


def read_completions(request: Request, body: Any) -> list[Completion]:
    """`sampling.n` completions of a response body. Raises BadResponse, and Rejected for an answer cut by the context."""
    try:
        choices = sorted(body["choices"], key=lambda c: c["index"])
        if len(choices) != samples_asked(request):
            raise BadResponse(f"{len(choices)} answers where {samples_asked(request)} were asked")
        texts = [_text(choice) for choice in choices]
        usage = body.get("usage") or {}
        total, letters = usage.get("completion_tokens") or 0, sum(map(len, texts)) or 1
        made = [
            Completion(
                text=text,
                finish_reason=_FINISH.get(choice.get("finish_reason") or "", "stop"),
                n_prompt_tokens=usage.get("prompt_tokens") or 0,
                # The protocol counts all samples together; where the server names no tokens, shares are by length.
                n_tokens=len(choice.get("token_ids") or ()) or round(total * len(text) / letters),
                token_ids=tuple(choice["token_ids"]) if request.want_token_ids else None,
                labels=_labels(request, choice),
                model=body.get("model"),
                stop_reason=None if choice.get("stop_reason") is None else str(choice["stop_reason"]),
            )
            for choice, text in zip(choices, texts, strict=True)
        ]
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise BadResponse(f"the response is not as the protocol says ({type(error).__name__}: {error})") from None
    _refuse_cut_answers(request, made, exact=len(made) == 1 or all(choice.get("token_ids") for choice in choices))
    return made * request.sampling.n if len(made) < request.sampling.n else made


def _refuse_cut_answers(request: Request, made: Sequence[Completion], exact: bool) -> None:
    """Servers cut an answer at the end of the context and call it `length`, though fewer tokens came than were asked."""
    asked = request.sampling.max_tokens
    for answer in made:
        if exact and answer.finish_reason == "length" and 0 < answer.n_tokens < asked:
            told = f"prompt has {answer.n_prompt_tokens} tokens; the server stopped after {answer.n_tokens} of {asked}"
            raise Rejected("context_overflow", told)


def _text(choice: Mapping[str, Any]) -> str:
    found = choice["message"].get("content") or "" if "message" in choice else choice["text"]
    if not isinstance(found, str):
        raise TypeError(f"content is {type(found).__name__}")
    return found


def _labels(request: Request, choice: Mapping[str, Any]) -> dict[str, float] | None:
    """As Completion says, from the 20 most probable tokens; a label that is not among them counts as impossible.

    None under a grammar: servers then report probabilities after the mask.
    """
    if not request.labels or request.structured or not choice.get("logprobs"):
        return None
    label_of = {label.strip(): label for label in request.labels}
    for sampled, top in _positions(choice["logprobs"]):
        if sampled.strip() in label_of:
            if not top:  # the server gives the sampled token alone
                return None
            spelled = [(label_of[text.strip()], p) for text, p in top if text.strip() in label_of]
            return merge(request.labels, [(label, p) for label, p in spelled if math.isfinite(p)])
    return None


def _positions(logprobs: Mapping[str, Any]) -> Iterator[tuple[str, Sequence[tuple[str, float]]]]:
    """(sampled token, most probable tokens with log-probabilities) at each position, the last one first."""
    if "content" in logprobs:
        for position in reversed(logprobs["content"] or ()):
            yield position["token"], [(t["token"], t["logprob"]) for t in position.get("top_logprobs") or ()]
        return
    tokens = logprobs["tokens"]
    tops = logprobs.get("top_logprobs") or [None] * len(tokens)
    for token, top in zip(reversed(tokens), reversed(tops), strict=True):
        yield token, list((top or {}).items())


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that a Retry-After header asks for, given as a number or as a date."""
    given = headers.get("retry-after")
    if given is None:
        return None
    try:
        return max(0.0, float(given))
    except ValueError:
        date = email.utils.parsedate_tz(given)
        return None if date is None else max(0.0, email.utils.mktime_tz(date) - time.time())


def error_text(response: str, key: str | None) -> str:
    """What an error response says, at most 300 characters, without the key and what would move a cursor."""
    try:
        body = json.loads(response)
        error = body.get("error", body)
        told = str(error.get("message", error) if isinstance(error, dict) else error)
    except (ValueError, AttributeError):
        told = response
    told = told.replace(key, "***") if key else told
    return " ".join("".join(c if c.isprintable() else " " for c in told).split())[:300]


class Silence:
    """Tells a server that answers nobody, which is down, from one that answers others but never one request.

    `ask` (path, body) says whether the server answers. It is asked once more what it answered before: one that went down
    while a request was being sent again and again had answered others in that time.
    """

    def __init__(self, ask: Callable[[str, dict[str, Any]], Awaitable[bool]]) -> None:
        self.answered = 0  # requests of any kind
        self._ask = ask
        self._heard: tuple[str, dict[str, Any]] | None = None
        self._known: dict[str, Rejected] = {}

    def heard(self, path: str, body: dict[str, Any]) -> None:
        """Notes a request that was answered."""
        self.answered += 1
        self._heard = path, body

    def recall(self, request: str) -> None:
        """Raises Rejected once more where this request was found unanswered just now, as part of a batch."""
        if (why := self._known.pop(request, None)) is not None:
            raise why

    async def error(self, request: str, answered_before: int, told: str) -> PrefsynthError:
        """What the end of all retries means. answered_before: `answered` when the request was first sent."""
        if self.answered == answered_before or self._heard is None or not await self._ask(*self._heard):
            self._known.clear()  # the shard is tried again, with all of its requests
            return EngineError(told)
        return self._known.setdefault(request, Rejected("no_answer", told))
