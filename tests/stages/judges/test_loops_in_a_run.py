"""Feedback loops in a whole run: a shard that is lost is made again as it was, and shards decide nothing."""

from __future__ import annotations

import math
import re
from typing import Any

import pyarrow.parquet as pq

from benchmarks.scripted_judges import asked_text
from pipeline import ids
from pipeline.engine import Completion, Request
from tests.conftest import Site

HERE = "tests.stages.judges.test_loops_in_a_run"
BUDGET = 7


def judge(request: Request) -> Completion:
    """Scores and verdicts by a hash of what is asked, with reasons."""
    text, draw = asked_text(request), ids.seed(asked_text(request), request.sampling.temperature)
    if "<response_a>" not in text:
        return Completion(f"So it seems.\nScore: {draw % 5 + 1}", "stop", 9, 4)
    a, b = (int(n) for n in re.findall(r"Answer (\d+)", text)[:2])
    p = (0.85 if a > b else 0.15) if abs(a - b) > 300 else 0.3 + (draw % 100) / 250  # unsure of what lies near
    logs = {"A": math.log(p), "B": math.log(1 - p), "T": -9.0}
    return Completion(f"Both were read.\nAnswer: {'A' if p > 0.5 else 'B'}", "stop", 9, 4, labels=logs)


def writer(request: Request) -> list[Completion]:
    """Different answers to every question, by its seed."""
    return [Completion(f"Answer {(request.seed + 7 * i) % 997}", "stop", 9, 3) for i in range(request.sampling.n)]


def config(site: Site, **changes: Any) -> dict[str, Any]:
    made = site.config(12, **changes)
    made["engines"] = {
        "policy": {"kind": "scripted", "function": f"{HERE}:writer"},
        "judge": {"kind": "scripted", "function": f"{HERE}:judge"},
    }
    critic = {"engine": "judge", "mode": "parsed"}
    made["jobs"][1:] = [
        {"stage": "generate", "engine": "policy", "sampling": {"n": 3}},
        {"stage": "revise", "engine": "policy", "critic": critic, "until": 4, "rounds": 2, "drafts": 2},
        {"stage": "compare", "engine": "judge", "schedule": "all", "reason": True, "max_per_prompt": 4},
        {"stage": "near_errors", "budget": BUDGET, "per_prompt": 2},
        {"stage": "compare", "name": "again", "engine": "judge", "schedule": "asked", "reason": True,
         "sampling": {"temperature": 0.5}, "unsure": {"of": ["compare"]}},
        {"stage": "aggregate", "cascade": ["compare", "again"], "ambiguous": "flag"},
        {"stage": "refine_pairs", "from": "generate", "engine": "policy", "sampling": {"n": 3}, "judge": critic,
         "pair_judge": {"engine": "judge", "reason": True}, "until": 1.0},
    ]  # fmt: skip
    return made


def rows(site: Site, job: str) -> list[dict[str, Any]]:
    files = sorted((site.folder / "runs/t" / job).glob("*.parquet"))
    found = [row for file in files for row in pq.read_table(file).to_pylist()]
    return sorted(found, key=lambda row: str(row.get("judgment_key") or row.get("candidate_id") or row.get("pair_id")))


JOBS = ("revise", "revise.judgments", "again", "refine_pairs", "refine_pairs.judgments", "refine_pairs.candidates")


def test_lost_shards_are_made_again_byte_for_byte(site: Site) -> None:
    site.run(config(site))
    before = site.files()
    for job in ("near_errors", "again", "revise", "refine_pairs"):
        (site.folder / f"runs/t/{job}/00001.parquet").unlink()
    site.run(config(site))
    assert site.files() == before


def test_rows_do_not_depend_on_the_shards_and_the_budget_holds(site: Site) -> None:
    site.run(config(site))
    before = {job: rows(site, job) for job in JOBS}
    assert all(before.values()), {job: len(found) for job, found in before.items()}
    pairs = {(row["prompt_id"], *row["cand_ids"]) for row in before["again"]}
    assert 0 < len(pairs) <= BUDGET
    assert sum(row["budget"] for row in rows(site, "near_errors")) == BUDGET
    (site.folder / "runs/t").rename(site.folder / "runs/old")
    site.run(config(site, shard_size=5))
    for job, found in before.items():
        again = rows(site, job)
        for row in (*found, *again):
            row.pop("lineage", None)  # holds the job's fingerprint, of which the size of shards is part
        assert again == found, job
