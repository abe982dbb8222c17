"""docs/curation.md names every dataset stage and every reason, and no other."""

from __future__ import annotations

import re
from pathlib import Path

from pipeline.catalogue import stage_class, stage_files
from pipeline.dataset import DatasetStage
from stages.curate.decontaminate import REASON

ROOT = Path(__file__).resolve().parents[3]
TABLE = (
    (ROOT / "docs" / "curation.md").read_text(encoding="utf-8").split("## Order and reasons")[1].split("**Clusters")[0]
)
CELLS = [line.split("|")[1:-1] for line in TABLE.splitlines() if line.startswith(("| `", "| all"))]


def test_every_dataset_stage_stands_in_the_table() -> None:
    stages = {name for name in stage_files() if issubclass(stage_class(name), DatasetStage)}
    assert {cell[0].strip(" `") for cell in CELLS} - {"all"} == stages


def test_every_reason_stands_in_the_table_and_in_the_code() -> None:
    told = {reason for cell in CELLS for reason in re.findall(r"`(\w+)`", cell[2])}
    code = "".join(file.read_text(encoding="utf-8") for file in sorted((ROOT / "stages" / "curate").glob("*.py")))
    dropped = set(re.findall(r'drop\([^"]*"(\w+)"\)', code)) | set(re.findall(r'"(over_\w+_cap)"', code)) | {REASON}
    assert told == dropped | {"exact_duplicate", "near_duplicate"}
    assert all(f'"{reason}"' in code for reason in told)
