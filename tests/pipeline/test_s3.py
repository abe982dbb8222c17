"""A whole run in an object store, over the real protocol: a moto server on loopback, where one is installed."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

from pipeline import cli, lock
from pipeline.errors import PlanError
from pipeline.store import Store
from tests.conftest import objects

if TYPE_CHECKING:
    from tests.conftest import Site

ROOT = "s3://bucket/runs/t"
pytestmark = pytest.mark.slow  # the server takes seconds to start


@pytest.fixture
def remote(site: Site, s3_bucket: str) -> dict[str, Any]:
    """A config whose runs lie in an empty bucket."""
    return site.config(n=6, runs_dir="s3://bucket/runs")


def calm(site: Site, config: dict[str, Any], rebuild: str | None = None) -> dict[str, bytes]:
    """The same run on a disk."""
    site.run({**config, "runs_dir": str(site.folder / "runs")}, rebuild)
    return site.files()


def test_a_run_in_a_bucket_holds_the_same_bytes_as_on_a_disk_and_goes_on_where_it_was_left(
    site: Site, remote: dict[str, Any]
) -> None:
    whole = calm(site, remote)
    site.run({**remote, "jobs": remote["jobs"][:2]})
    assert {name.split("/")[0] for name in objects(ROOT)} == {"prompts", "generate"}
    site.run(remote)
    assert objects(ROOT) == whole
    store = Store(ROOT)
    store.fs.delete_file(store.path("rate", "00001.parquet"))
    assert site.run(remote).totals["rate"].shards == 2
    assert objects(ROOT) == whole
    remote["jobs"][1]["sampling"]["n"] = 3
    with pytest.raises(PlanError, match=r"bucket/runs/t was made with another recipe: job generate"):
        site.run(remote)
    site.run(remote, rebuild="generate")
    assert objects(ROOT) == calm(site, remote, rebuild="generate")


def test_the_commands_that_look_read_a_bucket(
    site: Site, remote: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    totals = site.run(remote).totals
    assert cli.main(["status", ROOT]) == 0
    told = capsys.readouterr().out
    assert told.count("2/2 shards  done") == len(totals)
    assert told.endswith("nobody works on it\n")
    with lock.lock(Store(ROOT)):
        cli.main(["status", ROOT])
    assert capsys.readouterr().out.endswith("a driver works on it\n")
    assert cli.main(["report", ROOT, "--json"]) == 0
    assert '"requests": 12' in capsys.readouterr().out
    assert cli.main(["report", ROOT]) == 0
    assert capsys.readouterr().out.endswith(f"look at {ROOT}/report.html\n")
    assert "<h2>Pairs to read</h2>" in (Store(ROOT).read_text("report.html") or "")
    assert cli.main(["export", ROOT, "--format", "trl-dpo", "--to", str(site.folder)]) == 2
    assert "is not in the store of bucket/runs/t" in capsys.readouterr().err
    assert cli.main(["export", ROOT, "--format", "trl-dpo", "--to", "s3://bucket/out"]) == 0
    assert "manifest.json" in Store("s3://bucket/out").names()


def test_a_killed_driver_leaves_a_claim_that_ends_and_a_run_that_goes_on(
    site: Site, remote: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    remote["engines"]["policy"] |= {"function": "faults:held", "resources": {"slots": 1}}
    go = site.folder / "go"
    go.touch()
    whole = calm(site, remote)
    for old in (go, *site.folder.glob("pid-*")):
        old.unlink()
    path = site.save(remote)
    with site.start("run", path) as process:
        while not list(site.folder.glob("pid-*")):
            assert process.poll() is None, process.communicate()[1]
            time.sleep(0.01)
        assert cli.main(["run", path]) == 2, "while it lives"
        process.kill()
    assert capsys.readouterr().err.count("works on bucket/runs/t") == 1
    monkeypatch.setattr(lock, "STALE_S", 5.0)
    go.touch()
    began = time.monotonic()
    assert cli.main(["run", path]) == 0, "once it has been silent for long enough"
    assert time.monotonic() - began > lock.LOOK_S
    assert objects(ROOT) == whole


def test_a_bucket_that_is_not_there_is_one_line(
    site: Site, remote: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["run", site.save({**remote, "runs_dir": "s3://nowhere/runs"})]) == 3
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert "nowhere" in told
