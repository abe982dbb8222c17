"""`make bench`: runs one table or all and merges every figure into benchmarks/results.json.

Each module of this folder with a `run(options) -> list[Figure]` is a table: `make bench ARGS="framework"`.
"""

from __future__ import annotations

import argparse
import datetime
import importlib
import json
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.figures import Figure

RESULTS = Path(__file__).with_name("results.json")
TABLES = (
    "framework",
    "throughput",
    "generate_vs_raw",
    "driver_memory",
    "quickstart",
    "abacus",
    "rationales",
    "injection",
    "aggregate",
    "search_speed",
    "search_cost",
    "search_quality",
    "constructed_pairs",
    "instructions",
    "instruction_labels",
    "context_labels",
    "curation",
)


def merge(figures: list[Figure], command: str) -> None:
    """Puts figures into results.json; what was measured before and not now stays."""
    known = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    for figure in figures:
        fields = asdict(figure)
        known[fields.pop("name")] = {**fields, "command": command, "date": today}
    RESULTS.write_text(json.dumps(known, indent=1, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")


def show() -> None:
    """Prints results.json as one table."""
    table = Table(title="benchmarks/results.json", title_justify="left")
    for column in ("figure", "value", "unit", "wanted", "measured on", "beside"):
        table.add_column(column)
    for name, fields in json.loads(RESULTS.read_text(encoding="utf-8")).items():
        beside = ", ".join(f"{k} {v}" for k, v in fields["beside"].items())
        table.add_row(name, f"{fields['value']:g}", fields["unit"], fields["wanted"], fields["date"], beside)
    Console(width=160, highlight=False).print(table)


def main() -> None:
    """Runs the named tables, or all of them, and prints what is known then."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tables", nargs="*", choices=[[], *TABLES], help=f"default: all of {', '.join(TABLES)}")
    parser.add_argument("--show", action="store_true", help="print the results that are there, measure nothing")
    options = parser.parse_args()
    if not options.show:
        for name in options.tables or TABLES:
            module = importlib.import_module(f"benchmarks.{name}")
            merge(module.run(), f"make bench ARGS={name}")
    show()


if __name__ == "__main__":
    main()
