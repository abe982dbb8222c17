"""docs/candidates.md names every way, kind and level of confirmation that exists, and no other."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

from pipeline.catalogue import stage_files
from stages.pairs.constructions import RULES, Confirm, Kind

ROOT = Path(__file__).resolve().parents[3]
PAGE = (ROOT / "docs" / "candidates.md").read_text(encoding="utf-8")
WAYS = PAGE.split("## Rows")[0]


def test_every_kind_stands_in_the_table_of_ways_and_in_the_stages_own() -> None:
    own = (ROOT / "stages" / "pairs" / "pair_constructed.py").read_text(encoding="utf-8").split('"""')[1]
    assert set(get_args(Kind)) == set(RULES)
    assert set(re.findall(r"^\| (\w+) \|", own, re.MULTILINE)) - {"kind"} == set(RULES)
    for kind, rules in RULES.items():
        assert f"`{kind}`" in WAYS
        told = next(line for line in own.splitlines() if line.startswith(f"| {kind} |"))
        assert kind == "student_icl" or f"| {rules.confirm}" in told


def test_every_stage_that_makes_candidates_stands_in_the_table_of_ways() -> None:
    ways = {name for name, path in stage_files().items() if path.parent.name == "candidates"} - {
        "plant_canaries",
        "plant_probes",
    }
    assert {name for name in re.findall(r"`([a-z_]+)`", WAYS) if name in stage_files()} >= ways | {"student_gain"}


def test_every_level_of_confirmation_is_told() -> None:
    assert set(re.findall(r"^\| `(\w+)` \|", PAGE.split("## Labels")[1].split("## Prompts")[0], re.MULTILINE)) >= set(
        get_args(Confirm)
    )
