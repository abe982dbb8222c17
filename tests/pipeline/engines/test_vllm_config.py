"""The vllm engine's config: everything that is known before a model is loaded."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pipeline.chat import ChatEncoder
from pipeline.engine import Request, Sampling
from pipeline.engines.vllm import Vllm
from pipeline.errors import PlanError, Rejected
from pipeline.tokenizer import load_tokenizer
from pipeline.vllm_arguments import (
    check_length,
    engine_arguments,
    read_completion,
    read_labels,
    read_scores,
    sampling_arguments,
)


class Flat:
    """As vLLM's FlatLogprobs: per position the sampled token and then others."""

    def __init__(self, *positions: list[tuple[int, float]]) -> None:
        sizes = [len(p) for p in positions]
        self.start_indices = [sum(sizes[:i]) for i in range(len(sizes))]
        self.end_indices = [sum(sizes[: i + 1]) for i in range(len(sizes))]
        self.token_ids = [token for p in positions for token, _ in p]
        self.logprobs = [logprob for p in positions for _, logprob in p]


def folder(tmp_path: Path, name: str, weights: bytes) -> str:
    (tmp_path / name).mkdir()
    (tmp_path / name / "model.safetensors").write_bytes(weights)
    (tmp_path / name / "config.json").write_text("{}")
    return str(tmp_path / name)


def test_a_config_says_how_many_sequences_run_at_once() -> None:
    assert Vllm(model="m", max_num_seqs=64).batch() == 64
    assert Vllm(model="m", max_num_seqs=64, engine_args={"max_num_seqs": 8}).batch() == 8


def test_paths_that_do_not_exist_are_plan_errors_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    for model in ("./nowhere", "/no/such/folder", "~/nowhere", "models/nowhere", "nowhere", "a/b/c", ""):
        with pytest.raises(PlanError, match="model"):
            Vllm(model=model).check()
    Vllm(model="org/name").check()
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(PlanError, match="HF_HUB_OFFLINE is set"):
        Vllm(model="org/name").check()
    with pytest.raises(PlanError, match=r"model 'prompts' is a folder without config\.json"):
        Vllm(model="prompts").check()
    with pytest.raises(PlanError, match=r"chat_template 'nowhere\.jinja'"):
        Vllm(model="models/abacus", chat_template="nowhere.jinja").check()
    with pytest.raises(PlanError, match=r"has no adapter_config\.json"):
        Vllm(model="models/abacus", lora=str(tmp_path)).check()


