"""Muon: momentum whose matrix updates are made orthogonal; a small model learns in about half the tokens of AdamW."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

import torch
from torch import Tensor, nn


def orthogonal(stack: Tensor, rounds: int = 4) -> Tensor:
    """Newton-Schulz iteration towards the nearest orthogonal matrices of a stack."""
    a, b, c = 3.4445, -4.7750, 2.0315
    tall = stack.shape[-2] > stack.shape[-1]
    x = stack.mT if tall else stack
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(rounds):
        square = x @ x.mT
        x = a * x + (b * square + c * square @ square) @ x
    nearest: Tensor = x.mT if tall else x
    return nearest


class Muon(torch.optim.Optimizer):
    """For the matrices of the layers; matrices of one shape are worked on together."""

    def __init__(self, weights: Iterable[nn.Parameter], lr: float, momentum: float = 0.95, decay: float = 0.0) -> None:
        super().__init__(weights, {"lr": lr, "momentum": momentum, "decay": decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One update."""
        for group in self.param_groups:
            shapes: dict[torch.Size, list[nn.Parameter]] = defaultdict(list)
            for weight in group["params"]:
                shapes[weight.shape].append(weight)
            for shape, weights in shapes.items():
                aims: list[Tensor] = []
                for weight in weights:
                    assert weight.grad is not None
                    moving = self.state[weight].setdefault("moving", torch.zeros_like(weight))
                    moving.lerp_(weight.grad, 1 - group["momentum"])
                    aims.append(weight.grad.lerp(moving, group["momentum"]))
                updates = orthogonal(torch.stack(aims))
                size = group["lr"] * max(1.0, shape[0] / shape[1]) ** 0.5
                for weight, update in zip(weights, updates, strict=True):
                    weight.mul_(1 - group["lr"] * group["decay"]).add_(update, alpha=-size)
