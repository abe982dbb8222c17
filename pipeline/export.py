"""Writes what a run made in a trainer's format, to a folder of the user's choice: the export stage, run alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline.alone import run_alone
from pipeline.catalogue import stage_class
from pipeline.config import validate
from pipeline.dataset import Verdict
from pipeline.errors import PlanError
from pipeline.report import open_run
from pipeline.tables import table_name


def export(path: str, folder: str, fields: Mapping[str, Any]) -> None:
    """Exports every finished shard of the run at `path`. Raises PlanError: no such rows, unknown format, no run."""
    run = open_run(path)
    jobs = run[0].jobs
    made_by = {cls: name for name, job in jobs.items() for cls in job.stage.makes()}
    stage: Any = validate(stage_class("export"), fields, "export")
    if "table" not in fields and (found := next((cls for cls in stage.reads() if cls in made_by), None)):
        fields = {**fields, "table": table_name(found)}
        stage = validate(stage_class("export"), fields, "export")
    if lacking := [table_name(cls) for cls in stage.needs() if cls not in made_by]:
        raise PlanError(f"run {path} makes no {' and no '.join(lacking)}; jobs: {', '.join(jobs)}")
    # dataset stages come along: what they dropped is not exported
    sources = [name for name, job in jobs.items() if {*stage.needs(), Verdict} & {*job.stage.makes()}]
    told, counts = run_alone(run, folder, {"stage": "export", "from": sources, **fields})
    print(told)
    for name, n in sorted(counts.items()):
        print(f"  {name}: {n:,}")
