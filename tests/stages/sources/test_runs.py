"""Finished runs as a source: what their dataset stages left, in the shares and counts that are wanted."""

from __future__ import annotations

import shutil
from collections import Counter
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from pipeline.errors import PlanError
from stages.sources.runs import Runs

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import Site


@pytest.fixture
def finished(site: Site) -> Site:
    """Two runs over different prompts; half of the pairs of the second were dropped by a dataset stage."""
    site.run(site.config(n=16, name="first"))
    (site.folder / "prompts.jsonl").unlink()
    site.prompts(40)
    config = site.config(name="second")
    explain = {"stage": "explain", "engine": "judge", "kinds": ["detailed"]}
    config["jobs"] += [{"stage": "balance", "longer_chosen": None, "per_kind": 12}, explain]
    site.run(config)
    return site


def source(site: Site, **parts: Any) -> dict[str, Any]:
    """A stage that takes `first` and `second` with these fields."""
    runs = [{"path": str(site.folder / "runs" / name), **fields} for name, fields in parts.items()]
    return {"stage": "runs", "runs": runs}


def mixed(site: Site, name: str, jobs: list[dict[str, Any]]) -> list[str]:
    """Ids of the pairs that a run of these jobs exports."""
    site.run(site.config(name=name, jobs=[*jobs, {"stage": "export"}]))
    return [pair for file in rows_of(site, f"{name}/export") for pair in file]


def rows_of(site: Site, folder: str) -> list[list[str]]:
    files = sorted((site.folder / "runs" / folder).glob("*.parquet"))
    return [pq.read_table(file).column("pair_id").to_pylist() for file in files]


def test_all_pairs_that_were_left_are_read_with_their_prompts(finished: Site) -> None:
    first = {pair for file in rows_of(finished, "first/pair_responses") for pair in file}
    ids = mixed(finished, "m", [source(finished, first={}, second={})])
    assert len(ids) == len(first) + 12
    assert first <= set(ids)
    assert set(rows_of(finished, "m/runs.rationales")[0]) <= set(ids)


def test_a_prompt_of_two_runs_is_seen_once_by_dedup(finished: Site) -> None:
    ids = mixed(finished, "m", [source(finished, first={}, second={}), {"stage": "dedup", "template_prompts": None}])
    assert set(Counter(ids).values()) == {1}


@pytest.mark.parametrize(
    ("parts", "wanted"),
    [({"first": {"count": 3}, "second": {"count": 5}}, 8), ({"first": {"share": 1}, "second": {"share": 2}}, 18),
     ({"first": {"count": 3, "jobs": ["pair_responses"]}}, 3)],
)  # fmt: skip
def test_counts_are_met_and_shares_are_exact(finished: Site, parts: dict[str, Any], wanted: int) -> None:
    ids = mixed(finished, "m", [source(finished, **parts)])
    assert len(ids) == wanted
    assert mixed(finished, "again", [source(finished, **parts)]) == ids
    assert mixed(finished, "other", [{**source(finished, **parts), "seed": 1}]) != ids


def test_pairs_that_were_labelled_again_are_read_with_their_new_label(site: Site) -> None:
    config = site.config(n=16, name="again")
    config["jobs"].append({"stage": "aggregate", "relabel": True, "ambiguous": "flag"})
    site.run(config)
    site.run(site.config(name="m", jobs=[source(site, again={})]))
    found, new, old = (labels(site, folder) for folder in ("m/runs.pairs", "again/aggregate", "again/pair_responses"))
    assert found == new != old
    assert found.keys() <= old.keys()


def labels(site: Site, folder: str) -> dict[str, float | None]:
    """Pair -> its probability, of all files of a table."""
    files = sorted((site.folder / "runs" / folder).glob("*.parquet"))
    rows = [row for file in files for row in pq.read_table(file, columns=["pair_id", "pref_prob"]).to_pylist()]
    return {row["pair_id"]: row["pref_prob"] for row in rows}


def test_a_run_that_goes_on_is_refused(finished: Site) -> None:
    (finished.folder / "runs/first/pair_responses/00001.parquet").unlink()
    with pytest.raises(PlanError, match=r"is not finished: job pair_responses has 3 of 4 shards; run it first"):
        mixed(finished, "m", [source(finished, first={})])


def test_a_run_that_changed_under_the_mixture_is_told_of(finished: Site) -> None:
    mixed(finished, "m", [source(finished, first={})])
    shutil.rmtree(finished.folder / "runs/first")
    (finished.folder / "prompts.jsonl").unlink()
    finished.prompts(12)
    finished.run(finished.config(name="first", seed=2))
    (finished.folder / "runs/m/runs/00000.parquet").unlink()
    with pytest.raises(PlanError, match="the input of job runs changed"):
        mixed(finished, "m", [source(finished, first={})])


def test_what_cannot_be_mixed_is_refused_with_what_there_is(finished: Site, tmp_path: Path) -> None:
    with pytest.raises(PlanError, match=r"no pairs were made by rate; by: pair_responses"):
        mixed(finished, "m", [source(finished, first={"jobs": ["rate"]})])
    with pytest.raises(PlanError, match=r"no run at .*nowhere"):
        mixed(finished, "m", [source(finished, nowhere={})])
    finished.run(finished.config(name="pairless", jobs=finished.config()["jobs"][:2]))
    with pytest.raises(PlanError, match="made no pairs, so there is nothing to mix"):
        mixed(finished, "m", [source(finished, pairless={})])
    with pytest.raises(PlanError, match="no pairs that are wanted"):
        mixed(finished, "m", [source(finished, first={"count": 0})])


@pytest.mark.parametrize(
    "fields", [{"runs": []}, {"runs": [{"path": "a", "share": 1, "count": 1}]}, {"runs": [{"path": "a"}], "total": 5}]
)
def test_amounts_that_make_no_sense_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Runs.model_validate(fields)
