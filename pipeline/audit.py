"""The health of a run's judges and labels, and whether it keeps within bounds: the audit stage, run alone."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence

from pipeline.alone import run_alone
from pipeline.errors import AuditFailed, PlanError
from pipeline.report import open_run
from pipeline.store import Store

_BOUND = re.compile(r"\s*(\w+)\s*([<>])\s*(-?\d+(?:\.\d+)?)\s*")


def audit(path: str, folder: str | None, bounds: Sequence[str]) -> None:
    """Audits every finished shard of the run at `path` and prints the worst values over its judges.

    folder: where rows, audit.json and audit.html go; default: the run's folder `audited`, made anew. bounds:
    `parse_rate<0.98` fails when the parse rate lies below. Raises PlanError, and AuditFailed where a bound is crossed.
    """
    run = open_run(path)
    if folder is None:
        folder = f"{path.rstrip('/')}/audited"
        if run[1].names("audited"):
            run[1].remove("audited")
    told, _ = run_alone(run, folder, {"stage": "audit"})
    worst: dict[str, float | None] = json.loads(Store(folder).read_text("audit.json") or "{}")["worst"]
    failed = crossed(bounds, worst)
    print(told)
    for name, value in worst.items():
        print(f"  {name}: {'–' if value is None else f'{value:.3f}'}")
    print(f"look at {folder}/audit.html")
    if failed:
        raise AuditFailed(f"audit of {path}: {'; '.join(failed)}")


def crossed(bounds: Sequence[str], worst: Mapping[str, float | None]) -> list[str]:
    """The bounds that are crossed. A measure that this run has nothing to measure by crosses none.

    Raises PlanError for a bound that is none.
    """
    found = []
    for bound in bounds:
        parts = _BOUND.fullmatch(bound)
        if parts is None or parts[1] not in worst:
            raise PlanError(
                f"--fail-on {bound!r}: write MEASURE<NUMBER or MEASURE>NUMBER; measures: {', '.join(worst)}"
            )
        value, limit = worst[parts[1]], float(parts[3])
        if value is not None and (value < limit if parts[2] == "<" else value > limit):
            found.append(f"{parts[1]} is {value:.3f}, bound {bound.strip()}")
    return found
