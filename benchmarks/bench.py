"""`make bench`: runs one table or all and merges every figure into benchmarks/results.json.

Each module of this folder with a `run(...) -> list[Figure]` is a table: `make bench ARGS="framework"`. Its parameters, which
are numbers, may be given: `make bench ARGS="faults:kills=400,seed=2"`.
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
    "driver_load",
    "resume",
    "replicas",
    "quickstart",
    "abacus",
    "rationales",
    "label_repair",
    "injection",
    "loops",
    "aggregate",
    "search_speed",
    "search_cost",
    "search_quality",
    "instructions",
    "constructed_pairs",
    "instruction_labels",
    "context_labels",
    "judge_labels",
    "kinds",
    "curation",
    "exports",
    "journal_cost",
    "learning",
)
LONG = ("faults", "soak")  # when they are named


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


def asked(text: str) -> tuple[str, dict[str, int]]:
    """`faults:kills=400,seed=2` -> the table's name and what its `run` is given."""
    name, _, given = text.partition(":")
    if name not in TABLES + LONG:
        raise argparse.ArgumentTypeError(f"no table {name!r}; tables: {', '.join(TABLES + LONG)}")
    try:
        return name, {key: int(value) for key, value in (pair.split("=") for pair in given.split(",") if pair)}
    except ValueError:
        raise argparse.ArgumentTypeError(f"{given!r} is not of the form kills=400,seed=2") from None


def main() -> None:
    """Runs the named tables, or all of them, and prints what is known then."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "tables", nargs="*", type=asked, help=f"{', '.join(TABLES + LONG)}; default: all but {', '.join(LONG)}"
    )
    parser.add_argument("--show", action="store_true", help="print the results that are there, measure nothing")
    options = parser.parse_args()
    if not options.show:
        for name, given in options.tables or [asked(table) for table in TABLES]:
            module = importlib.import_module(f"benchmarks.{name}")
            values = ",".join(f"{k}={v}" for k, v in given.items())
            merge(module.run(**given), f"make bench ARGS={name}{':' * bool(values)}{values}")
    show()


if __name__ == "__main__":
    main()
