"""How much a text in the sandbox may take. Standard library alone: both sides of the pipe read it."""

from __future__ import annotations

from typing import NamedTuple


class Limits(NamedTuple):
    """Of one call. cpu_s: processor seconds, whole. wall_s: seconds on the clock, which load makes longer than cpu_s.

    memory_mb: address space, Python's own 30 MiB included. scratch_mb: all files together (one file, on a system without
    namespaces). output_bytes: what it may print.
    """

    cpu_s: int = 5
    wall_s: float = 15.0
    memory_mb: int = 256
    scratch_mb: int = 16
    output_bytes: int = 65_536


DEFAULT = Limits()
