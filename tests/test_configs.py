"""Every shipped config is a plan that holds, tried on rows of the kind it asks for with an engine that only counts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.check import check
from pipeline.config import read_config
from pipeline.engine import resolve_path
from pipeline.iterate import of_round
from pipeline.plan import make_plan
from pipeline.run import execute

CONFIGS = sorted(p.stem for p in resolve_path("configs").glob("*.yaml"))
ROW = {
    "question": "Ann has {i} apples and buys 3 more. How many has she?",
    "answer": "She has {i} + 3 apples.\n#### {n}",
    "final_answer": "14",
    "instruction": "Write {i} words about the sea.",
    "prompt": "Name {i} rivers.",
    "chosen": "The Nile, number {i}.",
    "rejected": "No, not {i}.",
    "response_a": "It is {i} [1].",
    "response_b": "It is not {i} at all [2].",
    "rater": "Ann",
    "choice": "1",
    "other_prompt": "Name {i} lakes.",
    "other_response": "Como, number {i}.",
    "passage_a": "Tom has 5 red eggs and {i} blue eggs in one basket.",
    "passage_b": "Tom has 7 red eggs and {i} blue eggs in one basket.",
}


NO_ANSWERS = (
    "abacus_authors", "abacus_judges", "annotated", "enrich", "grow", "recorded_trees", "reformat", "repair"
)  # fmt: skip
PROBES = [{"prompt": "Name a river.", "right": "The Po.", "wrong": ["Como."]}]
VOTES = {"paraphrase": 4, "a": 3, "b": 6, "skip": 1}
RECORDED = Path(__file__).resolve().parent / "stages/sources/recorded_trees.jsonl"


def _row(i: int) -> str:
    tree = json.loads(RECORDED.read_text(encoding="utf-8"))["reasoning_steps"]
    return json.dumps(
        {key: text.format(i=i, n=i + 3) for key, text in ROW.items()} | {"reasoning_steps": tree, "votes": VOTES}
    )


def _local(data: dict[str, Any], file: Path) -> dict[str, Any]:
    """The config on the embedded model, reading `file` where it reads a user's data."""
    engines = {
        alias: e | {"model": "models/abacus"} if e["kind"] == "vllm" else e
        for alias, e in data.get("engines", {}).items()
    }
    source, *rest = data["jobs"]
    if source["stage"] == "runs":
        source = source | {"runs": [{"path": _finished(file)}]}
    elif str(source["path"]).startswith("data/"):
        source = source | {"path": str(file)}
    rest = [job | {"lists": {"items": _items(file)}} if "lists" in job else job for job in rest]
    rest = [job | {"probes": PROBES} if "probes" in job else job for job in rest]
    return data | {"engines": engines, "jobs": [source, *rest]}


def _finished(file: Path) -> str:
    """A run that read the pairs of `file`."""
    columns = {"prompt": "prompt", "chosen": "chosen", "rejected": "rejected"}
    jobs = [{"stage": "prompts", "path": str(file), "columns": columns}]
    config = {"name": "finished", "shard_size": 8, "executor": "local", "runs_dir": str(file.parent), "jobs": jobs}
    return execute(config, plain=True, quiet=True).store.root


def _items(file: Path) -> dict[str, Any]:
    """A benchmark beside `file` that shares nothing with it."""
    items = file.with_name("items.jsonl")
    items.write_text(json.dumps({"question": "Who asks this?"}) + "\n", encoding="utf-8")
    return {"path": str(items), "columns": ["question"]}


@pytest.mark.parametrize("name", CONFIGS)
def test_a_shipped_config_holds_on_rows_of_its_kind(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREFSYNTH_BASE_URL", "http://127.0.0.1:9/v1")
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(_row(i) + "\n" for i in range(12)), encoding="utf-8")
    check(_local(of_round(read_config(name)), file), n=8)
    told = capsys.readouterr().out
    made_by = (
        dict.fromkeys(NO_ANSWERS, "prompts")
        | dict.fromkeys(("abacus_search", "abacus_steps", "math_steps", "ultrainteract"), "search")
        | {"contexts": "opposed", "abacus_contexts": "wishes", "mixture": "runs", "passages": "solve"}
    )
    assert f"{made_by.get(name, 'generate')}: 8 in, 0 rejected" in told
    last = {"grow": "evolve", "recorded_trees": "label_unpaired", "abacus_learning": "step_pairs"}.get(name, "export")
    assert f"{last}: 8 in, 0 rejected" in told


def test_the_config_in_the_readme_holds(tmp_path: Path) -> None:
    text = (Path(__file__).resolve().parents[1] / "README.md").read_text(encoding="utf-8")
    (tmp_path / "readme.yaml").write_text(text.split("```yaml\n")[1].split("```")[0], encoding="utf-8")
    (tmp_path / "rows.jsonl").write_text(_row(1), encoding="utf-8")
    plan = make_plan(_local(read_config(str(tmp_path / "readme.yaml")), tmp_path / "rows.jsonl"))
    assert list(plan.jobs)[-1] == "export"


@pytest.mark.parametrize("name", CONFIGS)
def test_a_shipped_config_says_what_it_is_for_needs_and_costs(name: str) -> None:
    text = (resolve_path("configs") / f"{name}.yaml").read_text(encoding="utf-8")
    assert [line[2:6] for line in text.splitlines() if line.startswith(("# For", "# Nee", "# Cos"))] == [
        "For:",
        "Need",
        "Cost",
    ]
