"""docs/kinds.md names every kind of pair that the code knows, and stages, configs and formats that exist."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, get_args

import pytest

from pipeline.config import read_config
from pipeline.stage import stage_class, stage_files
from stages.exports.formats import format_names, format_of
from stages.pairs import constructions, instruction_kinds, pair_contexts
from stages.pairs.pair_aspects import PairAspects
from stages.pairs.pair_judgments import PairJudgments
from stages.pairs.pair_rationales import PairRationales
from stages.pairs.select import StrategyName
from stages.pairs.step_rules import RuleName
from stages.pairs.trajectories import TrajectoryRule

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "kinds.md").read_text(encoding="utf-8")
ROWS = [line.strip("|").split("|") for line in PAGE.splitlines() if line.startswith("| `")]


def names(cell: str) -> list[str]:
    return re.findall(r"`([\w-]+)`", cell)


def choices(hint: Any) -> set[str]:
    """The words of a Literal, however deep in a union."""
    found = [choices(part) if not isinstance(part, str) else {part} for part in get_args(hint)]
    return set().union(*found)


def field(stage: Any, name: str) -> set[str]:
    return choices(stage.model_fields[name].annotation)


KNOWN = {
    *choices(StrategyName), *choices(RuleName), *choices(constructions.Kind), *choices(instruction_kinds.Kind),
    *choices(pair_contexts.Kind), *field(PairAspects, "kind"), "joint", "given",
    *[f"leaves_{order}" for order in field(TrajectoryRule, "order")],
    *[f"judgment_{gold}" for gold in field(PairJudgments, "gold")],
    *[f"rationale_{rule}" for rule in field(PairRationales, "rule")],
}  # fmt: skip


def test_every_kind_has_its_row_and_no_other_has() -> None:
    told = [name for row in ROWS for name in names(row[0])]
    assert len(told) == len({*told})
    assert {*told} - {"topk_chain", "topk_rollout"} == KNOWN


@pytest.mark.parametrize("row", ROWS, ids=[names(row[0])[0] for row in ROWS])
def test_stages_and_configs_exist_and_the_config_has_such_a_job(row: list[str]) -> None:
    kinds, stages, configs = names(row[0]), names(row[2]), names(row[3])
    assert {*stages} <= {*stage_files()}
    for config in configs:
        jobs = [job for job in read_config(config)["jobs"] if job["stage"] in stages]
        assert jobs, config
        if stages[0] in ("pair_responses", "pair_constructed", "pair_contexts", "pair_aspects"):
            told = [{job.get("kind"), job.get("strategy", "best_worst")} for job in jobs]
            assert any(each & {*kinds} for each in told), config


def test_every_format_is_in_a_set_and_every_set_is_of_formats() -> None:
    told = PAGE.partition("Exports:")[2].partition("What of these")[0]
    assert {*names(told)} | {"ranked"} == {*format_names()}
    assert {row[4].strip() for row in ROWS} <= {*re.findall(r"\*\*(\w)\*\*", told)}
    assert {*re.findall(r"→ `([\w-]+)`", PAGE)} <= {*format_names()}


def test_formats_of_one_prompt_read_pairs() -> None:
    one = names(PAGE.partition("**A**")[2].partition("**B**")[0])
    assert all("pairs" in [cls.__name__.lower() + "s" for cls in format_of(name)[0].reads] for name in one)


def test_stages_named_in_the_text_exist() -> None:
    below = PAGE.partition("Systems whose work")[2].partition("How often")[0]
    known = {*stage_files(), *format_names()}
    assert {*names(below)} <= known
    assert stage_class("pair_steps")
