"""Runs a dataset stage: one decision over all shards, then a table of verdicts for each shard that has none yet."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator

from pipeline.dataset import Dataset, DatasetStage, Verdict
from pipeline.errors import RunError
from pipeline.plan import Job, Plan
from pipeline.records import Reject
from pipeline.stage import Context
from pipeline.store import Report, Store
from pipeline.worker import Outcome


def decide(plan: Plan, job: Job, store: Store, data: Dataset[object]) -> Iterator[Outcome]:
    """Commits the verdicts of the shards that have none, lowest first. After a kill the decision is taken again: it
    depends on nothing but the rows before it, so the shards fit together."""
    assert isinstance(job.stage, DatasetStage)
    ctx = Context(job.name, plan.config.name, plan.config.seed, job.fingerprint, engines={})
    done, shard, began = store.done(job.name), -1, time.monotonic()
    for shard, rows in enumerate(job.stage.decide(data, ctx)):
        if shard not in done:
            report = _report(rows, ctx.counts if shard == 0 else {})  # what is counted of the whole stands in the first
            store.write(job.name, shard, {Verdict: rows, Reject: []}, report)
            yield Outcome(job.name, shard, report, time.monotonic() - began)
        began = time.monotonic()
    if shard + 1 != data.n_shards:
        raise RunError(f"job {job.name} decided about {shard + 1} of {data.n_shards} shards")


def _report(rows: list[Verdict], of_all: dict[str, int]) -> Report:
    """A dropped row is no reject: dropping is what the stage is for."""
    told = Counter(f"{'kept' if v.keep else f'dropped_{v.reason}'}:{v.subject}" for v in rows)
    told.update(f"hits:{hit}" for v in rows for hit in v.hits or ())
    counts = {**of_all, **told}
    n = len(rows)
    return {"rows_in": n, "kept": n, "rejected": 0, "rows_out": n, "tokens": 0, "counts": dict(sorted(counts.items()))}
