"""Reward and embedding models on a real vLLM, against transformers and torch on the same weights.

The models are made here: the embedded model's layers under heads drawn with a fixed seed.
"""

from __future__ import annotations

import importlib.util
import json
import math
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from pipeline.certainty import certainty
from pipeline.engine import ROOT, Engine, RewardRequest, ScoreRequest
from pipeline.engines.vllm import Vllm
from pipeline.errors import PlanError, Rejected
from pipeline.records import Message

ABACUS = ROOT / "models/abacus"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1800),
    pytest.mark.filterwarnings("default"),  # what vLLM and torch warn about is theirs
    pytest.mark.skipif(importlib.util.find_spec("vllm") is None, reason="vLLM is not installed"),
    pytest.mark.skipif(not (ABACUS / "model.safetensors").is_file(), reason="models/abacus has no weights"),
]
ASKED = (Message("user", "Tom has 12 apples and buys 7 more. How many apples does he have now?"),)
ANSWERS = ("Step 1: 12 + 7 = 19\nAnswer: 19", "Step 1: 12 - 7 = 5\nAnswer: 5", "<|end|> hostile", "no")
STEPS = ("Step 1: 12 + 7 = 19", "Answer: 19")
SMALL: dict[str, Any] = {"dtype": "float32", "max_model_len": 256, "max_num_seqs": 16, "cpu_kv_cache_gb": 0.1}


def checkpoint(folder: Path, architecture: str, head: dict[str, Any], **config: Any) -> str:
    """A model of the embedded one's layers and the given head."""
    from safetensors.torch import load_file, save_file

    folder.mkdir()
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copy(ABACUS / name, folder / name)
    shape = json.loads((ABACUS / "config.json").read_text()) | {"architectures": [architecture], "dtype": "float32"}
    (folder / "config.json").write_text(json.dumps(shape | config))
    weights = {name: tensor.float() for name, tensor in load_file(ABACUS / "model.safetensors").items()}
    save_file(weights | head, folder / "model.safetensors")
    return str(folder)


def drawn(seed: int, *shape: int) -> Any:
    import torch

    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) / 4


async def opened(model: str, task: str) -> Engine:
    return await Vllm(model=model, task=task, **SMALL).open()


def template_ids(messages: Sequence[Message], goes_on: bool, model: str | Path = ABACUS) -> list[int]:
    from transformers import AutoTokenizer

    turns = [{"role": m.role, "content": m.content} for m in messages]
    raw = AutoTokenizer.from_pretrained(model)
    return list(raw.apply_chat_template(turns, add_generation_prompt=goes_on, return_dict=False))


def text_ids(text: str, model: str | Path = ABACUS) -> list[int]:
    from transformers import AutoTokenizer

    return list(AutoTokenizer.from_pretrained(model).encode(text, add_special_tokens=False))


async def test_an_answers_reward_is_the_logit_that_transformers_gives(tmp_path: Path) -> None:
    import torch
    from transformers import AutoModelForSequenceClassification

    labels = {"id2label": {"0": "reward"}, "label2id": {"reward": 0}}
    head = {"score.weight": drawn(7, 1, 160)}
    model = checkpoint(tmp_path / "rm", "LlamaForSequenceClassification", head, **labels)
    reference = AutoModelForSequenceClassification.from_pretrained(model).eval()
    talks = [(*ASKED, Message("assistant", answer)) for answer in ANSWERS]
    ids = [template_ids(talk, goes_on=False) for talk in (*talks[:2], talks[3])]
    with torch.no_grad():
        expected = [float(reference(torch.tensor([one])).logits[0, 0]) for one in ids]
        by_token = reference.score(reference.model(torch.tensor([ids[0]])).last_hidden_state)[0, :, 0].tolist()

    engine = await opened(model, "reward")
    try:
        found = await engine.reward([RewardRequest(str(i), talk) for i, talk in enumerate(talks)])
        assert [found[0], found[1], found[3]] == [[pytest.approx(e, abs=1e-3)] for e in expected]
        assert found[2] != found[3]  # control strings of a candidate are text and not its end
        assert await engine.reward([RewardRequest("ids", token_ids=tuple(ids[0]))]) == [pytest.approx(found[0])]
        places = (5, 9, len(ids[0]) - 1)
        [some] = await engine.reward([RewardRequest("places", token_ids=tuple(ids[0]), positions=places)])
        assert some == pytest.approx([by_token[place] for place in places], abs=1e-3)
        assert engine.stats()["requests"] == 6
        with pytest.raises(Rejected, match="context_overflow"):
            await engine.reward([RewardRequest("long", (*ASKED, Message("assistant", "no " * 300)))])
        with pytest.raises(PlanError, match="was started to read; give score"):
            await engine.score([ScoreRequest("x", ASKED)])
    finally:
        await engine.close()


