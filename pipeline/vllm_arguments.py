"""What vLLM is asked, and how its answers are read: plain data on both sides, nothing of vLLM imported."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.chat import ChatEncoder
from pipeline.engine import Completion, Request
from pipeline.errors import Rejected
from pipeline.labels import merge
from pipeline.model_files import adapter_rank, find_model

# Bfloat16 kernels of some CPUs end the engine's process with SIGILL for prompts of up to this many tokens.
SHORT_PROMPT = 4


def engine_arguments(fields: Mapping[str, Any], dtype: str, on_cpu: bool) -> dict[str, Any]:
    """Arguments of vLLM's AsyncEngineArgs from the fields of a Vllm config."""
    same = ("max_model_len", "max_num_seqs", "seed", "quantization", "enable_prefix_caching")
    parallel = fields["tensor_parallel"] or max(1, int(fields["resources"]["gpus"]))
    reads = fields["task"] != "generate"
    made: dict[str, Any] = {name: fields[name] for name in same} | {
        "runner": "pooling" if reads else "auto",
        "model": find_model(fields["model"]),
        "dtype": dtype,
        "tensor_parallel_size": parallel,
        "enforce_eager": on_cpu if fields["enforce_eager"] is None else fields["enforce_eager"],
        "disable_log_stats": True,
        "use_tqdm_on_load": False,
        "worker_extension_cls": "pipeline.lifeline.Lifeline",
    }
    if on_cpu:
        made["kv_cache_memory_bytes"] = int(fields["cpu_kv_cache_gb"] * 2**30)
        # vLLM winds a request's generator back when it cuts a prompt in two; on a CPU that ends the engine ("CPU
        # Generator does not use offset"), and all our requests are seeded. So prompts are never cut there.
        made["enable_chunked_prefill"] = False
        made["block_size"] = 32  # the least; with vLLM's 128 no prompt shorter than that is found in the prefix cache
        if reads:  # what is not in the cache may be shorter than what 16-bit kernels of some CPUs bear
            made["enable_prefix_caching"] = False
    else:
        made["gpu_memory_utilization"] = fields["gpu_memory_utilization"]
    if parallel == 1:  # the model lives in the engine's process, also inside a Ray actor
        made["distributed_executor_backend"] = "uni"
    if fields["task"] == "reward":  # a score at every token, of which those behind steps are taken
        made["pooler_config"] = {"tok_pooling_type": "ALL"}
    if fields["lora"] is not None:
        made |= {"enable_lora": True, "max_lora_rank": adapter_rank(fields["lora"])}
    made.update(fields["engine_args"])
    return made


def sampling_arguments(request: Request, labels: Mapping[int, str], mean_logp: bool) -> dict[str, Any]:
    """Arguments of vLLM's SamplingParams, but for structured outputs. `labels`: token id -> label.

    Sample i of n gets seed + i from vLLM. Greedy samples are all the same; vLLM refuses to make several.
    """
    sampling = request.sampling
    if request.structured:  # after the grammar's mask they would say that only the allowed tokens were likely
        labels = {}
    return {
        "n": sampling.n if sampling.temperature else 1,
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


# One token more, to read probabilities where an answer has a label, or those of the prompt: `prompt_logprobs` must be
# given to the constructor of SamplingParams, where the request is told not to read the prefix cache, whose tokens have
# no log-probabilities. Set later, the scores of cached tokens are silently wrong.
READING: Mapping[str, Any] = {"max_tokens": 1, "temperature": 0.0, "flat_logprobs": True, "detokenize": False}


def check_length(n_prompt: int, max_tokens: int, context: int, shortest: int) -> None:
    """Raises Rejected for a prompt that does not fit with its answer, or is shorter than `shortest` tokens."""
    if n_prompt + max_tokens > context:
        told = f"prompt has {n_prompt} tokens, context is {context}, max_tokens {max_tokens}"
        raise Rejected("context_overflow", told)
    if n_prompt < shortest:
        told = f"prompt has {n_prompt} tokens, this engine needs {shortest}"
        raise Rejected("prompt_too_short", told + ("; set dtype: float32 for less" if n_prompt else ""))


def _kept_tokens(request: Request, sample: Any) -> list[int]:
    """The tokens of an answer that are part of its text: all but a stop token. (Special tokens are never decoded.)"""
    ids = list(sample.token_ids)
    return ids[:-1] if isinstance(sample.stop_reason, int) and not request.sampling.include_stop else ids


def read_completion(
    request: Request, prompt: Sequence[int], sample: Any, chat: ChatEncoder, labels: dict[str, float] | None
) -> Completion:
    """A Completion from one of vLLM's CompletionOutputs."""
    n = len(sample.token_ids)
    pieces = tuple(chat.pieces(prompt, sample.token_ids)) if request.want_token_texts else None
    if pieces is not None:
        text = "".join(pieces)
    elif request.sampling.stop:  # found in text that vLLM decodes token by token; all other is decoded here at once
        text = sample.text
    else:
        text = chat.decode(prompt, _kept_tokens(request, sample))
    logps = sample.logprobs if pieces is not None and not request.labels else None
    return Completion(
        text=text,
        finish_reason=sample.finish_reason or "abort",
        n_prompt_tokens=len(prompt),
        n_tokens=n,
        token_ids=tuple(sample.token_ids) if request.want_token_ids or request.want_token_texts else None,
        mean_logp=None if sample.cumulative_logprob is None or not n else sample.cumulative_logprob / n,
        labels=labels,
        stop_reason=None if sample.stop_reason is None else str(sample.stop_reason),
        token_texts=pieces,
        token_logps=tuple([logps.logprobs[start] for start in logps.start_indices]) if logps is not None else None,
        prompt_token_ids=tuple(prompt) if request.want_token_texts else None,
    )


def last_label(labels: Mapping[int, str], tokens: Sequence[int]) -> int | None:
    """Position of the last token that is a label."""
    return next((i for i in range(len(tokens) - 1, -1, -1) if tokens[i] in labels), None)


def read_labels(labels: Mapping[int, str], found: Any, position: int | None) -> dict[str, float] | None:
    """Log-probabilities of the labels at a position of an answer; None where there is none.

    found: vLLM's FlatLogprobs, at each position the sampled token first and then the tokens of `labels`.
    """
    if position is None:
        return None
    start, end = found.start_indices[position] + 1, found.end_indices[position]
    spelled = zip(found.token_ids[start:end], found.logprobs[start:end], strict=True)
    return merge(tuple(dict.fromkeys(labels.values())), [(labels[token], logprob) for token, logprob in spelled])


def read_scores(found: Any, start: int, tokens: list[int]) -> list[dict[int, float]] | None:
    """At each of `tokens`, from position `start` of the prompt on, the log-probabilities of it and of the likeliest ones.

    None where other tokens are there. found: FlatLogprobs of the prompt; position i holds the token i given all before
    it and then the likeliest, position 0 nothing.
    """
    rows = [(found.start_indices[i], found.end_indices[i]) for i in range(start, start + len(tokens))]
    if [found.token_ids[first] for first, _ in rows] != tokens:
        return None
    return [dict(zip(found.token_ids[a:b], found.logprobs[a:b], strict=True)) for a, b in rows]
