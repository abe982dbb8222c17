"""What vLLM is asked, and how its answers are read: plain data on both sides, nothing of vLLM imported."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline.engine import Request
from pipeline.errors import Rejected
from pipeline.labels import merge

# Bfloat16 kernels of some CPUs end the engine's process with SIGILL for prompts of up to this many tokens.
SHORT_PROMPT = 4


def sampling_arguments(request: Request, labels: Mapping[int, str], mean_logp: bool) -> dict[str, Any]:
    """Arguments of vLLM's SamplingParams, but for structured outputs. `labels`: token id -> label.

    Sample i of n gets seed + i from vLLM.
    """
    sampling = request.sampling
    return {
        "n": sampling.n,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "top_k": sampling.top_k,
        "min_p": sampling.min_p,
        "repetition_penalty": sampling.repetition_penalty,
        "max_tokens": sampling.max_tokens,
        "seed": request.seed,
        "stop": list(sampling.stop),
        "stop_token_ids": list(sampling.stop_token_ids),
        "include_stop_str_in_output": sampling.include_stop,
        "logprob_token_ids": list(labels) or None,
        "logprobs": 0 if mean_logp and not labels else None,  # 0: of the sampled token alone
        "flat_logprobs": True,
        "detokenize": bool(sampling.stop),  # else a whole answer is decoded at once, which costs less
        "skip_clone": True,  # the params are this request's own
    }


# prompt_logprobs must be given to the constructor of SamplingParams: there the request is told not to read the prefix
# cache, whose tokens have no log-probabilities. Set later, the scores of cached tokens are silently wrong.
SCORING: Mapping[str, Any] = {
    "max_tokens": 1, "temperature": 0.0, "prompt_logprobs": 0, "flat_logprobs": True, "detokenize": False
}  # fmt: skip


def check_length(n_prompt: int, max_tokens: int, context: int, shortest: int) -> None:
    """Raises Rejected for a prompt that does not fit with its answer, or is shorter than `shortest` tokens."""
    if n_prompt + max_tokens > context:
        told = f"prompt has {n_prompt} tokens, context is {context}, max_tokens {max_tokens}"
        raise Rejected("context_overflow", told)
    if n_prompt < shortest:
        told = f"prompt has {n_prompt} tokens, this engine needs {shortest}"
        raise Rejected("prompt_too_short", told + ("; set dtype: float32 for less" if n_prompt else ""))


def read_labels(labels: Mapping[int, str], found: Any) -> dict[str, float] | None:
    """Log-probabilities of the labels at the last position whose sampled token is one; None when none was sampled.

    found: vLLM's FlatLogprobs, at each position the sampled token first and then the tokens of `labels`.
    """
    names = tuple(dict.fromkeys(labels.values()))
    for start, end in zip(reversed(found.start_indices), reversed(found.end_indices), strict=True):
        if found.token_ids[start] in labels:
            row = zip(found.token_ids[start + 1 : end], found.logprobs[start + 1 : end], strict=True)
            return merge(names, [(labels[token], logprob) for token, logprob in row])
    return None


def read_scores(found: Any, start: int, tokens: list[int]) -> list[float] | None:
    """Log-probabilities of `tokens`, which begin at position `start` of the prompt; None where other tokens are there.

    found: FlatLogprobs of the prompt; position i holds the token i given all before it, position 0 nothing.
    """
    rows = [found.start_indices[i] for i in range(start, start + len(tokens))]
    return [found.logprobs[row] for row in rows] if [found.token_ids[row] for row in rows] == tokens else None
