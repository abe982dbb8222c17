"""The stage that the documentation works through: loaded by its module's name, run, continued, and refused where wrong."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pipeline.catalogue import stage_class
from pipeline.config import read_config
from pipeline.engine import Completion, Request
from pipeline.errors import PlanError
from pipeline.plan import make_plan
from pipeline.records import Candidate, Reject
from pipeline.stage import stage_name

if TYPE_CHECKING:
    from tests.conftest import Site

ROOT = Path(__file__).resolve().parents[2]
LONG = "Adding one to the number that was given makes this, as one can see by counting on from it: "


def policy(request: Request) -> Completion:
    """An answer; a longer one where it is asked to write one again, every third of them cut, every third no longer."""
    asked = request.messages[-1].content if request.messages else ""
    if "<response>" not in asked:
        return Completion(f"It is {request.seed % 7}, the number after it.", "stop", 9, 4)
    kind = request.seed % 3
    return Completion(("no", LONG * 2, LONG * 2)[kind], "length" if kind == 1 else "stop", 9, 4)


def padded(site: Site, **fields: Any) -> dict[str, Any]:
    config = site.config(n=8)
    config["engines"]["policy"]["function"] = f"{__name__}:policy"
    config["jobs"].insert(2, {"stage": "examples.pad", "engine": "policy", "answers": 2, **fields})
    return config


def test_a_stage_of_ones_own_is_named_by_its_module_and_its_rows_go_on_through_the_run(site: Site) -> None:
    driver = site.run(padded(site))
    rows = [row for shard in (0, 1) for row in driver.store.read("pad", Candidate, shard, main=True)]
    rejects = [row for shard in (0, 1) for row in driver.store.read("pad", Reject, shard, main=False)]
    assert len(rows) == driver.totals["pad"].counts["padded"] > 0
    assert {row.text for row in rows} == {(LONG * 2).strip()}
    assert {row.reason for row in rejects} == {"truncated", "not_longer"}
    assert len(rows) + len(rejects) == 16
    assert driver.totals["rate"].rows_out == 16 + len(rows)
    assert driver.plan.jobs["pad"].recipe["stage"] == "examples.pad"


def test_its_run_can_be_continued_and_its_fields_are_part_of_the_recipe(site: Site) -> None:
    before = site.run(padded(site)) and site.files()
    (site.folder / "runs/t/pad/00001.parquet").unlink()
    site.run(padded(site))
    assert site.files() == before
    with pytest.raises(PlanError, match=r"job pad, fields\.least: 1\.2 -> 2\.0"):
        site.run(padded(site, least=2.0))


def test_the_shipped_config_of_the_example_is_a_plan_that_holds(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    config = read_config(str(ROOT / "examples/pad.yaml"))
    config["jobs"][0]["path"] = str(site.prompts(3))
    monkeypatch.setenv("PREFSYNTH_BASE_URL", "http://127.0.0.1:1/v1")
    assert list(make_plan(config).jobs) == ["prompts", "generate", "pad", "rate", "pair_responses", "export"]
    assert stage_name(stage_class("examples.pad")) == "examples.pad"


@pytest.mark.parametrize(
    ("stage", "told"),
    [
        ("nowhere.pad", r"stage 'nowhere\.pad': No module named 'nowhere'; it must be importable"),
        ("examples.__init__", r"must hold one Stage subclass, found 0"),
    ],
)
def test_a_stage_that_is_none_is_refused_in_one_line(site: Site, stage: str, told: str) -> None:
    with pytest.raises(PlanError, match=told):
        make_plan(padded(site, stage=stage))
