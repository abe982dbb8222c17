"""A run that another version of the program began: refused by name and untouched, or redone; never mixed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline import cli, plan
from pipeline.engine import ROOT
from stages.candidates.generate import Generate

if TYPE_CHECKING:
    from tests.conftest import Site


def half_done(site: Site) -> str:
    """A run of which a shard of each of the last two jobs is left to do; the config's path."""
    config = site.config(n=12)
    site.run(config)
    for job in ("rate", "pair_responses"):
        (site.folder / f"runs/t/{job}/00001.parquet").unlink()
    return site.save(config)


def test_a_newer_stage_is_refused_and_nothing_is_touched(
    site: Site, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = half_done(site)
    before = site.files(kind="*")
    monkeypatch.setattr(Generate, "version", Generate.version + 1)
    assert cli.main(["run", path]) == 2
    told = capsys.readouterr().err
    assert f"job generate, version: {Generate.version - 1} -> {Generate.version}; give the config a new name" in told
    assert told.count("\n") == 1
    changed = {name for name, content in site.files(kind="*").items() if before.get(name) != content}
    assert changed <= {"lock"}  # who looked last


def test_a_newer_stage_redoes_what_follows_from_it_when_it_is_told_to(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = half_done(site)
    prompts = os.stat(site.folder / "runs/t/prompts/00000.parquet")
    monkeypatch.setattr(Generate, "version", Generate.version + 1)
    assert cli.main(["run", path, "--rebuild", "generate"]) == 0
    assert os.stat(site.folder / "runs/t/prompts/00000.parquet").st_ino == prompts.st_ino
    found = site.files()
    fresh = site.calm(site.config(n=12))
    assert found == fresh
    recipe = json.loads((site.folder / "runs/t/generate/job.json").read_text())["recipe"]
    assert recipe["version"] == Generate.version


def test_another_form_of_recipes_is_refused(
    site: Site, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = half_done(site)
    monkeypatch.setattr(plan, "FORMAT", plan.FORMAT + 1)
    assert cli.main(["run", path]) == 2
    assert f"job prompts, format: {plan.FORMAT - 1} -> {plan.FORMAT};" in capsys.readouterr().err


@pytest.mark.parametrize("change", ["added", "dropped"])
def test_shards_in_other_columns_are_refused(site: Site, capsys: pytest.CaptureFixture[str], change: str) -> None:
    path = half_done(site)
    shard = site.folder / "runs/t/rate/00000.parquet"
    table = pq.read_table(shard, partitioning=None)
    other = table.append_column("mood", pa.nulls(len(table))) if change == "added" else table.drop_columns(["value"])
    pq.write_table(other.replace_schema_metadata(table.schema.metadata), shard)
    assert cli.main(["run", path]) == 2
    told = capsys.readouterr().err
    assert f"rate has columns of another version of prefsynth ({'mood' if change == 'added' else 'value'})" in told
    assert cli.main(["run", path, "--rebuild", "rate"]) == 0
    assert site.files() == site.calm(site.config(n=12))


def test_a_program_that_really_is_newer_refuses_a_killed_run(site: Site, tmp_path: Path) -> None:
    """Another process, with the newer code in it, meets what this one left."""
    path = half_done(site)
    code = (
        "import sys; from stages.judges.rate import Rate; Rate.version += 1;"
        "from pipeline import cli; sys.exit(cli.main(sys.argv[1:]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "run", path], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "job rate, version:" in done.stderr
