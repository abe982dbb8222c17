"""The mappings of public sets in docs/calibration.md do what the page says."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from pipeline.calibrate import calibrate

ROOT = Path(__file__).resolve().parents[3]
DATA = ROOT / "../shared/data"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="the shared data folder is not here")


def mappings() -> dict[str, Any]:
    code = re.search(r"```python\n(.*?)```", (ROOT / "docs/calibration.md").read_text(encoding="utf-8"), re.DOTALL)
    assert code is not None
    names: dict[str, Any] = {}
    exec(code[1], names)  # noqa: S102  # our own page
    return names


@needs_data
def test_a_recorded_judge_is_measured_on_pandalm(tmp_path: Path) -> None:
    files = DATA / "pandalm_human_testset.jsonl", DATA / "pandalm_gpt35_verdicts.jsonl"
    items = list(mappings()["pandalm"](*files))
    (tmp_path / "gold.jsonl").write_text("".join(json.dumps(item) + "\n" for item in items), encoding="utf-8")
    calibrate(str(tmp_path / "gold.jsonl"), str(tmp_path / "calibration.json"))
    found = json.loads((tmp_path / "calibration.json").read_text(encoding="utf-8"))
    judge = found["judges"]["recorded:gpt-3.5"]
    assert (found["gold"]["items"], judge["enabled"]) == (999, True)
    assert 0.75 < judge["accuracy"] < 0.85
    assert judge["parse_rate"] == pytest.approx(974 / 999)


@needs_data
@pytest.mark.parametrize(("file", "n"), [("llmbar_natural.jsonl", 100), ("mt_bench_human_200.jsonl", 200)])
def test_sets_without_recorded_judges_become_gold_items(file: str, n: int) -> None:
    items = list(mappings()["llmbar"](DATA / file))
    assert len(items) == n
    assert {item["label"] for item in items} == {"a", "b"}


def test_places_of_judgebench_become_answers(tmp_path: Path) -> None:
    line = {
        "pair_id": "1", "question": "?", "response_A": "x", "response_B": "y", "label": "B>A", "source": "math",
        "judge_name": "j", "judgments": [{"decision": "B>A"}, {"decision": "A>B"}],
    }  # fmt: skip
    (tmp_path / "judged.jsonl").write_text(json.dumps(line), encoding="utf-8")
    [item] = mappings()["judgebench"](tmp_path / "judged.jsonl")
    assert (item["label"], item["verdicts"]) == ("b", {"j": {"ab": "b", "ba": "b"}})
