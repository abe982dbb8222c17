"""The same runs on a Ray cluster: same bytes, and what goes wrong is a line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from benchmarks import killing
from pipeline.engine import Resources
from pipeline.errors import PlanError
from tests.conftest import engines

if TYPE_CHECKING:
    from tests.conftest import Site


def test_ray_makes_the_same_bytes_as_one_process(site: Site, ray_config: dict[str, Any]) -> None:
    ray_config["jobs"].append(
        {"stage": "generate", "name": "more", "pool": {"policy": 1, "judge": 1}, "from": "prompts"}
    )
    ray_config["jobs"].insert(1, {"stage": "dedup", "name": "prompts_once", "threshold": 0.5})
    ray_config["jobs"] += [{"stage": "dedup"}, {"stage": "balance", "longer_chosen": None}, {"stage": "split"}]
    whole = site.calm(ray_config)
    processes = killing.Processes(site.folder)
    with site.start("run", site.save(ray_config)) as process:
        _, err = process.communicate(timeout=250)
    assert process.returncode == 0, err
    assert site.files() == whole
    assert len(list(site.folder.glob("pid-*"))) == 2, "both replicas work"
    noise = [line for line in err.splitlines() if not line.startswith("prefsynth: ")]
    assert noise == []
    assert processes.gone() == []


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


@pytest.mark.slow
def test_a_second_engine_that_was_closed_and_opened_again_is_found_by_the_first(
    site: Site, ray_config: dict[str, Any]
) -> None:
    both = {"pool": {"policy": 1, "judge": 1}, "from": "prompts"}
    ray_config["jobs"][1:] = [
        {"stage": "generate", "name": "one", **both},
        {"stage": "generate", "name": "two", "engine": "policy", "from": "prompts"},
        {"stage": "generate", "name": "three", **both, "sampling": {"n": 2}},
    ]
    ray_config["schedule"] = "staged"  # the judge goes while `two` is made, and comes back
    whole = site.calm(ray_config)
    code, _, err = site.command("run", site.save(ray_config))
    assert code == 0, err
    assert "retrying" not in err
    assert site.files() == whole


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        (
            {"a": {"gpus": 16}},
            "engine a asks for 1 replicas of 16 GPUs and 1 CPUs, each on one node; .* 2 nodes .* for 0",
        ),
        ({"a": {"gpus": 5, "replicas": 3}}, "3 replicas of 5 GPUs .* have room for 2"),
        ({"a": {"gpus": 8}, "b": {"gpus": 4, "replicas": 3}}, "engines ask for 20 GPUs"),
        ({"a": {"gpus": 0.5, "replicas": 32, "cpus": 0}}, None),
        ({"a": {"gpus": 8, "replicas": 2}, "b": {"replicas": 30}}, None),
    ],
)
def test_engines_that_would_wait_for_ever_are_a_plan_error(
    monkeypatch: pytest.MonkeyPatch, asked: dict[str, dict[str, Any]], told: str | None
) -> None:
    ray = pytest.importorskip("ray")
    from pipeline.executors.ray_cluster import check_room

    node = {"Alive": True, "Resources": {"GPU": 8.0, "CPU": 32.0}}
    gone = {"Alive": False, "Resources": {}}
    monkeypatch.setattr(ray, "nodes", lambda: [node, gone, node])
    monkeypatch.setattr(ray, "cluster_resources", lambda: {"GPU": 16.0, "CPU": 64.0})
    wanted = {alias: Resources(**fields) for alias, fields in asked.items()}
    if told is None:
        check_room(wanted)
        return
    with pytest.raises(PlanError, match=told):
        check_room(wanted)
