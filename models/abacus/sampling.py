"""Batched replies of a transformers model."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase


@torch.inference_mode()
def reply(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[str],
    temperature: float = 0.0,
    most: int = 120,
    batch: int = 256,
) -> list[str]:
    """One reply per prompt, in order; temperature 0 takes the likeliest token."""
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
    replies = [""] * len(prompts)
    chosen = (
        {"do_sample": True, "temperature": temperature, "top_k": 0, "top_p": 1.0}
        if temperature
        else {"do_sample": False}
    )
    for start in range(0, len(order), batch):
        picked = order[start : start + batch]
        given = tokenizer([prompts[i] for i in picked], padding=True, padding_side="left", return_tensors="pt").to(
            model.device
        )
        given.pop("token_type_ids", None)
        out = model.generate(**given, max_new_tokens=most, **chosen)
        new = tokenizer.batch_decode(out[:, given["input_ids"].shape[1] :], skip_special_tokens=True)
        for i, text in zip(picked, new, strict=True):
            replies[i] = text
    return replies
