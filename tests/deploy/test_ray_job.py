"""`ray job submit` of the entrypoint that deploy/rayjob.yaml names, on a cluster of this machine; its metrics port."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from pipeline.metrics import METRICS

if TYPE_CHECKING:
    from tests.conftest import Site

ROOT = Path(__file__).resolve().parents[2]
RAY = (sys.executable, "-m", "ray.scripts.scripts")
pytestmark = pytest.mark.slow


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass
class Head:
    """A cluster of one node with a job server and a metrics port."""

    dashboard: str
    metrics: str

    def submit(self, name: str, entrypoint: str, *options: str) -> subprocess.CompletedProcess[str]:
        command = [*RAY, "job", "submit", "--address", self.dashboard, "--submission-id", name, *options, "--"]
        return subprocess.run(
            [*command, *entrypoint.split()], text=True, capture_output=True, timeout=200, check=False
        )  # fmt: skip

    def job(self, name: str) -> dict[str, Any]:
        """What the job server knows of a job; of all jobs with an empty name."""
        headers = {"Authorization": f"Bearer {os.environ['RAY_AUTH_TOKEN']}"}
        request = urllib.request.Request(f"{self.dashboard}/api/jobs/{name}", headers=headers)
        with urllib.request.urlopen(request, timeout=30) as answer:
            return dict(json.load(answer)) if name else {}

    def ended(self, name: str) -> dict[str, Any]:
        deadline = time.monotonic() + 120
        while (told := self.job(name))["status"] in ("PENDING", "RUNNING"):
            assert time.monotonic() < deadline, told
            time.sleep(0.5)
        return told


@pytest.fixture
def head(site: Site, monkeypatch: pytest.MonkeyPatch) -> Iterator[Head]:
    """As the head pod of deploy/rayjob.yaml starts it, on loopback and with ports of its own."""
    for module in ("ray", "aiohttp_cors", "opencensus"):
        pytest.importorskip(module, reason="no job server: pip install 'ray[default]'")
    with tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True) as folder:  # short: it holds sockets
        spec = yaml.safe_load((ROOT / "deploy/rayjob.yaml").read_text(encoding="utf-8"))["spec"]["rayClusterSpec"]
        (container,) = spec["headGroupSpec"]["template"]["spec"]["containers"]
        for name, value in {
            **{each["name"]: each["value"] for each in container["env"]},
            "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0" * 64, "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_metrics_report_interval_ms": "1000",
            "PYTHONPATH": os.pathsep.join((str(ROOT), str(ROOT / "tests/pipeline"))),
        }.items():  # fmt: skip
            monkeypatch.setenv(name, value)
        monkeypatch.delenv("RAY_ADDRESS", raising=False)
        ports = {
            name: free_port()
            for name in ("port", "dashboard-port", "metrics-export-port", "dashboard-agent-listen-port")
        }
        options = [f"--{name}={port}" for name, port in ports.items()]
        process = subprocess.Popen(
            [*RAY, "start", "--head", "--block", "--num-cpus=2", "--node-ip-address=127.0.0.1",
             f"--temp-dir={folder}", *options],
            start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            made = Head(
                f"http://127.0.0.1:{ports['dashboard-port']}", f"http://127.0.0.1:{ports['metrics-export-port']}"
            )
            wait_for_job_server(made, process)
            yield made
        finally:
            process.send_signal(signal.SIGTERM)  # `--block` stops what it started; `ray stop` would stop every Ray here
            try:
                process.wait(30)
            finally:
                kill_group(process)


def wait_for_job_server(head: Head, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 90
    while True:
        try:
            head.job("")
        except OSError:
            assert process.poll() is None
            assert time.monotonic() < deadline, "no job server"
            time.sleep(0.5)
        else:
            return


def kill_group(process: subprocess.Popen[bytes]) -> None:
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def entrypoint(config: str, runs: Path) -> str:
    """The manifest's, with this checkout and these places."""
    text: str = yaml.safe_load((ROOT / "deploy/rayjob.yaml").read_text(encoding="utf-8"))["spec"]["entrypoint"]
    replaced = text.replace("/data/run.yaml", config).replace("s3://bucket/runs/first", str(runs))
    return replaced.replace("prefsynth", f"{sys.executable} -m pipeline.cli", 1)


