"""The network as trained: arithmetic and parameter names of transformers' Llama, with less overhead on a CPU."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

HEAD = 32


def config(vocabulary: int, eos: int, pad: int) -> LlamaConfig:
    """The shape of the model."""
    return LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=160,
        intermediate_size=448,
        num_hidden_layers=5,
        num_attention_heads=160 // HEAD,
        num_key_value_heads=160 // HEAD,
        head_dim=HEAD,
        max_position_embeddings=1024,
        rms_norm_eps=1e-5,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=eos,
        pad_token_id=pad,
    )


class Norm(nn.Module):
    """Root-mean-square norm with a gain."""

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """Normalised over the last dimension."""
        return functional.rms_norm(x, (x.shape[-1],), self.weight, self.eps)


class Attention(nn.Module):
    """Causal attention with rotary positions."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.q_proj, self.k_proj, self.v_proj, self.o_proj = (nn.Linear(width, width, bias=False) for _ in range(4))

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """Mixed over earlier positions, before the output projection."""
        batch, length, width = x.shape
        q, k, v = (p(x).view(batch, length, -1, HEAD).transpose(1, 2) for p in (self.q_proj, self.k_proj, self.v_proj))
        q, k = (t * cos + torch.cat((-t[..., HEAD // 2 :], t[..., : HEAD // 2]), -1) * sin for t in (q, k))
        mixed = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        return mixed.transpose(1, 2).reshape(batch * length, width)


class Mlp(nn.Module):
    """Gated feed-forward."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.gate_proj, self.up_proj = (nn.Linear(width, inner, bias=False) for _ in range(2))
        self.down_proj = nn.Linear(inner, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Transformed per position."""
        out: Tensor = self.down_proj(functional.silu(self.gate_proj(x)) * self.up_proj(x))
        return out


class Layer(nn.Module):
    """Attention and feed-forward, each on a normed copy and added."""

    def __init__(self, shape: LlamaConfig) -> None:
        super().__init__()
        self.self_attn = Attention(shape.hidden_size)
        self.mlp = Mlp(shape.hidden_size, shape.intermediate_size)
        self.input_layernorm = Norm(shape.hidden_size, shape.rms_norm_eps)
        self.post_attention_layernorm = Norm(shape.hidden_size, shape.rms_norm_eps)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, kept: Tensor | None = None) -> Tensor:
        """One layer further; with `kept`, only at those places of the flattened batch."""
        shape = x.shape
        mixed, x = self.self_attn(self.input_layernorm(x), cos, sin), x.flatten(0, 1)
        if kept is not None:
            mixed, x = mixed[kept], x[kept]
        x = x + self.self_attn.o_proj(mixed)
        out: Tensor = x + self.mlp(self.post_attention_layernorm(x))
        return out.view(shape) if kept is None else out


class Net(nn.Module):
    """The decoder with tied embeddings."""

    def __init__(self, shape: LlamaConfig) -> None:
        super().__init__()
        self.shape = shape
        self.embed_tokens = nn.Embedding(shape.vocab_size, shape.hidden_size)
        self.layers = nn.ModuleList(Layer(shape) for _ in range(shape.num_hidden_layers))
        self.norm = Norm(shape.hidden_size, shape.rms_norm_eps)
        rates = 1.0 / 10000.0 ** (torch.arange(0, HEAD, 2).float() / HEAD)
        angles = torch.outer(torch.arange(shape.max_position_embeddings).float(), torch.cat((rates, rates)))
        self.register_buffer("cos", angles.cos(), persistent=False)
        self.register_buffer("sin", angles.sin(), persistent=False)
        for name, weight in self.named_parameters():
            if weight.ndim == 2:
                scale = 0.02 if "embed" in name else weight.shape[1] ** -0.5
                last = name.endswith(("o_proj.weight", "down_proj.weight"))
                nn.init.normal_(weight, std=scale * (0.3 if last else 1.0))

    def forward(self, tokens: Tensor, kept: Tensor) -> Tensor:
        """The logits at the kept places of the flattened batch; the last layer spends nothing on the others."""
        cos, sin = self.cos[: tokens.shape[1]], self.sin[: tokens.shape[1]]  # type: ignore[index]
        x = self.embed_tokens(tokens)
        for layer in self.layers[:-1]:
            x = layer(x, cos, sin)
        x = self.layers[-1](x, cos, sin, kept)
        return functional.linear(self.norm(x), self.embed_tokens.weight)


def to_llama(net: Net) -> LlamaForCausalLM:
    """The same weights as a transformers model."""
    model = LlamaForCausalLM(net.shape)
    model.model.load_state_dict({k: v.detach().float().cpu() for k, v in net.state_dict().items()})
    model.tie_weights()
    model.generation_config.eos_token_id = net.shape.eos_token_id
    model.generation_config.pad_token_id = net.shape.pad_token_id
    return model.eval()


def load_llama(folder: Path) -> dict[str, Tensor]:
    """The weights of an exported model under the network's names."""
    weights = LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32).model.state_dict()
    return dict(weights)


def export(net: Net, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Write a folder that AutoModelForCausalLM and AutoTokenizer load; weights in bfloat16."""
    to_llama(net).to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    settings = folder / "tokenizer_config.json"
    kept = json.loads(settings.read_text(encoding="utf-8")) | {
        "tokenizer_class": "PreTrainedTokenizerFast"
    }  # old and new name it so
    settings.write_text(json.dumps(kept, indent=2) + "\n", encoding="utf-8")


def soften(folder: Path, tau: float) -> None:
    """Divide the logits of an exported model by `tau`, for good: the last norm carries the factor.

    What is most likely stays so (greedy judging is the same); a sample at temperature 1 is drawn as at `tau` before.
    """
    weights = load_file(folder / "model.safetensors")
    norm = weights["model.norm.weight"]
    weights["model.norm.weight"] = (norm.float() / tau).to(norm.dtype)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
