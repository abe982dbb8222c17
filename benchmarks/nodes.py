"""A cluster of local nodes: `python -m benchmarks.nodes N` says "up" and stays until its input ends.

Each line of its input adds a node; whoever wants one gone kills its raylet.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.figures import ROOT
from benchmarks.killing import MARK

CPUS = 2


def main(n: int) -> None:
    """Serves until the input ends."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": CPUS, "include_dashboard": False})
    for _ in range(n - 1):
        cluster.add_node(num_cpus=CPUS)
    cluster.wait_for_nodes()
    print("up", flush=True)
    for _ in sys.stdin:
        cluster.add_node(num_cpus=CPUS)
        print("up", flush=True)
    cluster.shutdown()


@contextlib.contextmanager
def nodes(folder: Path, n: int) -> Iterator[subprocess.Popen[str]]:
    """A cluster of n nodes of two CPUs, found by `--address auto` in this environment; marked with `folder`."""
    with tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True) as place:  # short: it holds sockets
        given = {
            "RAY_TMPDIR": place, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0" * 64, "RAY_USAGE_STATS_ENABLED": "0",
            "PYTHONPATH": os.pathsep.join((str(ROOT), *sys.path)), MARK: str(folder),
        }  # fmt: skip
        before = {name: os.environ.get(name) for name in (*given, "RAY_ADDRESS")}
        os.environ.update(given)
        os.environ.pop("RAY_ADDRESS", None)
        process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.nodes", str(n)], cwd=ROOT, text=True, start_new_session=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            is_up(process)
            yield process
            process.communicate(timeout=120)
        finally:
            process.kill()
            process.communicate()
            for name, value in before.items():
                os.environ.pop(name, None) if value is None else os.environ.__setitem__(name, value)


def is_up(process: subprocess.Popen[str]) -> None:
    """Waits until the cluster has what it was asked for. Raises RuntimeError when it ends before."""
    assert process.stdout is not None
    if not any(line.strip() == "up" for line in process.stdout):
        raise RuntimeError("the cluster ended; run python -m benchmarks.nodes 3 to see why")


def add(process: subprocess.Popen[str]) -> None:
    """One node more."""
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()
    is_up(process)


if __name__ == "__main__":
    main(int(sys.argv[1]))
