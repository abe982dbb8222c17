"""Dataset stages: one decision over all shards, verdicts that later jobs obey, and nothing that a kill or a shard changes."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from pipeline.dataset import Columns, Dataset, DatasetStage, Verdict, Verdicts
from pipeline.decide import decide
from pipeline.errors import PlanError, RunError
from pipeline.executors.ray_data import failed, pack, unpack
from pipeline.pair import Pair
from pipeline.plan import make_plan
from pipeline.records import Candidate, Message, Prompt
from pipeline.schedule import phases
from pipeline.stage import Context, Example
from pipeline.store import Store
from stages.pairs.build import response_pair

if TYPE_CHECKING:
    from tests.conftest import Site

ALIKE = (
    "WHAT IS 3  + 1?", "What is the sum of the first two numbers of the row?", "What is 4 + 1? ",
    "What is the sum of the first two numbers of this row?",
)  # fmt: skip
MESSAGES = (Message("user", "2+2?"),)
PROMPT = Prompt("p", "b", MESSAGES)
PAIR = response_pair(
    "best_worst",
    PROMPT,
    Candidate("p", "a", "4", "generate"),
    Candidate("p", "b", "5", "generate"),
    label_source="judge",
)


def said(subject: str, subject_id: str, keep: bool = True, **fields: Any) -> Verdict:
    return Verdict("p", "dedup", subject, subject_id, keep, **fields)


def curated(site: Site, **changes: Any) -> dict[str, Any]:
    """The usual run, its prompts and pairs looked at as a whole."""
    if not (site.folder / "prompts.jsonl").exists():
        site.prompts(20, *[json.dumps({"prompt": text, "answer": "3"}) for text in ALIKE])
    config = site.config(**changes)
    first, generate, rate, pairs = config["jobs"]
    config["jobs"] = [
        first, {"stage": "dedup", "name": "prompts_once", "prompts_per_cluster": 1},
        generate, rate, pairs, {"stage": "dedup", "template_prompts": None},
        {"stage": "split", "shares": {"train": 0.5, "test": 0.5}}, {"stage": "export"},
    ]  # fmt: skip
    return config


def rows(site: Site, job: str, *columns: str, run: str = "t") -> list[tuple[Any, ...]]:
    files = sorted((site.folder / "runs" / run / job).glob("*.parquet"))
    tables = [pq.read_table(file, columns=list(columns)) for file in files]
    return [tuple(row.values()) for table in tables for row in table.to_pylist()]


def test_a_row_that_is_not_kept_is_not_seen_again() -> None:
    assert Verdicts([said("prompt", "p", keep=False)]).apply(PROMPT) is None
    assert Verdicts([said("pair", PAIR.pair_id, keep=False)]).apply(PAIR) is None
    assert Verdicts([said("pair", "another", keep=False)]).apply(PAIR) == PAIR
    assert Verdicts([]).apply(PAIR) is PAIR


def test_a_pair_takes_over_what_was_found_of_its_prompt_and_of_itself() -> None:
    found = [
        said("prompt", "p", cluster="first"), said("prompt", "p", cluster="c", hits=("gsm8k",)),
        said("prompt", "p", split="test"), said("pair", PAIR.pair_id, hits=("ifeval", "gsm8k")),
    ]  # fmt: skip
    pair = Verdicts(found).apply(PAIR)
    assert pair is not None
    assert (pair.dedup_cluster_id, pair.split, pair.decontam_hits) == ("c", "test", ("gsm8k", "ifeval"))
    prompt = Verdicts(found).apply(PROMPT)
    assert prompt is not None
    assert prompt.split == "test"
    assert Verdicts(found).cluster("p") == "c"


def test_a_pair_that_two_jobs_made_is_seen_once_where_it_was_decided_about() -> None:
    verdicts = Verdicts([said("pair", PAIR.pair_id)])
    assert [verdicts.apply(PAIR), verdicts.apply(PAIR)] == [PAIR, None]
    undecided = Verdicts([said("prompt", "p")])
    assert [undecided.apply(PAIR), undecided.apply(PAIR)] == [PAIR, PAIR]


def test_what_is_noted_comes_in_the_order_of_the_shards() -> None:
    def backwards(look: Any) -> Iterator[tuple[int, Columns]]:
        return ((shard, look([shard] * shard)) for shard in (3, 1, 0, 2))

    def wide(items: Sequence[Any]) -> Columns:
        return {"n": np.array([[i, i] for i in items])}

    found = Dataset[Any](4, backwards).map(wide)
    assert found["shard"].tolist() == [1, 2, 2, 3, 3, 3]
    assert found["n"][:, 1].tolist() == [1, 2, 2, 3, 3, 3]


def test_columns_travel_between_processes_as_they_are() -> None:
    columns: Columns = {
        "text": np.array(["ä", "", "x"], dtype=object), "sets": np.array([b"1", b"", b"\xff"], dtype=object),
        "numbers": np.arange(6, dtype=np.uint16).reshape(3, 2), "none": np.empty((0, 128), dtype=np.uint32),
    }  # fmt: skip
    found = unpack(pack(columns))
    for name, column in columns.items():
        assert found[name].dtype == column.dtype
        assert found[name].shape == column.shape
        assert found[name].tolist() == column.tolist()


def test_what_went_wrong_in_another_process_is_told_as_it_was() -> None:
    ours = failed("dedup", 3, "PlanError\nno file at 'x'; put it back\nTraceback …")
    assert (type(ours), str(ours)) == (PlanError, "no file at 'x'; put it back")
    bug = failed("dedup", 3, "ValueError\na bug\nTraceback …\n  line")
    assert (type(bug), str(bug)) == (RunError, "job dedup, shard 3: ValueError: a bug")
    assert bug.__notes__ == ["Traceback …\n  line"]


def test_later_jobs_obey_and_the_counts_say_what_was_dropped(site: Site) -> None:
    totals = site.run(curated(site)).totals
    kept = {p for p, keep in rows(site, "prompts_once", "subject_id", "keep") if keep}
    assert len(kept) == 21
    assert {p for (p,) in rows(site, "generate", "prompt_id")} == kept
    assert totals["generate"].rows_in == len(kept)
    counts = totals["prompts_once"].counts
    assert counts["kept:prompt"] == counts["clusters"] == len(kept)
    assert (counts["dropped_near_duplicate:prompt"], counts["dropped_exact_duplicate:prompt"]) == (1, 2)
    assert totals["prompts_once"].rejected == 0


def test_an_export_made_later_obeys_too(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    from pipeline.export import export

    config = curated(site)
    config["jobs"][5] = {"stage": "balance", "longer_chosen": None, "per_kind": 3}
    site.run(config)
    export(str(site.folder / "runs/t"), str(site.folder / "out"), {"split": "test"})
    test = [prompt for prompt, split in rows(site, "split", "subject_id", "split") if split == "test"]
    out = [
        row["prompt_id"] for file in (site.folder / "out").glob("*.parquet") for row in pq.read_table(file).to_pylist()
    ]
    assert set(out) <= set(test)
    told = capsys.readouterr().out
    assert f"exported: {len(out)}" in told
    assert f"other_split: {3 - len(out)}" in told


def test_a_dataset_stage_is_a_phase_of_its_own_and_engines_part_the_others_only_when_staged(site: Site) -> None:
    plan = make_plan(curated(site))
    wanted = [
        ("prompts",), ("prompts_once",), ("generate", "rate", "pair_responses"), ("dedup",), ("split",), ("export",),
    ]  # fmt: skip
    assert phases(plan, staged=False) == wanted
    assert phases(plan, staged=True) == [*wanted[:2], ("generate",), ("rate", "pair_responses"), *wanted[3:]]


def test_an_engine_outlives_a_dataset_stage_between_its_jobs(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    from pipeline.executors.local import LocalExecutor

    opened: list[str] = []

    async def counted(self: LocalExecutor, engines: Sequence[str]) -> None:
        opened.extend(engines)
        for alias in engines:
            await self.engines[alias].open()

    monkeypatch.setattr(LocalExecutor, "open", counted)
    config = curated(site)
    config["jobs"].insert(6, {"stage": "rate", "name": "again", "engine": "judge", "aspects": ["clarity"]})
    site.run(config)
    assert sorted(opened) == ["judge", "policy"]


def test_what_is_decided_does_not_depend_on_how_the_input_is_cut(site: Site) -> None:
    site.run(curated(site))
    for name, size in (("one", 100), ("more", 7)):
        site.run(curated(site, name=name, shard_size=size))
        for job in ("prompts_once", "dedup", "split"):
            wanted = ("subject", "subject_id", "keep", "reason", "cluster", "split")
            assert sorted(rows(site, job, *wanted, run=name), key=str) == sorted(rows(site, job, *wanted), key=str)


@pytest.mark.parametrize(
    "lost", [["dedup/00001.parquet"], ["prompts_once/00000.parquet", "dedup/00003.parquet", "export/00002.parquet"]]
)
def test_lost_verdicts_are_decided_again_byte_by_byte(site: Site, lost: list[str]) -> None:
    site.run(curated(site))
    whole = site.files()
    kept = {p: p.stat().st_mtime_ns for p in site.folder.rglob("*.parquet")}
    for name in lost:
        (site.folder / "runs/t" / name).unlink()
    site.run(curated(site))
    assert site.files() == whole
    redone = [p for p, time in kept.items() if p.stat().st_mtime_ns != time]
    assert sorted(str(p.relative_to(site.folder / "runs/t")) for p in redone) == sorted(lost)


def test_a_changed_field_is_refused_and_rebuild_redoes_what_obeyed(site: Site) -> None:
    config = curated(site)
    site.run(config)
    config["jobs"][5]["pairs_per_cluster"] = 1
    with pytest.raises(PlanError, match=r"job dedup, fields\.pairs_per_cluster: 12 -> 1"):
        site.run(config)
    before = {p: p.stat().st_mtime_ns for p in (site.folder / "runs/t").rglob("0*.parquet")}
    site.run(config, rebuild="dedup")
    redone = {p.parent.name for p, time in before.items() if p.stat().st_mtime_ns != time}
    assert redone == {"dedup", "split", "export"}


class Half(DatasetStage):
    """Stops short."""

    def decide(self, data: Dataset[Pair], ctx: Context) -> Iterator[list[Verdict]]:
        return iter([[]])


def test_a_stage_that_leaves_shards_out_is_told_of(site: Site) -> None:
    from dataclasses import replace

    plan = make_plan(curated(site))
    job = replace(plan.jobs["dedup"], stage=Half())
    data: Dataset[Any] = Dataset.of([[Example(PROMPT)], []])
    with pytest.raises(RunError, match="job dedup decided about 1 of 2 shards"):
        list(decide(plan, job, Store(str(site.folder / "runs/t")), data))


def test_a_driver_that_is_stopped_while_it_decides_ends_at_once_and_goes_on(site: Site) -> None:
    config = curated(site)
    config["jobs"].insert(5, {"stage": "embed", "engine": "embedder"})
    config["jobs"][6]["semantic"] = 0.99
    config["engines"]["embedder"] = {
        "kind": "scripted",
        "function": "benchmarks.canned:policy",
        "embed": "faults:embed",
    }
    site.run({**config, "runs_dir": str(site.folder / "calm")})
    calm = site.folder / "calm/t"
    whole = {str(p.relative_to(calm)): p.read_bytes() for p in sorted(calm.rglob("*.parquet"))}
    with site.start("run", site.save(config), "--plain") as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "deciding: dedup" in line:
                os.kill(process.pid, signal.SIGTERM)
                break
        process.communicate(timeout=60)
    assert process.returncode in (0, 5)  # a decision over so few rows may be faster than the signal
    code, _, err = site.command("run", site.save(config))
    assert code == 0, err
    assert site.files() == whole
    assert site.leftovers() == []
