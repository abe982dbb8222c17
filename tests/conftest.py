"""Shared by all tests: a small run of scripted engines, in this process or as the command that users type."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.fs as pafs
import pytest
import yaml
from hypothesis import HealthCheck, settings

from benchmarks import killing
from pipeline.run import Driver, execute
from pipeline.store import Store

ROOT = Path(__file__).resolve().parents[1]
FUNCTIONS = ROOT / "tests" / "pipeline"  # where faults.py lies, whose functions configs name

# How fast the machine is says nothing about the code.
settings.register_profile("prefsynth", deadline=None, max_examples=50, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("prefsynth")


@dataclass
class Site:
    """A folder with an input, configs and runs."""

    folder: Path

    def prompts(self, n: int, *more: str) -> Path:
        """An input of n sums; `more` are raw lines after them."""
        rows = [json.dumps({"prompt": f"What is {i} + 1?", "answer": str(i + 1)}) for i in range(n)]
        path = self.folder / "prompts.jsonl"
        path.write_text("".join(f"{line}\n" for line in (*rows, *more)), encoding="utf-8")
        return path

    def config(self, n: int = 24, **changes: Any) -> dict[str, Any]:
        """prompts → generate (2 each) → rate → pair_responses, four prompts to a shard, run in this process."""
        path = self.folder / "prompts.jsonl"
        return {
            "name": "t",
            "seed": 1,
            "shard_size": 4,
            "executor": "local",
            "runs_dir": str(self.folder / "runs"),
            "engines": {
                "policy": {"kind": "scripted", "function": "benchmarks.canned:policy"},
                "judge": {"kind": "scripted", "function": "benchmarks.canned:judge"},
            },
            "jobs": [
                {"stage": "prompts", "path": str(path if path.exists() else self.prompts(n)), "columns": COLUMNS},
                {"stage": "generate", "engine": "policy", "sampling": {"n": 2}},
                {"stage": "rate", "engine": "judge", "aspects": ["correctness"]},
                {"stage": "pair_responses", "min_margin": 0.05},
            ],
            **changes,
        }

    def run(self, config: dict[str, Any], rebuild: str | None = None) -> Driver:
        """Runs it here, in silence."""
        return execute(config, rebuild, plain=True, quiet=True)

    def save(self, config: dict[str, Any], name: str = "config.yaml") -> str:
        """Writes a config; returns its path."""
        path = self.folder / name
        path.write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
        return str(path)

    def calm(self, config: dict[str, Any]) -> dict[str, bytes]:
        """Shards of the same run in this process and elsewhere, where nothing disturbs it."""
        self.run({**config, "runs_dir": str(self.folder / "calm"), "executor": "local"})
        for told in self.folder.glob("*-[0-9]*"):  # what the functions of faults.py leave
            told.unlink()
        return killing.shards(self.folder / "calm" / config["name"])

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Starts `prefsynth ARGUMENTS` in a session of its own."""
        return killing.start(self.folder, *arguments, paths=[FUNCTIONS])

    def command(self, *arguments: str) -> tuple[int, str, str]:
        """Exit code, stdout and stderr of `prefsynth ARGUMENTS`."""
        with self.start(*arguments) as process:
            out, err = process.communicate(timeout=280)
        return process.returncode, out, err

    def files(self, run: str = "t", kind: str = "*.parquet") -> dict[str, bytes]:
        """Path below the run -> content."""
        folder = self.folder / "runs" / run
        return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob(kind)) if p.is_file()}

    def leftovers(self) -> list[str]:
        """What killed writers left."""
        return killing.leftovers(self.folder)


COLUMNS = {"prompt": "prompt", "reference": "answer"}


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    """An empty site; functions of tests/pipeline/faults.py can be named in its configs."""
    monkeypatch.syspath_prepend(str(FUNCTIONS))
    monkeypatch.setenv("FAULTS", str(tmp_path))
    monkeypatch.chdir(ROOT)
    return Site(tmp_path)


def engines(policy: str = "faults:slow", replicas: int = 1, **resources: Any) -> dict[str, Any]:
    return {
        "policy": {
            "kind": "scripted", "function": policy,
            "resources": {"slots": 2, "cpus": 0.5, "replicas": replicas, **resources},
        },
        "judge": {"kind": "scripted", "function": "faults:slow_judge", "resources": {"cpus": 0.5}},
    }  # fmt: skip


@pytest.fixture
def ray_config(site: Site, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The usual run on Ray, with two replicas of a policy that is in no hurry."""
    pytest.importorskip("ray")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    return site.config(n=24, executor="ray", engines=engines("faults:here", replicas=2))


@pytest.fixture(scope="session")
def s3_endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of an S3 server on loopback."""
    if (moto := shutil.which("moto_server")) is None:
        pytest.skip("no S3 server: moto_server is not on the PATH (pip install 'moto[server]')")
    log = tmp_path_factory.mktemp("moto") / "log"
    with log.open("wb") as out:
        command = [moto, "-H", "127.0.0.1", "-p", "0"]
        server = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, start_new_session=True)
    try:
        while "Running on http" not in (said := log.read_text()):
            assert server.poll() is None, said
            time.sleep(0.05)
        yield next(word for word in said.split() if word.startswith("http://127.0.0.1"))
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


@pytest.fixture
def s3_bucket(s3_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The environment names the server, which has one bucket, `bucket`, with nothing in it. Returns the address."""
    for name, value in {
        "AWS_ENDPOINT_URL": s3_endpoint, "AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "key",
        "AWS_REGION": "us-east-1", "AWS_EC2_METADATA_DISABLED": "true",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    fs = pafs.S3FileSystem(endpoint_override=s3_endpoint, allow_bucket_creation=True, allow_bucket_deletion=True)
    if fs.get_file_info("bucket").type != pafs.FileType.NotFound:
        fs.delete_dir("bucket")
    fs.create_dir("bucket")
    return s3_endpoint


def objects(root: str) -> dict[str, bytes]:
    """Shard -> content, as it lies in a bucket."""
    store = Store(root)
    made = {}
    for info in store.fs.get_file_info(pafs.FileSelector(store.base, recursive=True)):
        if info.extension == "parquet":
            with store.fs.open_input_stream(info.path) as stream:
                made[info.path.removeprefix(f"{store.base}/")] = bytes(stream.read())
    return made