def test_a_submitted_run_ends_with_its_code_and_one_that_was_stopped_goes_on(site: Site, head: Head) -> None:
    policy = {"kind": "scripted", "function": "faults:held", "resources": {"cpus": 0.5}}
    judge = {"kind": "scripted", "function": "benchmarks.canned:judge", "resources": {"cpus": 0.5}}
    config = site.config(n=24, executor="ray", engines={"policy": policy, "judge": judge})
    call = entrypoint(site.save(config), site.folder / "runs")

    assert head.submit("night", call, "--no-wait").returncode == 0
    while not list(site.folder.glob("pid-*")):
        assert head.job("night")["status"] in ("PENDING", "RUNNING")
        time.sleep(0.1)
    subprocess.run([*RAY, "job", "stop", "--address", head.dashboard, "night"], check=True, capture_output=True)
    assert head.ended("night")["status"] == "STOPPED"  # Ray forgets the code of what it stopped
    last = (site.folder / "runs/t/log.jsonl").read_text(encoding="utf-8").splitlines()[-1]
    assert "run the same command again" in json.loads(last)["error"], "the driver had the time to end by itself"
    stopped = site.files()
    (site.folder / "go").touch()

    again = head.submit("night-2", call)
    assert again.returncode == 0, again.stdout
    assert head.job("night-2")["driver_exit_code"] == 0
    made = site.files()
    assert len(stopped) < len(made)
    site.run({**config, "executor": "local", "runs_dir": str(site.folder / "calm")})
    calm = site.folder / "calm/t"
    assert made == {str(p.relative_to(calm)): p.read_bytes() for p in calm.rglob("*.parquet")}

    assert head.submit("night-2", call).returncode != 0, "an id is taken once"
    wrong = head.submit("wrong", entrypoint(site.save(config | {"seeds": 1}, "wrong.yaml"), site.folder / "runs"))
    assert wrong.returncode == 1
    assert head.job("wrong")["driver_exit_code"] == 2
    assert "unknown key 'seeds'" in head.job("wrong")["message"]


def test_ray_exports_the_metrics_of_a_run_under_their_names(site: Site, head: Head) -> None:
    parser = pytest.importorskip("prometheus_client.parser")
    policy = {"kind": "scripted", "function": "faults:held", "resources": {"cpus": 0.5}}
    judge = {"kind": "scripted", "function": "benchmarks.canned:judge", "resources": {"cpus": 0.5}}
    config = site.config(n=24, executor="ray", engines={"policy": policy, "judge": judge})
    assert head.submit("night", entrypoint(site.save(config), site.folder / "runs"), "--no-wait").returncode == 0
    deadline = time.monotonic() + 120
    told: dict[tuple[str, str], float] = {}
    while not told.get(("ray_prefsynth_engine_running", "policy")):
        assert time.monotonic() < deadline, sorted(told)
        assert head.job("night")["status"] in ("PENDING", "RUNNING")
        time.sleep(1)
        with urllib.request.urlopen(f"{head.metrics}/metrics", timeout=30) as answer:
            families = list(parser.text_string_to_metric_families(answer.read().decode()))
        ours = [s for family in families for s in family.samples if "prefsynth" in s.name]
        told = {(s.name, s.labels.get("prefsynth_job") or s.labels["engine"]): s.value for s in ours}
    (site.folder / "go").touch()
    names = {name.removeprefix("ray_") for name, _ in told}
    assert names <= set(METRICS)
    assert {"prefsynth_shards_total", "prefsynth_rows_out_total", "prefsynth_shards_left"} <= names
    assert told["ray_prefsynth_shards_left", "generate"] == 6
    assert told["ray_prefsynth_shards_total", "prompts"] == 6
    assert head.ended("night")["status"] == "SUCCEEDED"
