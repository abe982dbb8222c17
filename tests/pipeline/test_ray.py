"""The same runs on a Ray cluster: same bytes, whatever dies; nothing is left behind."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import psutil
import pytest

if TYPE_CHECKING:
    from tests.conftest import Site

GONE_S = 30.0  # for Ray's own processes to follow their driver

# Two nodes on one machine. A line on stdin ends the second one as a power cut does, another line the cluster.
CLUSTER = """
from ray.cluster_utils import Cluster
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False})
second = cluster.add_node(num_cpus=2)
cluster.wait_for_nodes()
print("up", flush=True)
input()
cluster.remove_node(second, allow_graceful=False)
print("lost", flush=True)
input()
cluster.shutdown()
"""


def engines(policy: str = "faults:slow", replicas: int = 1, **resources: Any) -> dict[str, Any]:
    return {
        "policy": {
            "kind": "scripted", "function": policy,
            "resources": {"slots": 2, "cpus": 0.5, "replicas": replicas, **resources},
        },
        "judge": {"kind": "scripted", "function": "faults:slow_judge", "resources": {"cpus": 0.5}},
    }  # fmt: skip


def calm(site: Site, config: dict[str, Any]) -> dict[str, bytes]:
    """Shards of the same run with the local executor."""
    site.run({**config, "runs_dir": str(site.folder / "calm"), "executor": "local"})
    folder = site.folder / "calm/t"
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*.parquet"))}


def of_session(process: subprocess.Popen[str], site: Site) -> list[psutil.Process]:
    """Living processes that the driver started, its own session or Ray's: told by the environment they inherited."""
    found = []
    for each in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if each.environ().get("FAULTS") == str(site.folder) and each.status() != psutil.STATUS_ZOMBIE:
                found.append(each)
    return [p for p in found if p.pid not in (os.getpid(), process.pid)]


def all_gone(process: subprocess.Popen[str], site: Site) -> bool:
    deadline = time.monotonic() + GONE_S
    while left := of_session(process, site):
        if time.monotonic() > deadline:
            pytest.fail(f"still there: {[p.cmdline()[:3] for p in left]}")
        time.sleep(0.2)
    return True


def wait_for_file(site: Site, pattern: str, process: subprocess.Popen[str]) -> int:
    """The number at the end of the first file's name: a process id."""
    while not (found := list(site.folder.glob(pattern))):
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.02)
    return int(found[0].name.split("-")[-1])