async def test_a_process_reward_model_scores_every_step_at_the_tag_behind_it(tmp_path: Path) -> None:
    """Qwen2ForProcessRewardModel: its two outputs at the tag, as Qwen2.5-Math-PRM is read."""
    import torch
    from transformers import LlamaModel

    zero = {f"model.layers.{i}.self_attn.{p}_proj.bias": torch.zeros(160) for i in range(5) for p in "qkv"}
    first, second = drawn(1, 160, 160), drawn(2, 2, 160)
    head = {
        "score.0.weight": first,
        "score.0.bias": drawn(3, 160),
        "score.2.weight": second,
        "score.2.bias": drawn(4, 2),
    }
    model = checkpoint(tmp_path / "prm", "Qwen2ForProcessRewardModel", {**zero, **head}, model_type="qwen2")
    before, tag = template_ids(ASKED, True, model), text_ids("\n", model)
    ids, places = list(before), []
    for step in STEPS:
        ids += [*text_ids(step, model), *tag]
        places.append(len(ids) - 1)
    with torch.no_grad():
        states = LlamaModel.from_pretrained(ABACUS, dtype=torch.float32)(torch.tensor([ids])).last_hidden_state[0]
        outputs = torch.relu(states @ first.T + head["score.0.bias"]) @ second.T + head["score.2.bias"]
    expected = [math.log(p / (1 - p)) for p in outputs.softmax(-1)[places, 1].tolist()]

    engine = await opened(model, "reward")
    try:
        request = RewardRequest("k", ASKED, steps=STEPS, step_tag="\n")
        [found] = await engine.reward([request])
        assert found == pytest.approx(expected, abs=1e-3)
        [[alone]] = await engine.reward([RewardRequest("k", ASKED, steps=STEPS[:1], step_tag="\n")])
        assert alone == pytest.approx(found[0], abs=1e-4)  # what comes later changes no step before
        [[last]] = await engine.reward([RewardRequest("whole", token_ids=tuple(ids))])
        assert last == pytest.approx(found[-1], abs=1e-4)
    finally:
        await engine.close()


async def test_embeddings_are_the_last_state_at_length_one() -> None:
    import torch
    from transformers import LlamaModel

    engine = await opened("models/abacus", "embed")
    try:
        found = await engine.embed(["Tom has 12 apples", "An apple costs 3 coins"])
        with torch.no_grad():
            ids = torch.tensor([text_ids("Tom has 12 apples")])
            state = LlamaModel.from_pretrained(ABACUS, dtype=torch.float32)(ids).last_hidden_state[0, -1]
        assert (found.shape, str(found.dtype)) == ((2, 160), "float32")
        assert found[0].tolist() == pytest.approx((state / state.norm()).tolist(), abs=1e-3)
        with pytest.raises(PlanError, match="no reward head"):
            await engine.reward([RewardRequest("k", (*ASKED, Message("assistant", "19")))])
    finally:
        await engine.close()


async def test_a_whole_turn_is_scored_with_its_end_and_certainty_is_that_of_the_distribution() -> None:
    import torch
    from transformers import AutoModelForCausalLM

    before = template_ids(ASKED, goes_on=True)
    whole = template_ids((*ASKED, Message("assistant", ANSWERS[0])), goes_on=False)
    with torch.no_grad():
        reference = AutoModelForCausalLM.from_pretrained(ABACUS, dtype=torch.float32)
        logps = reference(torch.tensor([whole])).logits[0].log_softmax(-1)
    drawn_at = range(len(before), len(whole))
    engine = await opened("models/abacus", "generate")
    try:
        [turn] = await engine.score([ScoreRequest(ANSWERS[0], ASKED, whole_turn=True)])
        assert turn == pytest.approx([float(logps[i - 1, whole[i]]) for i in drawn_at], abs=2e-3)
        [part] = await engine.score([ScoreRequest(ANSWERS[0], ASKED)])
        assert len(part) < len(turn)
        assert part == pytest.approx(turn[: len(part)], abs=1e-3)
        [sure] = await engine.score([ScoreRequest(ANSWERS[0], ASKED, whole_turn=True, measure="certainty")])
        exact = [certainty(logps[i - 1].tolist(), logps.shape[1]) for i in drawn_at]
        assert len(sure) == len(turn)
        assert all(bound <= all_of_it + 1e-3 for bound, all_of_it in zip(sure, exact, strict=True))
        assert sure == pytest.approx(exact, abs=0.05)
    finally:
        await engine.close()
