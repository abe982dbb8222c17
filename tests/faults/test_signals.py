"""SIGTERM as schedulers send it, drivers that come twice, and what the command's exit code says."""

from __future__ import annotations

import re
import signal
import subprocess
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from benchmarks import killing
from pipeline import cli, errors
from pipeline.engine import ROOT

if TYPE_CHECKING:
    from tests.conftest import Site

SLOW = {"policy": {"kind": "scripted", "function": "faults:slow", "resources": {"slots": 2}},
        "judge": {"kind": "scripted", "function": "faults:slow_judge"}}  # fmt: skip
HELD = SLOW | {"policy": {"kind": "scripted", "function": "faults:held"}}


def to_one(process: subprocess.Popen[str]) -> None:
    """As Kubernetes does: the container's first process."""
    process.terminate()


def to_all(process: subprocess.Popen[str]) -> None:
    """As Slurm does: every process of the job."""
    driver = psutil.Process(process.pid)
    killing.send(signal.SIGTERM, [driver, *driver.children(recursive=True)])


@pytest.mark.parametrize("send", [to_one, to_all])
def test_sigterm_drains_commits_and_the_same_command_goes_on(
    site: Site, send: Callable[[subprocess.Popen[str]], None]
) -> None:
    config = site.config(n=60, engines=SLOW)
    # checks in processes of their own, which get the signal too
    config["jobs"].insert(2, {"stage": "verify", "method": "regex", "pattern": r"Answer: (\d+)"})
    whole = site.calm(config)
    path = site.save(config)
    processes = killing.Processes(site.folder)
    with site.start("run", path) as process:
        assert killing.wait_for(lambda: (site.folder / "runs/t/rate/00001.parquet").exists(), process, 60)
        processes.living()
        send(process)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 5, err
    assert re.search(r"stopping: \d+ shards under way have 7 s to finish", err)
    assert re.fullmatch(r"prefsynth: stopped; \d+ shards are left, run the same .* to go on", err.splitlines()[-1])
    assert processes.gone() == []
    drained = site.files()
    assert {name: whole[name] for name in drained} == drained
    assert len(drained) < len(whole)
    assert site.leftovers() == []
    code, _, err = site.command("run", path)
    assert code == 0, err
    assert site.files() == whole


def test_of_two_drivers_the_second_is_refused_in_a_line_and_the_first_is_not_disturbed(site: Site) -> None:
    config = site.config(n=24, engines=HELD)
    (site.folder / "go").touch()
    whole = site.calm(config)
    (site.folder / "go").unlink()
    path = site.save(config)
    with site.start("run", path) as first:
        assert killing.wait_for(lambda: list(site.folder.glob("pid-*")), first, 60)
        told = f"prefsynth: another process (pid {first.pid}) works on {site.folder}/runs/t; wait or stop it\n"
        assert site.command("run", path) == (2, "", told)
        assert site.command("run", path, "--rebuild", "rate") == (2, "", told)
        (site.folder / "go").touch()
        _, err = first.communicate(timeout=120)
    assert first.returncode == 0, err
    assert site.files() == whole


def test_many_drivers_at_once_make_one_run(site: Site) -> None:
    config = site.config(n=24, engines=SLOW)
    whole = site.calm(config)
    path = site.save(config)
    codes: list[int] = []
    threads = [threading.Thread(target=lambda: codes.append(site.command("run", path)[0])) for _ in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert 0 in codes
    assert set(codes) <= {0, 2}
    assert site.files() == whole


def done(site: Site, config: dict[str, Any]) -> list[str]:
    return ["run", site.save(config)]


def bad_plan(site: Site, config: dict[str, Any]) -> list[str]:
    return ["run", site.save({**config, "shard_sise": 4})]


def too_many_rejects(site: Site, config: dict[str, Any]) -> list[str]:
    config["engines"]["policy"]["function"] = "faults:rejects_odd"
    return ["run", site.save({**config, "max_reject_rate": 0.1})]


def audit_thresholds(site: Site, config: dict[str, Any]) -> list[str]:
    site.run(config)
    return ["audit", str(site.folder / "runs/t"), "--fail-on", "parse_rate<1.1"]


def interrupted(site: Site, config: dict[str, Any]) -> list[str]:
    config["engines"]["policy"]["function"] = "faults:interrupts"
    return ["run", site.save(config)]


CODES = {0: done, 2: bad_plan, 3: too_many_rejects, 4: audit_thresholds, 5: interrupted}


@pytest.mark.parametrize("code", CODES)
def test_exit_codes_are_what_they_are_documented_to_be(site: Site, code: int) -> None:
    assert cli.main(CODES[code](site, site.config(n=8))) == code


def test_every_exit_code_is_documented() -> None:
    text = (ROOT / "docs/operations.md").read_text(encoding="utf-8")
    documented = {int(number) for number in re.findall(r"^\| `?(\d)`? \|", text, re.MULTILINE)}
    kinds = [e for e in vars(errors).values() if isinstance(e, type) and issubclass(e, errors.PrefsynthError)]
    raised = {kind.exit_code for kind in kinds} - {1}  # 1: a fault of ours
    assert documented - {1} == {*CODES} == {0, *raised}
