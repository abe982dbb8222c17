"""A disk that is really full: a small file system, mounted for the test."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pipeline import cli
from pipeline.store import Store

if TYPE_CHECKING:
    from tests.conftest import Site

SIZE = 1 << 20


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MiB."""
    if os.geteuid():
        pytest.skip("only root may mount a file system")
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(folder)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("there is no mount command")
    if done.returncode:
        pytest.skip(f"mounting is not allowed here: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.parametrize("free_kib", [0, 4, 200])
def test_a_full_disk_stops_the_run_with_one_line_and_freed_space_lets_it_go_on(
    site: Site, disk: Path, capsys: pytest.CaptureFixture[str], free_kib: int
) -> None:
    config = site.config(n=24)
    site.run(config)
    calm = site.files()
    ballast = disk / "ballast"
    ballast.write_bytes(bytes(SIZE - (free_kib << 10)))
    runs = disk / "runs"
    path = site.save({**config, "runs_dir": str(runs)})
    for _ in range(2):  # also when it is tried again
        assert cli.main(["run", path]) == 3
        *_, last = capsys.readouterr().err.splitlines()
        assert last.startswith("prefsynth: ")
        assert "disk full while writing" in last or "No space left on device" in last
    assert list(disk.rglob("*.tmp-*")) == []
    finished = {str(p.relative_to(runs / "t")): p.read_bytes() for p in runs.rglob("*.parquet")}
    assert {name: calm[name] for name in finished} == finished
    assert len(finished) < len(calm)
    assert bool(finished) == (free_kib == 200)
    ballast.unlink()
    assert cli.main(["run", path]) == 0
    assert {str(p.relative_to(runs / "t")): p.read_bytes() for p in runs.rglob("*.parquet")} == calm
    assert Store(str(runs / "t")).done("pair_responses") == set(range(6))
