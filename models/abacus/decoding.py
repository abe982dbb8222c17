"""Many answers at once on a CPU: keys and values stay in place, rows that have ended are dropped now and then."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional
from transformers import PreTrainedTokenizerBase

from models.abacus.net import HEAD, Layer, Net

BATCH = 256
STILL = 0.7  # share of a batch's rows that go on, below which the others are dropped


class Running:
    """Rows under way, padded on the left. `rows`: which of the batch they are; `logits`: behind their last tokens."""

    def __init__(self, net: Net, prompts: Sequence[Sequence[int]], most: int) -> None:
        longest = max(map(len, prompts))
        shape, self.net, self.length = net.shape, net, 0
        self.layers = [layer for layer in net.layers if isinstance(layer, Layer)]
        self.pads = torch.tensor([longest - len(p) for p in prompts])
        room = (2, shape.num_hidden_layers, len(prompts), shape.num_attention_heads, longest + most, HEAD)
        self.kept = torch.zeros(room)
        self.rows = torch.arange(len(prompts))
        self.read(torch.tensor([[0] * (longest - len(p)) + list(p) for p in prompts]))

    def read(self, tokens: Tensor) -> None:
        """Appends tokens (rows, n)."""
        at = torch.arange(self.length, self.length + tokens.shape[1])
        self.length += tokens.shape[1]
        places = (at - self.pads[:, None]).clamp(min=0)
        turn = self.net.cos[places][:, None], self.net.sin[places][:, None]  # type: ignore[index]
        seen = torch.arange(self.length)
        # a padding sees itself, or its row of the softmax would be empty
        mask = (seen <= at[:, None]) & ((seen >= self.pads[:, None, None]) | (seen == at[:, None]))
        x = self.net.embed_tokens(tokens)
        for number, layer in enumerate(self.layers):
            mixed = self._attend(number, layer.input_layernorm(x), turn, mask[:, None])
            x = x + layer.self_attn.o_proj(mixed)
            x = x + layer.mlp(layer.post_attention_layernorm(x))
        self.logits = functional.linear(self.net.norm(x[:, -1]), self.net.embed_tokens.weight)

    def _attend(self, number: int, x: Tensor, turn: tuple[Tensor, Tensor], mask: Tensor) -> Tensor:
        own = self.layers[number].self_attn
        cos, sin = turn
        batch, count, width = x.shape
        q, k, v = (p(x).view(batch, count, -1, HEAD).transpose(1, 2) for p in (own.q_proj, own.k_proj, own.v_proj))
        q, k = (t * cos + torch.cat((-t[..., HEAD // 2 :], t[..., : HEAD // 2]), -1) * sin for t in (q, k))
        keys, values = self.kept[0, number], self.kept[1, number]
        keys[:, :, self.length - count : self.length], values[:, :, self.length - count : self.length] = k, v
        mixed = functional.scaled_dot_product_attention(
            q, keys[:, :, : self.length], values[:, :, : self.length], attn_mask=mask
        )
        return mixed.transpose(1, 2).reshape(batch, count, width)

    def drop(self, going: Tensor) -> None:
        """Goes on with some of the rows."""
        self.kept, self.pads, self.rows = self.kept[:, :, going], self.pads[going], self.rows[going]


@torch.inference_mode()
def answers(
    net: Net, tokenizer: PreTrainedTokenizerBase, prompts: Sequence[str], temperature: float = 0.0, most: int = 90
) -> list[str]:
    """One answer per prompt, in order; temperature 0 takes the likeliest token. Samples depend on torch's seed."""
    ids = tokenizer(list(prompts), add_special_tokens=False).input_ids
    order = sorted(range(len(ids)), key=lambda i: len(ids[i]))  # a longer problem has a longer answer
    texts = [""] * len(prompts)
    for at in range(0, len(order), BATCH):
        picked = order[at : at + BATCH]
        for i, tokens in zip(picked, _said(net, [ids[i] for i in picked], temperature, most), strict=True):
            texts[i] = tokenizer.decode(tokens, skip_special_tokens=True)
    return texts


def _said(net: Net, prompts: Sequence[Sequence[int]], temperature: float, most: int) -> list[list[int]]:
    running, end = Running(net, prompts, most), net.shape.eos_token_id
    said: list[list[int]] = [[] for _ in prompts]
    going = torch.ones(len(prompts), dtype=torch.bool)
    for _ in range(most):
        new = _next(running.logits, temperature)
        for row, token, goes in zip(running.rows.tolist(), new.tolist(), going.tolist(), strict=True):
            if goes:
                said[row].append(token)
        going &= new != end
        if not going.any():
            break
        if going.float().mean() < STILL:
            running.drop(going)
            new, going = new[going], going[going]
        running.read(new[:, None])
    return said


def _next(logits: Tensor, temperature: float) -> Tensor:
    if not temperature:
        return logits.argmax(-1)
    return torch.multinomial((logits / temperature).softmax(-1), 1)[:, 0]
