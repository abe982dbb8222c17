"""docs/verification.md has every rule, invariant, bug and trap of the specification, with tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pipeline.catalogue import stage_files

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "verification.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| ([VIFT]\d+) .*$", PAGE, re.MULTILINE)
NAMED = sorted({*re.findall(r"`([\w/]+\.py)::(\w+)`", PAGE)})


def test_everything_has_one_row() -> None:
    wanted = {"V": 15, "I": 24, "F": 7, "T": 14}
    assert [f"{letter}{n}" for letter, last in wanted.items() for n in range(1, last + 1)] == ROWS
    lines = [line for line in PAGE.splitlines() if re.match(r"\| [VIFT]\d", line)]
    assert all("::test_" in line for line in lines)


@pytest.mark.parametrize(("file", "test"), NAMED)
def test_the_named_test_exists(file: str, test: str) -> None:
    text = (ROOT / "tests" / file).read_text(encoding="utf-8")
    assert re.search(rf"^(async )?def {test}\(", text, re.MULTILINE)


def test_the_stages_that_hold_a_rule_exist() -> None:
    cells = [line.split("|")[2] for line in PAGE.splitlines() if re.match(r"\| V\d", line)]
    named = {name for cell in cells for name in re.findall(r"`(\w+)`", cell.partition(";")[0].partition(":")[0])}
    assert named <= {*stage_files()}
