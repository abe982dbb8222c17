"""The files that a complete job leaves beside its shards (an export: its card and manifest)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pipeline.plan import Job, Plan
from pipeline.stage import Stage, Summary
from pipeline.store import Store
from pipeline.tables import to_table
from pipeline.totals import Totals, reports


def finish_job(plan: Plan, store: Store, job: Job, totals: Mapping[str, Totals], shards: Sequence[int]) -> None:
    """Writes them, where they differ from what is there."""
    if type(job.stage).finish is Stage.finish:
        return
    line = {name: plan.jobs[name] for name in (*job.inputs, job.name)}
    first = store.read(job.name, job.table, shards[0], main=True)[:3] if shards else []
    summary = Summary(
        run=plan.config.name,
        job=job.name,
        shards={store.shard_file(i): report["rows_out"] for i, report in reports(store, job.name, shards)},
        counts={n: {**totals[n].counts, "rows_in": totals[n].rows_in, "rows_out": totals[n].rows_out} for n in line},
        recipes={name: each.recipe for name, each in line.items()},
        first_rows=tuple(to_table(job.table, first).to_pylist()),
        read=lambda: [row for i in shards for row in store.read(job.name, job.table, i, main=True)],
    )
    for file, text in job.stage.finish(summary).items():
        if store.read_text(job.name, file) != text:
            store.write_text(text, job.name, file)
