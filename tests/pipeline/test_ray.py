"""The same runs on a Ray cluster: same bytes, and what goes wrong is a line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from benchmarks import killing
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
