"""What happened in a run, read back from its shards' footers and its log: nothing here is kept anywhere else."""

from __future__ import annotations

import contextlib
import io
import json
import sys
from collections import Counter
from collections.abc import Iterator
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from pipeline.errors import PlanError, RunError
from pipeline.lock import is_locked
from pipeline.plan import Plan, make_plan
from pipeline.store import Store
from pipeline.totals import all_totals


def open_run(path: str) -> tuple[Plan, Store, int]:
    """Plan, store and number of shards of a run's folder, as it was made: nothing outside the folder is looked at.

    Raises PlanError when there is no run.
    """
    store = Store(path.rstrip("/"))
    config = store.read_text("run.json")
    if config is None:
        raise PlanError(f"no run at {path}: it has no run.json; give the folder of a run, such as runs/quickstart")
    recipes = {name: store.read_text(name, "job.json") for name in store.names()}
    try:
        plan = make_plan(
            json.loads(config), {name: json.loads(text)["recipe"] for name, text in recipes.items() if text}
        )
        index = json.loads(store.read_text(plan.source.name, "index.json") or '{"slices": []}')
    except (ValueError, KeyError, PlanError) as error:
        raise PlanError(f"{path} is not a run this version can read: {error}") from None
    return plan, store, len(index["slices"])


def events(store: Store) -> Iterator[dict[str, Any]]:
    """What the logs of a run tell, in order."""
    for name in store.names():
        if name.startswith("log") and name.endswith(".jsonl"):
            with (
                store.fs.open_input_stream(store.path(name)) as stream,
                io.TextIOWrapper(stream, "utf-8", "replace") as lines,
            ):
                for line in lines:
                    with contextlib.suppress(ValueError):  # the last one of a driver that was killed while it wrote
                        yield json.loads(line)


def gather(path: str) -> dict[str, Any]:
    """The report as JSON-like data: per job rows, tokens, requests, seconds, counts; per start its seconds and engines."""
    plan, store, n_shards = open_run(path)
    seconds: Counter[str] = Counter()
    requests: Counter[str] = Counter()
    starts: list[dict[str, Any]] = []
    for event in events(store):
        if event["event"] == "shard":
            seconds[event["job"]] += event["seconds"]
            requests[event["job"]] += event.get("requests", 0)
        elif event["event"] == "end":
            starts.append({k: v for k, v in event.items() if k != "event"})
    jobs = {}
    for name, totals in all_totals(store, list(plan.jobs)).items():
        spent = {"seconds": round(seconds[name], 1), "requests": requests[name]}
        jobs[name] = {**totals.numbers(), "counts": dict(sorted(totals.counts.items())), **spent}
    return {"run": plan.config.name, "n_shards": n_shards, "jobs": jobs, "starts": starts}


def print_status(path: str) -> None:
    """Per job: shards done and left."""
    plan, store, n_shards = open_run(path)
    for name in plan.jobs:
        done = len(store.done(name))
        print(f"{name:24} {done:6}/{n_shards} shards  {'done' if n_shards and done == n_shards else 'open'}")
    print("a driver works on it" if is_locked(store) else "nobody works on it")


def print_report(path: str, as_json: bool = False) -> None:
    """Prints the report, and leaves it as report.json in the run."""
    data = gather(path)
    store = Store(path.rstrip("/"))
    text = json.dumps(data, indent=1, sort_keys=True)
    with contextlib.suppress(OSError, RunError):  # a run that may only be read, or a full disk
        store.write_text(text, "report.json")
    if as_json:
        print(text)
        return
    console = Console(file=sys.stdout, highlight=False, width=None if sys.stdout.isatty() else 120)
    console.print(_jobs_table(data))
    for name, job in data["jobs"].items():
        if lines := _count_lines(job["counts"]):
            console.print(f"[bold]{name}[/bold]")
            for line in lines:
                console.print(f"  {line}", markup=False)
    for start in data["starts"][-1:]:
        console.print(
            f"last start: {start['seconds']:.0f} s" + (f", {start['error']}" if start["error"] else ""), markup=False
        )
        for alias, stats in start["engines"].items():
            console.print(f"  engine {alias}: " + ", ".join(f"{k} {v:,.0f}" for k, v in stats.items()), markup=False)
    _print_datasets(console, path, data)


def _jobs_table(data: dict[str, Any]) -> Table:
    table = Table(title=f"run {data['run']}", title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for column in ("job", "shards", "rows in", "kept", "rejected", "rows out", "tokens", "seconds"):
        table.add_column(column, justify="left" if column == "job" else "right", no_wrap=column == "job")
    for name, job in data["jobs"].items():
        numbers = (job["rows_in"], job["kept"], job["rejected"], job["rows_out"], job["tokens"])
        table.add_row(
            name, f"{job['shards']}/{data['n_shards']}", *(f"{n:,}" for n in numbers), f"{job['seconds']:,.1f}"
        )
    return table


def _count_lines(counts: dict[str, int]) -> list[str]:
    """Counters grouped by what stands before the first colon: `refused: tie 12, margin 3`."""
    groups: dict[str, list[str]] = {}
    for name, n in counts.items():
        head, _, tail = name.partition(":")
        groups.setdefault(head, []).append(f"{tail} {n:,}" if tail else f"{n:,}")
    return [f"{head}: {', '.join(items)}" for head, items in groups.items()]


def _print_datasets(console: Console, path: str, data: dict[str, Any]) -> None:
    plan, _, _ = open_run(path)
    for name, job in plan.jobs.items():
        if job.recipe["stage"] == "export" and data["jobs"][name]["rows_out"]:
            folder = f"{path.rstrip('/')}/{name}"
            rows = data["jobs"][name]["rows_out"]
            console.print(f'{rows:,} rows in {folder}: datasets.load_dataset("{folder}", split="train")', markup=False)
