"""Searches of the literature as named sets of fields. A config names one and overrides what it likes. Pure.

Sources, as read in the code of their authors (spec mcts R6): mcts_dpo arXiv 2405.00451, rstar_math arXiv 2501.04519,
alphamath arXiv 2405.03553, omega_prm arXiv 2406.06592 (in OpenR), ultrainteract arXiv 2404.02078.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

PRESETS: Mapping[str, Mapping[str, Any]] = {
    "default": {},
    "mcts_dpo": {
        "mode": "trajectory", "backup": "advantage", "gamma": 1.0, "revisit": True,
        "select": "puct", "c": 1.0, "prior": "logp_len", "length_penalty": 1.25,
        "width_root": 2, "width": 2, "sims": 256, "reroot_sims": 64, "max_depth": 3, "step_tokens": 128, "max_tokens": 512,
        "values": {"form": "additive"}, "self_eval": {"hint": True, "both_orders": False},
    },
    "rstar_math": {  # rounds without a process model: only ends have values
        "mode": "trajectory", "backup": "mean", "select": "uct", "c": 2.0, "fpu": "zero", "prior": "uniform",
        "width_root": 12, "width": 12, "sims": 48, "max_depth": 16, "step_tokens": 2048, "max_tokens": 4096,
        "count_invalid_as_wrong": True, "invalid_stays": True,
    },
    "alphamath": {
        "mode": "frontier", "backup": "mean", "select": "puct", "c": 1.25, "prior": "logp_len", "length_penalty": 1.0,
        "width_root": 5, "width": 5, "sims": 40, "max_depth": 8, "step_tokens": 2000, "max_tokens": 4096,
    },
    "omega_prm": {
        "mode": "omega", "sims": 20,
        "omega": {
            "rollouts": 16, "max_rollouts": 200, "alpha": 0.5, "beta": 0.9, "length": 500, "c": 0.125, "confirm": False,
        },
    },
    "ultrainteract": {
        "mode": "ultra", "prior": "uniform", "width_root": 20, "width": 20, "sims": 5, "max_depth": 5,
        # name a stronger engine: observe.critique.engine
        "observe": {"tools": ("equations", "python"), "critique": {"hint": True}},
    },
}  # fmt: skip


def with_preset(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a config laid over those of the preset it names (`preset`, default: default); blocks are merged.

    Raises ValueError for a preset that does not exist.
    """
    name = fields.get("preset", "default")
    if name not in PRESETS:
        raise ValueError(f"unknown preset {name!r}; presets: {', '.join(PRESETS)}")
    return _laid_over(PRESETS[name], fields)


def _laid_over(ours: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(ours)
    for field, value in given.items():
        block = merged.get(field)
        merged[field] = _laid_over(block, value) if isinstance(block, Mapping) and isinstance(value, Mapping) else value
    return merged
