"""Clocks that jump, forwards and back, under a run: nothing waits for them and nothing is decided by them."""

from __future__ import annotations

import itertools
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from benchmarks import killing
from pipeline import lock
from pipeline.store import Store

if TYPE_CHECKING:
    from tests.conftest import Site

# Debian's package libfaketime; LIBFAKETIME names it elsewhere
FAKETIME = os.environ.get("LIBFAKETIME") or next(map(str, Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1")), None)
JUMPS = ("-1d", "+365d", "-20y", "+0", "+3600s", "-7200s")


def test_a_clock_that_jumps_at_each_answer_changes_nothing(site: Site) -> None:
    config = site.config(n=24, watchdog_s=60)
    config["engines"]["policy"]["function"] = "faults:with_the_clock_put_wrong"
    (site.folder / "right").touch()
    whole = site.calm(config)
    (site.folder / "right").unlink()
    code, _, err = site.command("run", site.save(config))
    assert code == 0, err
    assert len(list(site.folder.glob("jump-*"))) > 10
    assert site.files() == whole


@pytest.mark.skipif(FAKETIME is None, reason="no libfaketime (apt install libfaketime, or set LIBFAKETIME)")
def test_the_clock_of_the_whole_process_may_jump(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also under the C++ of Arrow and in file times that are made of it; monotonic clocks go on, as the kernel's do."""
    config = site.config(n=40)
    config["engines"]["policy"]["function"] = "faults:slow"
    whole = site.calm(config)
    stamp = site.folder / "stamp"
    stamp.write_text("+0\n")
    for name, value in {
        "LD_PRELOAD": str(FAKETIME), "FAKETIME_TIMESTAMP_FILE": str(stamp), "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    with site.start("run", site.save(config)) as process:
        for jump in itertools.cycle(JUMPS):
            stamp.write_text(f"{jump}\n")
            if not killing.wait_for(lambda: False, process, 0.05) and process.poll() is not None:
                break
        _, err = process.communicate()
    assert process.returncode == 0, err
    assert site.files() == whole


def test_a_claim_goes_by_the_stores_clock_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / lock.LOCK).mkdir()
    store = Store(str(tmp_path))
    store.is_local = False
    claim = lock.Claim(store)
    assert claim.renew() is None
    for wrong in (-1e8, 1e8):
        monkeypatch.setattr(time, "time", lambda wrong=wrong: 1.7e9 + wrong)
        assert claim.renew() is None
        assert lock.Claim(store).renew() is not None  # the first one lives, whatever this machine's clock says
        (tmp_path / lock.LOCK / min(set(store.names(lock.LOCK)) - {claim._name})).unlink()
