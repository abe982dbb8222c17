"""Measures judges on a gold file: the source `gold`, the judging jobs of a config, and the stage that measures them."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline import ids
from pipeline.catalogue import stage_class
from pipeline.engine import resolve_path
from pipeline.errors import PlanError
from pipeline.plan import make_plan
from pipeline.records import Judgment
from pipeline.run import Driver, execute
from pipeline.stage import SourceStage

KEPT = ("seed", "shard_size", "engines", "executor", "address", "schedule", "runs_dir", "window", "watchdog_s")


def judging_jobs(config: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The jobs of a config that judge, each as it stands but without `from`: here all of them judge the gold items."""
    found = []
    for fields in config.get("jobs", ()):
        cls = stage_class(str(fields.get("stage")))
        if not issubclass(cls, SourceStage) and cls.makes(cls.model_construct())[0] is Judgment:
            found.append({key: value for key, value in fields.items() if key != "from"})
    return found


def calibrate(gold: str, to: str, config: Mapping[str, Any] | None = None, name: str | None = None) -> None:
    """Writes the calibration to `to` and its report beside it. Without a config the verdicts in the file are measured.

    With a config the run can be continued like any other; other gold items or judges make another run, unless it has a
    `name`. Raises PlanError: no gold file, a config that judges nothing.
    """
    target = Path(to)
    if target.suffix != ".json":
        raise PlanError(f"--to {to} must end with .json; the report is written beside it as .html")
    given = config or {"executor": "local"}
    jobs = judging_jobs(given)
    if config is not None and not jobs:
        raise PlanError(
            "the config has no judging job; give one with rate, compare or another stage that makes judgments"
        )
    data = {
        **{key: given[key] for key in KEPT if key in given},
        "name": name or _name(gold, [given.get("engines", {}), jobs]),
        "max_reject_rate": 1.0,
        # with the labels as pairs: a judge may ask about the pairs there are
        "jobs": [{"stage": "gold_items", "path": gold, "pairs": bool(jobs)}, *jobs, {"stage": "calibrate"}],
    }
    if config is not None:
        _write(execute(data), target)
        return
    with tempfile.TemporaryDirectory(prefix="prefsynth-calibrate-") as folder:
        data["runs_dir"] = folder
        make_plan(data)
        _write(execute(data, plain=True, quiet=True), target)


def _name(gold: str, judges: Any) -> str:
    """A run's name that tells gold items and judges from others."""
    file = resolve_path(gold)
    content = hashlib.sha256(file.read_bytes()).hexdigest() if file.is_file() else gold
    return f"calibrate-{ids.content_hash('calibrate/1', content, judges)[:8]}"


def _write(driver: Driver, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    for file, path in (("calibration.json", target), ("report.html", target.with_suffix(".html"))):
        path.write_text(driver.store.read_text("calibrate", file) or "", encoding="utf-8")
    totals = driver.totals["gold_items"]
    print(f"{target} and {target.with_suffix('.html')}: {totals.kept:,} of {totals.rows_in:,} gold rows")
    for what, n in sorted((totals.counts | driver.totals["calibrate"].counts).items()):
        print(f"  {what}: {n:,}")
