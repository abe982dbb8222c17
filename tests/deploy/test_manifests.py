"""What deploy/ holds is accepted by what reads it, and calls a command that exists."""

from __future__ import annotations

import copy
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from pipeline import cli, errors

if TYPE_CHECKING:
    from tests.conftest import Site

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
DEPLOY = ROOT / "deploy"
MANIFESTS = sorted(DEPLOY.glob("*.yaml"))
DEFS = {
    name: schema
    for file in ("kubernetes.json", "kuberay.json")
    for name, schema in json.loads((HERE / file).read_text(encoding="utf-8"))["$defs"].items()
}
OF_KIND = {
    "RayJob": "RayJob",
    "CronJob": "io.k8s.api.batch.v1.CronJob",
    "ServiceAccount": "io.k8s.api.core.v1.ServiceAccount",
    "Role": "io.k8s.api.rbac.v1.Role",
    "RoleBinding": "io.k8s.api.rbac.v1.RoleBinding",
}


def documents() -> list[dict[str, Any]]:
    return [each for file in MANIFESTS for each in yaml.safe_load_all(file.read_text(encoding="utf-8"))]


def complaints(document: dict[str, Any]) -> list[str]:
    """What the schema of the document's kind has against it."""
    jsonschema = pytest.importorskip("jsonschema")
    validator = jsonschema.Draft202012Validator({"$ref": f"#/$defs/{OF_KIND[document['kind']]}", "$defs": DEFS})
    return [f"{'.'.join(map(str, e.absolute_path))}: {e.message}" for e in validator.iter_errors(document)]


