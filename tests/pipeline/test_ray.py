"""The same runs on a Ray cluster: same bytes, and what goes wrong is a line."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from benchmarks import killing
from pipeline.engine import Resources
from pipeline.errors import EngineError, PlanError
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
    monkeypatch.setattr(ray, "nodes", lambda: [node, node])
    monkeypatch.setattr(ray, "cluster_resources", lambda: {"GPU": 16.0, "CPU": 64.0})
    wanted = {alias: Resources(**fields) for alias, fields in asked.items()}
    if told is None:
        check_room(wanted)
        return
    with pytest.raises(PlanError, match=told):
        check_room(wanted)
    monkeypatch.setattr(ray, "nodes", lambda: [node, {"Alive": False, "Resources": {}}, node])
    with pytest.raises(EngineError, match=told):  # what was lost may come back: no reason never to try again
        check_room(wanted)


class Lost:
    """An actor whose node is lost at its first calls."""

    def __init__(self, times: int, failure: Exception) -> None:
        self.times, self.failure, self.open = times, failure, self

    def remote(self) -> Any:
        self.times -= 1
        return self._answer(self.times < 0)

    async def _answer(self, up: bool) -> None:
        if not up:
            raise self.failure


@pytest.mark.parametrize(("times", "alive"), [((0, 2), (True, False)), ((2, 1), (False, True)), ((0, 0), (True, True))])
async def test_a_replica_that_is_lost_while_engines_start_comes_later(
    monkeypatch: pytest.MonkeyPatch, times: tuple[int, ...], alive: tuple[bool, ...]
) -> None:
    pytest.importorskip("ray")
    from ray.exceptions import ActorUnavailableError

    from pipeline.executors import ray as executors

    monkeypatch.setattr(executors, "REOPEN_S", 0.0)
    executor = object.__new__(executors.RayExecutor)
    executor._watchers = set()
    seats = [executors._Seat(Lost(n, ActorUnavailableError("its node is gone", None))) for n in times]
    await executor._opened(seats)
    assert tuple(seat.alive for seat in seats) == alive
    await asyncio.gather(*executor._watchers)
    assert all(seat.alive for seat in seats)
    with pytest.raises(KeyError):
        await executor._opened([executors._Seat(Lost(0, KeyError())), executors._Seat(Lost(1, KeyError("wrong")))])
