"""A Ray cluster to work on: joined, or started here; and whether it has what engines ask for."""

from __future__ import annotations

import math
import os
import socket
from collections.abc import Iterable, Mapping
from typing import Any

import ray

from pipeline.engine import EngineConfig, Resources
from pipeline.errors import EngineError, PlanError

ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DEDUP_LOGS": "1",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    # Of a cluster we start: else a process that is idle for a second ends, and to start the next one costs another.
    "RAY_idle_worker_killing_time_threshold_ms": "60000",
}


def connect(address: str | None, engines: Iterable[EngineConfig]) -> None:
    """Joins a cluster, or starts one here that has the CPUs the engines ask for, so that nothing waits for ever."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    # What workers print stays in Ray's session folder: a run's terminal is for its own progress.
    wanted = bool(os.environ.get("PREFSYNTH_WORKER_LOGS"))
    options: dict[str, Any] = {"logging_level": "error", "log_to_driver": wanted}
    address = address or os.environ.get("RAY_ADDRESS") or "local"  # never a cluster that merely happens to run here
    if address == "local":
        needed = sum(config.resources.cpus * config.resources.replicas for config in engines)
        options |= {"include_dashboard": False, "num_cpus": max(os.cpu_count() or 1, math.ceil(needed) + 1)}
    if not ray.is_initialized():
        _check_reachable(address)
        try:
            ray.init(address=address, **options)
        except (ConnectionError, ValueError) as error:
            raise PlanError(f"no Ray cluster at {address!r}: {first_line(error)}") from None
        except Exception as error:  # Ray's own time-outs are plain Exceptions
            raise EngineError(f"Ray did not start: {first_line(error)}; run the same command again") from None


def _check_reachable(address: str) -> None:
    """Raises PlanError when nobody listens at host:port; Ray would ask again for many minutes."""
    host, colon, port = address.rpartition(":")
    if colon and port.isdigit() and "/" not in host:
        try:
            socket.create_connection((host, int(port)), timeout=10).close()
        except OSError as error:
            raise PlanError(f"no Ray cluster at {address!r}: {error}") from None


def check_room(wanted: Mapping[str, Resources]) -> None:
    """Raises PlanError when engines that must live at the same time ask for more than the cluster has; EngineError where
    it has lost nodes, which may come back."""
    total, nodes = cluster(), ray.nodes()
    living = [node["Resources"] for node in nodes if node["Alive"]]
    failure = PlanError if len(living) == len(nodes) else EngineError
    for what, unit in (("gpus", "GPU"), ("cpus", "CPU")):
        asked = {alias: getattr(r, what) * r.replicas for alias, r in wanted.items()}
        if sum(asked.values()) > total.get(unit, 0):
            each = ", ".join(f"{alias} {n:g}" for alias, n in asked.items() if n)
            raise failure(
                f"engines ask for {sum(asked.values()):g} {unit}s ({each}), the cluster has {total.get(unit, 0):g}; "
                "change resources, set schedule: staged, or join a larger cluster with --address"
            )
    for alias, r in wanted.items():
        if (places := sum(_replicas(r, node) for node in living)) < r.replicas:
            raise failure(
                f"engine {alias} asks for {r.replicas} replicas of {r.gpus:g} GPUs and {r.cpus:g} CPUs, each on one node; "
                f"the cluster's {len(living)} nodes have room for {places}; change its resources"
            )


def _replicas(r: Resources, node: Mapping[str, float]) -> int:
    """How many replicas fit on a node that does nothing else."""
    asked = {"GPU": r.gpus, "CPU": r.cpus}
    return min([int(node.get(unit, 0) / n + 1e-9) for unit, n in asked.items() if n] or [r.replicas])


def cluster() -> dict[str, float]:
    return dict(ray.cluster_resources())


def first_line(error: BaseException) -> str:
    return str(error).strip().split("\n")[0]
