"""docs/kinds.md names every kind of pair that the code knows, and stages, configs and formats that exist."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, get_args

import pytest

from pipeline.catalogue import stage_class, stage_files
from pipeline.config import read_config
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


def kind_of(job: dict[str, Any]) -> str | None:
    """The kind that a job of one kind makes."""
    form = job.get("form", "step")
    return {
        "pair_responses": job.get("strategy", "best_worst"),
        "pair_steps": job.get("rule", "topk") + ("" if form == "step" else f"_{form}"),
        "pair_trajectories": f"leaves_{job.get('order', 'hard_negative')}",
        "pair_judgments": f"judgment_{job.get('gold', 'outcome')}",
        "pair_rationales": f"rationale_{job.get('rule', 'kept')}",
        "pair_joint": "joint",
    }.get(job["stage"], job.get("kind"))


@pytest.mark.parametrize("row", ROWS, ids=[names(row[0])[0] for row in ROWS])
def test_stages_and_configs_exist_and_make_every_kind_of_the_row(row: list[str]) -> None:
    kinds, stages, configs = names(row[0]), names(row[2]), names(row[3])
    assert {*stages} <= {*stage_files()}
    made: set[str | None] = set()
    for config in configs:
        jobs = [job for job in read_config(config)["jobs"] if job["stage"] in stages]
        assert jobs, config
        told = {kind_of(job) for job in jobs}
        assert None in told or told & {*kinds}, config
        made |= told
    free = stages[0] in ("pair_instructions", "prompts")  # several kinds by default; whatever the source holds
    assert free or {*kinds} <= {*made} | {"segment_regret", "step_value", "tree_trajectory"}


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
