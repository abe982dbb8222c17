"""Everything in one process: what it takes for the accelerators that its engines may use."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pipeline.executors.local import LocalExecutor
from pipeline.live import LiveEngine
from pipeline.plan import make_plan
from pipeline.stage import SourceIndex
from pipeline.store import Store

if TYPE_CHECKING:
    from tests.conftest import Site


@pytest.mark.parametrize(("gpus", "found"), [((0, 0), 0), ((1, 1), 1), ((0.5, 0.25), 0.5), ((1, 2), 2), ((1, 8), 4)])
def test_engines_of_one_process_share_its_first_devices(
    site: Site, monkeypatch: pytest.MonkeyPatch, gpus: tuple[float, float], found: float
) -> None:
    """Each begins at the first, so that two which fill a device cannot live side by side, however many there are."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2,3")
    config = site.config()
    for alias, n in zip(("policy", "judge"), gpus, strict=True):
        config["engines"][alias]["resources"] = {"gpus": n}
    no_index = SourceIndex(rows=0, content="", stamp="", slices=())
    executor = LocalExecutor(
        make_plan(config), Store(str(site.folder / "runs/t")), no_index, lambda _, engine: LiveEngine(engine)
    )
    assert executor.gpus() == found
