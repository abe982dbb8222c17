"""The score_* stages in a whole run: their rows are read back by the pairs, and a missing capability is told at once."""

from __future__ import annotations

import math
from typing import Any

import pyarrow.parquet as pq
import pytest

from pipeline.engine import RewardRequest, ScoreRequest
from pipeline.errors import PlanError
from tests.conftest import Site

HERE = "tests.stages.judges.test_score_stages_in_a_run"


def reward(request: RewardRequest) -> float:
    """Large numbers that lie close together: what counts is the difference."""
    assert request.messages is not None
    return 40.0 + sum(map(ord, request.messages[-1].content)) % 7


def score(request: ScoreRequest) -> list[float]:
    """Less likely the longer."""
    return [-0.5] * len(request.continuation)


def embed(text: str) -> list[float]:
    """Length and digits."""
    return [len(text) / 10, float(sum(map(str.isdigit, text)))]


def rows_of(site: Site, job: str) -> list[dict[str, Any]]:
    files = sorted((site.folder / "runs/t" / job).glob("*.parquet"))
    return [row for file in files for row in pq.read_table(file).to_pylist()]


def config(site: Site) -> dict[str, Any]:
    made = site.config(8)
    able = {"reward": f"{HERE}:reward", "score": f"{HERE}:score", "embed": f"{HERE}:embed"}
    made["engines"]["measure"] = {"kind": "scripted", "function": "benchmarks.canned:judge", **able}
    made["jobs"][2:] = [
        {"stage": "score_reward", "engine": ["measure"]},
        {"stage": "score_likelihood", "engine": "measure", "reference": "judge", "signals": ["logp", "flr"]},
        {"stage": "score_relevance", "engine": "measure"},
        {"stage": "pair_responses", "min_margin": 0.05, "scores": ["score_reward"], "beta": 0.2},
    ]
    return made


def test_rewards_make_pairs_and_log_probabilities_their_difficulty(site: Site) -> None:
    made = config(site)
    made["engines"]["judge"]["score"] = f"{HERE}:score"
    site.run(made)
    rows = rows_of(site, "score_reward")
    assert {(r["mode"], r["status"], r["scale_max"]) for r in rows} == {("rm", "ok", math.inf)}
    value = {r["cand_ids"][0]: r["value"] for r in rows}
    pairs = rows_of(site, "pair_responses")
    assert pairs
    for pair in pairs:
        chosen, rejected = pair["chosen_gen"]["candidate_id"], pair["rejected_gen"]["candidate_id"]
        assert value[chosen] > value[rejected]
        longer = len(pair["rejected_messages"][0]["content"]) - len(pair["chosen_messages"][0]["content"])
        assert pair["difficulty"]["ref_logratio"] == pytest.approx(-0.5 * longer)
        assert pair["difficulty"]["implicit_gap"] == 0.0
    aspects = {r["aspect"] for r in rows_of(site, "score_relevance")}
    assert aspects == {"r3_relevance", "r3_length", "r3_variety", "r3"}


def test_an_engine_that_cannot_measure_is_told_before_anything_runs(site: Site) -> None:
    made = config(site)
    with pytest.raises(PlanError, match="job score_likelihood needs an engine that can score; judge"):
        site.run(made)
