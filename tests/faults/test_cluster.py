"""Runs on Ray, of which processes and nodes die: same bytes, nothing is left behind."""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from benchmarks import killing
from benchmarks.fault_configs import on_ray
from benchmarks.killed_runs import KilledRuns
from benchmarks.nodes import add, nodes
from tests.conftest import engines

if TYPE_CHECKING:
    from tests.conftest import Site


@pytest.mark.slow
def test_a_replica_that_dies_costs_its_shards_in_flight_and_nothing_else(
    site: Site, ray_config: dict[str, Any]
) -> None:
    ray_config["engines"] = engines("faults:dies_here", replicas=2)
    # the pool asks the dying engine from another one's process too
    ray_config["jobs"].append(
        {"stage": "generate", "name": "more", "pool": {"judge": 1, "policy": 1}, "from": "prompts"}
    )
    (site.folder / "suicide-0").touch()  # until the calm run has ended
    whole = site.calm(ray_config)
    with site.start("run", site.save(ray_config)) as process:
        _, err = process.communicate(timeout=280)
    assert process.returncode == 0, err
    assert "retrying job" in err
    assert "a worker process died" in err
    assert site.files() == whole
    assert site.leftovers() == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "to_all"),
    [(signal.SIGKILL, False), (signal.SIGTERM, False), (signal.SIGTERM, True), (signal.SIGINT, False)],
)
def test_a_driver_that_is_stopped_leaves_no_process_and_a_run_that_goes_on(
    site: Site, ray_config: dict[str, Any], number: signal.Signals, to_all: bool
) -> None:
    whole = site.calm(ray_config)
    path = site.save(ray_config)
    processes = killing.Processes(site.folder)
    with site.start("run", path) as process:
        assert killing.wait_for(lambda: list(site.folder.glob("pid-*")), process, 120)
        processes.living()
        began = time.monotonic()
        if number == signal.SIGINT:
            os.killpg(process.pid, number)  # what a terminal does
        elif to_all:  # what Slurm does
            killing.send(number, processes.living())
        else:
            process.send_signal(number)
        _, err = process.communicate(timeout=60)
        took = time.monotonic() - began
    if number != signal.SIGKILL:
        assert (process.returncode, err.splitlines()[-1].endswith("run the same command again to go on")) == (
            5,
            True,
        ), err
        assert to_all or took < 10  # Ray's own processes are in no hurry
    assert processes.gone() == []
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
    whole = site.calm(ray_config)
    path = site.save(ray_config)
    processes = killing.Processes(site.folder)
    with site.start("run", path) as process:
        assert process.stderr is not None
        assert any("deciding: dedup" in line for line in process.stderr)
        process.send_signal(number)
        process.communicate(timeout=60)
    assert process.returncode == (5 if number == signal.SIGTERM else -signal.SIGKILL)
    assert processes.gone() == []
    code, _, err = site.command("run", path)
    assert code == 0, err
    assert site.files() == whole


@pytest.mark.slow
@pytest.mark.parametrize(
    ("seed", "roles"), [(1, ("worker", "engine actor")), (2, ("driver", "raylet", "engine actor"))]
)
def test_random_kills_lose_and_double_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int, roles: tuple[str, ...]
) -> None:
    pytest.importorskip("ray")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    runs = KilledRuns(tmp_path, on_ray(tmp_path, n=80), random.Random(seed))
    runs.in_peace()
    runs.under_kills(roles, (0.5, 3.0), most=4)
    assert runs.wrong == []
    assert runs.kills.total() > 0


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_nodes_that_are_lost_and_a_driver_that_goes_on_with_fewer(site: Site, ray_config: dict[str, Any]) -> None:
    """A run that joined a cluster of three: a node's raylet is killed under it; SIGTERM; goes on with two nodes."""
    ray_config["engines"] = engines("faults:held", replicas=3, cpus=2)  # one replica fills a node
    ray_config["engines"]["judge"]["resources"]["cpus"] = 0
    (site.folder / "go").touch()
    whole = site.calm(ray_config)
    (site.folder / "go").unlink()
    processes = killing.Processes(site.folder)
    with nodes(site.folder, 3) as cluster:
        before = len(processes.doing("raylet"))
        assert before == 3
        with site.start("run", site.save(ray_config), "--address", "auto") as process:
            # shards are under way on all nodes
            assert killing.wait_for(lambda: len(list(site.folder.glob("pid-*"))) == 3, process, 200)
            workers = [psutil.Process(int(p.name.split("-")[1])) for p in site.folder.glob("pid-*")]
            processes.doing("raylet")[-1].kill()
            assert killing.wait_for(lambda: not all(map(killing.lives, workers)), process, 100)
            assert process.stderr is not None
            assert any("retrying job generate" in line for line in process.stderr)  # it knows that the node is lost
            (site.folder / "go").touch()
            assert killing.wait_for(lambda: list((site.folder / "runs/t/rate").glob("*.parquet")), process, 200)
            process.terminate()
            _, err = process.communicate(timeout=60)
        assert process.returncode in (0, 5), err
        ray_config["engines"]["policy"]["resources"]["replicas"] = 2
        code, _, err = site.command("run", site.save(ray_config), "--address", "auto")
        assert code == 0, err
        assert site.files() == whole
        assert site.leftovers() == []
        add(cluster)
        ray_config["name"] = "again"  # the cluster is as it was, and takes a third replica again
        ray_config["engines"]["policy"]["resources"]["replicas"] = 3
        code, _, err = site.command("run", site.save(ray_config), "--address", "auto")
        assert code == 0, err
    assert processes.gone() == []
