"""The dataset card: a README.md that says what the rows are, what became of how many, and how to load them. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from pipeline.stage import Summary

LONGEST = 1200  # characters of a text in the examples
SIZES = (
    (1_000, "n<1K"),
    (10_000, "1K<n<10K"),
    (100_000, "10K<n<100K"),
    (1_000_000, "100K<n<1M"),
    (10_000_000, "1M<n<10M"),
)
EXPORTED = ("pair", "trace", "ranking", "thumb")  # what an export reads
REASONS = {
    "refused": "refused",
    "no_pair": "prompt without a pair",
    "dropped": "candidate left out",
    "reject": "rejected",
}


class About(NamedTuple):
    """What the card says of the format: its name, what its file says of it, column -> meaning, how a trainer reads it."""

    format: str
    text: str
    columns: Mapping[str, str]
    usage: str
    license: str


def card(summary: Summary, about: About) -> str:
    """The card's text. Model text stands only inside fences longer than any it contains."""
    recipes = {
        job: {name: value for name, value in recipe.items() if name not in ("templates", "inputs")}
        for job, recipe in summary.recipes.items()
    }
    parts = [
        front_matter(summary, about.license),
        f"# {summary.run}",
        f"{summary.rows:,} rows in the format `{about.format}`. {about.text.strip()}",
        "## Load",
        fenced(about.usage, "python"),
        "Any reader of Parquet opens the shards as they lie.",
        "## Columns",
        table(("column", "meaning"), list(about.columns.items())),
        "## From prompts to rows",
        table(("job", "in", "out"), [
            (name, f"{counts.get('rows_in', 0):,}", f"{counts.get('rows_out', 0):,}")
            for name, counts in summary.counts.items()
        ]),
        "In: prompts (or rows of the input) that the job read. Out: rows of its table.",
        "## What was left out, and why",
        table(("job", "what", "reason", "number"), reasons(summary.counts)),
        "## Recipe",
        f"Licence: {cell(about.license)}. The licences of the input and of the models that answered apply as well.",
        fenced(json.dumps(recipes, indent=1, ensure_ascii=False), "json"),
        "## Examples",
        *(fenced(json.dumps(shortened(row), indent=1, ensure_ascii=False), "json") for row in summary.first_rows[:2]),
    ]  # fmt: skip
    return "\n\n".join(parts) + "\n"


def front_matter(summary: Summary, license_name: str) -> str:
    """The YAML head that the hub and `load_dataset` read. Strings are quoted as JSON, which YAML accepts."""
    size = next((name for limit, name in SIZES if summary.rows < limit), "n>10M")
    return "\n".join([
        "---",
        f"pretty_name: {json.dumps(summary.run)}",
        f"license: {json.dumps(license_name)}",
        "task_categories:",
        "- text-generation",
        "tags:",
        *(f"- {tag}" for tag in ("preference", "dpo", "rlhf", "synthetic", "trl", "prefsynth")),
        "size_categories:",
        f"- {json.dumps(size)}",
        "configs:",
        "- config_name: default",
        "  data_files:",
        "  - split: train",
        '    path: "[0-9]*.parquet"',
        "---",
    ])  # fmt: skip


def reasons(jobs: Mapping[str, Mapping[str, int]]) -> list[tuple[str, str, str, str]]:
    """(job, what, reason, number) of everything that was counted as left out, most first within a job."""
    found = []
    for job, counts in jobs.items():
        own = []
        for name, n in counts.items():
            what, _, reason = name.partition(":")
            if what == "reject":
                subject, _, reason = reason.partition(":")
                if subject in EXPORTED:
                    continue  # counted as refused
                own.append((-n, f"{subject} rejected", reason))
            elif what in REASONS and reason:
                own.append((-n, REASONS[what], reason))
        found += [(job, what, reason, f"{-n:,}") for n, what, reason in sorted(own)]
    return found


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    if not rows:
        return "Nothing."
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cell(c) if line is not lines[1] else c for c in line)} |" for line in lines)


def cell(text: str) -> str:
    """Text that cannot end a table cell or start markup."""
    return re.sub(r"([\\|`<>\[\]*])", r"\\\1", " ".join(text.split()))


def fenced(text: str, language: str) -> str:
    """A code block whose fence is longer than any run of backticks inside."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text.rstrip()}\n{fence}"


def shortened(value: Any) -> Any:
    """The row with long texts cut."""
    if isinstance(value, str):
        return value if len(value) <= LONGEST else f"{value[:LONGEST]} … ({len(value):,} characters)"
    if isinstance(value, dict):
        return {name: shortened(inner) for name, inner in value.items()}
    return [shortened(inner) for inner in value] if isinstance(value, (list, tuple)) else value