def test_check_loads_neither_vllm_nor_torch() -> None:
    code = (
        "import sys; from pipeline.engines.vllm import Vllm; c = Vllm(model='models/abacus'); c.check(); c.identity()"
        "; print([m for m in ('vllm', 'torch', 'transformers') if m in sys.modules])"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "[]"


def test_identity_is_the_weights_and_the_template_not_the_place_or_the_hardware(tmp_path: Path) -> None:
    a, b, other = (folder(tmp_path, name, data) for name, data in (("a", b"w"), ("b", b"w"), ("c", b"v")))

    def identity(model: str, **fields: Any) -> dict[str, Any]:
        return {k: v for k, v in Vllm(model=model, **fields).identity().items() if k != "model"}

    assert identity(a) == identity(b, max_num_seqs=3, tensor_parallel=2, gpu_memory_utilization=0.5, enforce_eager=True)
    assert identity(a) != identity(other)
    assert identity(a) != identity(a, dtype="float32")
    template = tmp_path / "t.jinja"
    template.write_text("{{ messages }}")
    assert identity(a, chat_template=str(template)) == identity(a, chat_template="{{ messages }}")
    assert identity(a, chat_template=str(template)) != identity(a)


def test_arguments_differ_between_cpu_and_gpu_and_engine_args_win(tmp_path: Path) -> None:
    model = folder(tmp_path, "m", b"")
    fields = Vllm(model=model, cpu_kv_cache_gb=0.5, engine_args={"block_size": 64, "seed": 9}).model_dump()
    cpu, gpu = engine_arguments(fields, "auto", on_cpu=True), engine_arguments(fields, "auto", on_cpu=False)
    assert (cpu["kv_cache_memory_bytes"], cpu["enforce_eager"]) == (2**29, True)
    assert cpu["enable_chunked_prefill"] is False
    assert gpu.keys().isdisjoint({"kv_cache_memory_bytes", "enable_chunked_prefill"})
    plain = Vllm(model=model).model_dump()
    assert engine_arguments(plain, "auto", on_cpu=True)["block_size"] == 32
    assert "block_size" not in engine_arguments(plain, "auto", on_cpu=False)
    assert (gpu["gpu_memory_utilization"], gpu["enforce_eager"]) == (0.9, False)
    assert (cpu["block_size"], cpu["seed"], cpu["distributed_executor_backend"]) == (64, 9, "uni")
    assert "distributed_executor_backend" not in engine_arguments(fields | {"tensor_parallel": 2}, "auto", on_cpu=False)


def test_a_replica_spreads_its_model_over_its_gpus_unless_told_otherwise(tmp_path: Path) -> None:
    model = folder(tmp_path, "m", b"")

    def parallel(**fields: Any) -> Any:
        made = engine_arguments(Vllm(model=model, **fields).model_dump(), "auto", on_cpu=False)
        return made["tensor_parallel_size"], made.get("distributed_executor_backend")

    assert parallel() == parallel(resources={"gpus": 0.5}) == parallel(resources={"gpus": 1}) == (1, "uni")
    assert parallel(resources={"gpus": 2}) == (2, None)
    assert parallel(resources={"gpus": 2}, tensor_parallel=1) == (1, "uni")
    with pytest.raises(PlanError, match=r"tensor_parallel 4 is more than resources\.gpus 2"):
        Vllm(model=model, tensor_parallel=4, resources={"gpus": 2}).check()


def test_a_lora_adapter_brings_its_rank(tmp_path: Path) -> None:
    adapter = folder(tmp_path, "lora", b"")
    Path(adapter, "adapter_config.json").write_text(json.dumps({"r": 24}))
    config = Vllm(model=folder(tmp_path, "m", b""), lora=adapter)
    config.check()
    assert engine_arguments(config.model_dump(), "auto", on_cpu=True)["max_lora_rank"] == 24
    assert "lora_digest" in config.identity()


def test_sampling_asks_for_as_little_as_the_request_needs() -> None:
    plain = sampling_arguments(Request(Sampling(n=4), "k", 3), {}, mean_logp=True)
    assert (plain["n"], plain["seed"], plain["logprobs"], plain["detokenize"]) == (4, 3, 0, False)
    assert sampling_arguments(Request(Sampling(), "k", 3), {}, mean_logp=False)["logprobs"] is None
    assert sampling_arguments(Request(Sampling(n=4, temperature=0), "k", 3), {}, mean_logp=True)["n"] == 1
    assert sampling_arguments(Request(Sampling(stop=("x",)), "k", 3), {}, mean_logp=True)["detokenize"] is True
    labelled = sampling_arguments(Request(Sampling(), "k", 3, labels=("A",)), {5: "A"}, mean_logp=True)
    assert (labelled["logprob_token_ids"], labelled["logprobs"]) == ([5], None)
    masked = Request(Sampling(), "k", 3, labels=("A",), structured={"choice": ["A"]})
    assert sampling_arguments(masked, {5: "A"}, mean_logp=True)["logprob_token_ids"] is None


def test_labels_are_read_beside_the_sampled_token() -> None:
    found = Flat([(9, -9.0), (5, -1.0), (6, -2.0)], [(5, -0.3), (5, -0.3), (6, -1.5)])
    assert read_labels({5: "A", 6: "B"}, found, 1) == {"A": -0.3, "B": -1.5}
    assert read_labels({5: "A", 6: "B"}, found, None) is None


def test_scores_begin_where_the_continuation_does_and_belong_to_its_tokens() -> None:
    found = Flat([], [(4, -1.0)], [(5, -2.0)], [(6, -3.0)])
    assert read_scores(found, 2, [5, 6]) == [{5: -2.0}, {6: -3.0}]
    assert read_scores(found, 2, [6, 5]) is None


def test_lengths_are_checked_against_context_and_shortest() -> None:
    check_length(500, 12, 512, 1)
    with pytest.raises(Rejected, match="prompt has 501 tokens, context is 512, max_tokens 12"):
        check_length(501, 12, 512, 1)
    with pytest.raises(Rejected, match="prompt has 4 tokens, this engine needs 5; set dtype: float32"):
        check_length(4, 1, 512, 5)


@pytest.mark.parametrize("texts", [False, True])
def test_an_answer_is_read_with_the_text_and_log_probability_of_each_token(texts: bool) -> None:
    chat = ChatEncoder(load_tokenizer("models/abacus").raw)
    ids = chat.encode("4 + 9 = 13\nAnswer")
    flat = Flat(*[[(token, -0.5), (1, -0.1)] for token in ids])
    sample = SimpleNamespace(
        token_ids=ids, text="4 + 9 = 13\n", finish_reason="stop", stop_reason="\n", logprobs=flat,
        cumulative_logprob=-0.5 * len(ids),
    )  # fmt: skip
    request = Request(Sampling(stop=("\n",)), "k", 7, token_ids=(5, 6), want_token_texts=texts)
    made = read_completion(request, [5, 6], sample, chat, None)
    assert (made.mean_logp, made.stop_reason, made.n_prompt_tokens) == (-0.5, "\n", 2)
    if texts:  # the token that holds the stop string belongs to the answer as a whole
        assert "".join(made.token_texts or ()) == made.text == "4 + 9 = 13\nAnswer"
        assert (made.token_ids, made.prompt_token_ids) == (tuple(ids), (5, 6))
        assert made.token_logps == (-0.5,) * len(ids)
    else:
        assert (made.text, made.token_texts, made.token_ids, made.prompt_token_ids) == (
            "4 + 9 = 13\n",
            None,
            None,
            None,
        )