def mappings(value: Any) -> Iterator[dict[str, Any]]:
    """All mappings inside that have fields of their own, and not keys that the user chooses."""
    if isinstance(value, dict):
        yield value
        for key, inner in value.items():
            if key not in ("annotations", "rayStartParams", "requests", "limits"):
                yield from mappings(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from mappings(inner)


@pytest.mark.parametrize("document", documents(), ids=lambda d: f"{d['kind']}-{d['metadata']['name']}")
def test_a_manifest_fits_its_schema_and_a_misspelt_field_anywhere_in_it_does_not(document: dict[str, Any]) -> None:
    assert complaints(document) == []
    for i in range(len(list(mappings(document)))):
        wrong = copy.deepcopy(document)
        list(mappings(wrong))[i]["naem"] = "x"
        assert any("naem" in told for told in complaints(wrong)), list(mappings(document))[i]


def script(name: str) -> str:
    return (DEPLOY / name).read_text(encoding="utf-8")


def cron_command() -> str:
    """What cron would hand to sh."""
    (line,) = [text for text in script("prefsynth.cron").splitlines() if text[:1].isdigit()]
    *times, command = line.split(maxsplit=5)
    assert all(re.fullmatch(r"[\d*,/-]+", field) for field in times)
    assert not re.search(r"(?<!\\)%", command), "an unescaped % ends a cron command"
    return command.replace("\\%", "%")


def calls() -> dict[str, list[str]]:
    """File -> the arguments of its `prefsynth` call, with the shell's variables as they stand."""
    job, cron = (yaml.safe_load(script(name)) for name in ("rayjob.yaml", "cronjob.yaml"))
    (container,) = cron["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    (slurm,) = re.findall(r"^prefsynth .*(?= &$)", script("prefsynth.sbatch"), re.MULTILINE)
    (line,) = re.findall(r"prefsynth run .*(?= >>)", cron_command())
    return {
        "rayjob.yaml": shlex.split(job["spec"]["entrypoint"]),
        "cronjob.yaml": [*container["command"], *container["args"]],
        "prefsynth.sbatch": shlex.split(slurm),
        "prefsynth.cron": shlex.split(line),
    }


@pytest.mark.parametrize("name", ["rayjob.yaml", "cronjob.yaml", "prefsynth.sbatch", "prefsynth.cron"])
def test_the_command_line_takes_the_call(name: str) -> None:
    command, *arguments = calls()[name]
    assert command == "prefsynth"
    parsed = vars(cli._parser().parse_args(arguments))
    assert parsed["command"] is cli._run
    assert parsed["plain"]


def test_the_retry_rules_and_the_page_know_the_codes_that_exist() -> None:
    raised = {
        c.exit_code for c in vars(errors).values() if isinstance(c, type) and issubclass(c, errors.PrefsynthError)
    }
    page = (ROOT / "docs/operations.md").read_text(encoding="utf-8")
    told = {int(code) for code in re.findall(r"^\| `(\d)` \|", page, re.MULTILINE)}
    assert told == raised | {0}
    rules = yaml.safe_load(script("cronjob.yaml"))["spec"]["jobTemplate"]["spec"]["podFailurePolicy"]["rules"]
    by_action = {rule["action"]: set(rule["onExitCodes"]["values"]) for rule in rules if "onExitCodes" in rule}
    assert by_action == {
        "FailJob": {errors.PlanError.exit_code, errors.AuditFailed.exit_code},
        "Ignore": {errors.Interrupted.exit_code},
    }
    assert f"code == {errors.Interrupted.exit_code}" in script("prefsynth.sbatch")


def test_the_slurm_script_is_sound_bash() -> None:
    subprocess.run(["bash", "-n", str(DEPLOY / "prefsynth.sbatch")], check=True)
    if shellcheck := shutil.which("shellcheck"):
        subprocess.run([shellcheck, str(DEPLOY / "prefsynth.sbatch")], check=True)
    assert "#SBATCH --signal=B:TERM@120" in script("prefsynth.sbatch")


@pytest.fixture
def office(site: Site, monkeypatch: pytest.MonkeyPatch) -> Site:
    """A folder as the scripts want it: `.venv/bin/prefsynth` runs this checkout; `scontrol` notes what it was asked."""
    for name, text in {
        ".venv/bin/prefsynth": f'exec "{sys.executable}" -m pipeline.cli "$@"',
        "bin/scontrol": f'echo "$*" >> "{site.folder}/scontrol.txt"',
    }.items():
        file = site.folder / name
        file.parent.mkdir(parents=True)
        file.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
        file.chmod(0o755)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join((str(ROOT), str(ROOT / "tests/pipeline"))))
    monkeypatch.setenv("PATH", f"{site.folder / 'bin'}{os.pathsep}{os.environ['PATH']}")
    return site


def test_the_slurm_script_queues_again_when_its_time_is_up_and_ends_when_the_run_is_done(
    office: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = {"kind": "scripted", "function": "faults:here"}
    config = office.config(n=160, engines={"policy": policy, "judge": policy | {"function": "benchmarks.canned:judge"}})
    monkeypatch.setenv("SLURM_JOB_ID", "17")
    monkeypatch.setenv("SLURM_SUBMIT_DIR", str(office.folder))
    command = ["bash", str(DEPLOY / "prefsynth.sbatch"), office.save(config), str(office.folder / "runs")]
    with subprocess.Popen(command, start_new_session=True) as job:
        while not list(office.folder.glob("pid-*")):
            assert job.poll() is None
            time.sleep(0.02)
        job.send_signal(signal.SIGTERM)  # the batch shell alone, as --signal=B: does
        assert job.wait(60) == 5
    asked = office.folder / "scontrol.txt"
    assert asked.read_text(encoding="utf-8") == "requeue 17\n"
    assert subprocess.run(command, timeout=120, check=False).returncode == 0
    assert asked.read_text(encoding="utf-8") == "requeue 17\n"
    made = office.files()
    shutil.rmtree(office.folder / "runs/t")
    office.run(config)
    assert office.files() == made


def test_the_cron_line_makes_a_run_of_the_day_and_is_over_at_once_the_next_time(office: Site) -> None:
    config = office.save(office.config(n=8))
    line = cron_command().replace("/srv/prefsynth", str(office.folder)).replace("configs/quickstart.yaml", config)
    for _ in range(2):
        assert (
            subprocess.run(["sh", "-c", line], timeout=60, check=False, env={**os.environ, "TZ": "UTC"}).returncode == 0
        )
    (day,) = [path.name for path in (office.folder / "runs").iterdir() if path.is_dir()]
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", day)
    starts = (office.folder / "runs" / day / "t/log.jsonl").read_text(encoding="utf-8")
    assert [starts.count(f'"event": "{what}"') for what in ("start", "shard", "end")] == [2, 8, 2]