@pytest.fixture
def ray_config(site: Site, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    pytest.importorskip("ray")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    return site.config(n=24, executor="ray", engines=engines("faults:here", replicas=2))


def test_ray_makes_the_same_bytes_as_one_process(site: Site, ray_config: dict[str, Any]) -> None:
    ray_config["jobs"].append(
        {"stage": "generate", "name": "more", "pool": {"policy": 1, "judge": 1}, "from": "prompts"}
    )
    ray_config["jobs"].insert(1, {"stage": "dedup", "name": "prompts_once", "threshold": 0.5})
    ray_config["jobs"] += [{"stage": "dedup"}, {"stage": "balance", "longer_chosen": None}, {"stage": "split"}]
    whole = calm(site, ray_config)
    for old in site.folder.glob("*-[0-9]*"):
        old.unlink()
    with site.start("run", site.save(ray_config)) as process:
        _, err = process.communicate(timeout=250)
    assert process.returncode == 0, err
    assert site.files() == whole
    assert len(list(site.folder.glob("pid-*"))) == 2, "both replicas work"
    noise = [line for line in err.splitlines() if not line.startswith("prefsynth: ")]
    assert noise == []
    assert all_gone(process, site)


@pytest.mark.slow
def test_a_replica_that_dies_costs_its_shards_in_flight_and_nothing_else(
    site: Site, ray_config: dict[str, Any]
) -> None:
    ray_config["engines"] = engines("faults:dies_here", replicas=2)
    # the pool asks the dying engine from another one's process too
    ray_config["jobs"].append(
        {"stage": "generate", "name": "more", "pool": {"judge": 1, "policy": 1}, "from": "prompts"}
    )
    (site.folder / "suicide-0").touch()
    whole = calm(site, ray_config)
    (site.folder / "suicide-0").unlink()
    with site.start("run", site.save(ray_config)) as process:
        _, err = process.communicate(timeout=280)
    assert process.returncode == 0, err
    assert "retrying job" in err
    assert "a worker process died" in err
    assert site.files() == whole
    assert site.leftovers() == []


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_driver_that_is_stopped_leaves_no_process_and_a_run_that_goes_on(
    site: Site, ray_config: dict[str, Any], number: signal.Signals
) -> None:
    whole = calm(site, ray_config)
    path = site.save(ray_config)
    for old in site.folder.glob("*-[0-9]*"):
        old.unlink()
    with site.start("run", path) as process:
        wait_for_file(site, "pid-*", process)
        began = time.monotonic()
        if number == signal.SIGINT:
            os.killpg(process.pid, number)  # what a terminal does
        else:
            process.send_signal(number)
        _, err = process.communicate(timeout=60)
        took = time.monotonic() - began
    if number != signal.SIGKILL:
        assert (process.returncode, err.splitlines()[-1].endswith("run the same command again to go on")) == (
            5,
            True,
        ), err
        assert took < 10
    assert all_gone(process, site)
    code, _, err = site.command("run", path)
    assert code == 0, err
    assert site.files() == whole
    assert site.leftovers() == []


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_driver_that_is_stopped_while_ray_data_looks_leaves_no_process_and_goes_on(
    site: Site, ray_config: dict[str, Any], number: signal.Signals
) -> None:
    ray_config["jobs"].insert(1, {"stage": "dedup", "threshold": 0.5})
    whole = calm(site, ray_config)
    path = site.save(ray_config)
    with site.start("run", path) as process:
        assert process.stderr is not None
        assert any("deciding: dedup" in line for line in process.stderr)
        process.send_signal(number)
        process.communicate(timeout=60)
    assert process.returncode == (5 if number == signal.SIGTERM else -signal.SIGKILL)
    assert all_gone(process, site)
    code, _, err = site.command("run", path)
    assert code == 0, err
    assert site.files() == whole


@pytest.mark.slow
def test_more_accelerators_than_there_are_is_a_plan_error(site: Site, ray_config: dict[str, Any]) -> None:
    ray_config["engines"] = engines(gpus=512)
    code, _, err = site.command("run", site.save(ray_config))
    assert code == 2
    assert "engines ask for 512 GPUs (policy 512), the cluster has" in err.splitlines()[-1]


@pytest.mark.slow
def test_what_goes_wrong_in_a_worker_reaches_the_user_as_one_line(site: Site, ray_config: dict[str, Any]) -> None:
    ray_config["engines"] = engines("faults:misplanned")
    code, _, err = site.command("run", site.save(ray_config))
    assert code == 2
    assert err.splitlines()[-1] == "prefsynth: label 10 is no single token; choose labels that are"
    assert "Traceback" not in err


@pytest.mark.slow
def test_a_cluster_that_is_not_there_is_one_line(site: Site, ray_config: dict[str, Any]) -> None:
    # not `auto`: that would find whatever runs on this machine
    code, _, err = site.command("run", site.save(ray_config), "--address", "127.0.0.1:1")
    assert code == 2
    assert "no Ray cluster at '127.0.0.1:1'" in err.splitlines()[-1]


@pytest.fixture
def cluster(site: Site, monkeypatch: pytest.MonkeyPatch) -> Iterator[subprocess.Popen[str]]:
    """A cluster of two nodes of two CPUs, found by `--address auto`."""
    pytest.importorskip("ray")
    with tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True) as folder:  # short: it holds sockets
        for name, value in {
            "RAY_TMPDIR": folder, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0" * 64, "RAY_USAGE_STATS_ENABLED": "0",
            "PYTHONPATH": os.pathsep.join(sys.path),
        }.items():  # fmt: skip
            monkeypatch.setenv(name, value)
        monkeypatch.delenv("RAY_ADDRESS", raising=False)
        process = subprocess.Popen(
            [sys.executable, "-c", CLUSTER], text=True, start_new_session=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        try:
            until(process, "up")
            yield process
            process.communicate("\n\n", timeout=60)
            assert all_gone(process, site)
        finally:
            process.kill()
            process.communicate()
            for left in of_session(process, site):
                left.kill()


def until(process: subprocess.Popen[str], said: str) -> None:
    """Reads its output as far as the line `said`."""
    assert process.stdout is not None
    assert any(line.strip() == said for line in process.stdout), f"it ended before it said {said!r}"


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_run_that_joined_a_cluster_outlives_the_loss_of_a_node_and_leaves_the_cluster_as_it_was(
    site: Site, ray_config: dict[str, Any], cluster: subprocess.Popen[str]
) -> None:
    ray_config["engines"] = engines("faults:held", replicas=2, cpus=2)  # one replica fills a node
    ray_config["engines"]["judge"]["resources"]["cpus"] = 0
    (site.folder / "go").touch()
    whole = calm(site, ray_config)
    for old in (*site.folder.glob("pid-*"), *site.folder.glob("judge-*"), site.folder / "go"):
        old.unlink()
    path = site.save(ray_config)
    with site.start("run", path, "--address", "auto") as process:
        while len(list(site.folder.glob("pid-*"))) < 2:  # shards are under way on both nodes
            assert process.poll() is None, process.communicate()[1]
            time.sleep(0.02)
        assert cluster.stdin is not None
        cluster.stdin.write("\n")
        cluster.stdin.flush()
        until(cluster, "lost")
        while all(psutil.pid_exists(int(p.name.split("-")[1])) for p in site.folder.glob("pid-*")):
            time.sleep(0.02)  # a worker may outlive its node by a moment, long enough to finish
        (site.folder / "go").touch()
        _, err = process.communicate(timeout=250)
    assert process.returncode == 0, err
    assert "retrying job generate" in err
    assert site.files() == whole
    assert site.leftovers() == []
    ray_config["name"] = "again"
    ray_config["engines"]["policy"]["resources"]["replicas"] = 1
    code, _, err = site.command("run", site.save(ray_config), "--address", "auto")
    assert code == 0, err
