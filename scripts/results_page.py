"""The page of results: plots and tables of benchmarks/results.json, drawn by the code that draws every other page."""

from __future__ import annotations

import json
from collections.abc import Mapping
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, NamedTuple

from pipeline.histogram import ends
from pipeline.page import Axis, Curve, plot, ranked, row
from scripts.field_tables import escaped

RESULTS = Path(__file__).resolve().parents[1] / "benchmarks" / "results.json"
COST, ENOUGH = "right pairs per 10,000 tokens", 30
RULES = ("all_margin", "bisect", "first_error", "path_extremes", "pivotal", "topk")
Figures = Mapping[str, Mapping[str, Any]]


class Group(NamedTuple):
    """Figures that belong together: a heading, what they say, and the names that they have."""

    heading: str
    about: str
    names: tuple[str, ...]


GROUPS = (
    Group("What it teaches a model", "", ("learning_*",)),
    Group(
        "Are the labels true?",
        "Pairs whose label a program can look up: how often the chosen answer is right and the rejected one wrong.",
        ("label_true_*", "kinds_label_true_*", "context_label*"),
    ),
    Group(
        "Step pairs, by rule and by where values come from",
        "Chosen step right and rejected step wrong, by the knowledge of the problems' generator.",
        ("step_pairs_right*", "first_error_accuracy"),
    ),
    Group("Values of steps", "How well a step's value tells right from wrong ones.", ("auc_*",)),
    Group("Judges", "", ("pandalm_*", "injection_*", "rationale_*", "aggregate_*")),
    Group("Instruction-level pairs", "", ("instruction_*",)),
    Group("Curation", "", ("dedup_*", "decontam*", "balance_*", "split_*", "curation_*", "minhash_*")),
    Group(
        "Speed",
        "",
        ("*_vs_*", "*_per_cpu_second", "prefix_*", "search_cpu_*", "quickstart_*", "throughput_*", "peer_*"),
    ),
    Group(
        "It survives and scales", "", ("faults_*", "soak_*", "replicas_*", "resume_*", "driver_memory_*", "journal_*")
    ),
    Group("The embedded model", "What it can do; its card says what it cannot.", ("abacus_*",)),
    Group("Others", "", ("*",)),
)


def results_page(figures: Figures) -> str:
    """The page as Markdown with figures in it. Every figure stands in the first group that has a name for it."""
    left, parts = dict(figures), []
    for group in GROUPS:
        mine = {name: left.pop(name) for name in list(left) if any(fnmatch(name, n) for n in group.names)}
        if mine:
            parts.append("\n\n".join(p for p in (f"## {group.heading}", group.about, _plots(mine), _table(mine)) if p))
    dates = sorted({str(figure["date"]) for figure in figures.values()})
    lead = (
        f"Measured on two CPU cores without a GPU, {dates[0]} to {dates[-1]}; `make bench` prints and renews them. Plots show "
        "what can be compared: figures of one unit."
    )
    return f"# Results\n\n{lead}\n\n" + "\n\n".join(parts) + "\n"


def _plots(figures: Figures) -> str:
    """Step pairs by what they cost; of others a figure for each unit that three or more have, the largest value first."""
    units: dict[str, dict[str, float]] = {}
    for name, figure in figures.items():
        if COST not in figure["beside"]:
            units.setdefault(str(figure["unit"]), {})[name] = float(figure["value"])
    drawn = [
        ranked(unit, dict(sorted(values.items(), key=lambda item: -item[1])))
        for unit, values in units.items()
        if len(values) >= 3
    ]
    drawn += [_by_cost(found)] if (found := {n: f for n, f in figures.items() if COST in f["beside"]}) else []
    return row(*drawn).replace("\n", "") if drawn else ""


def _by_cost(figures: Figures) -> str:
    """How true step pairs are against how many a token buys: a curve for each rule, a dot for each source of values."""
    rules: dict[str, list[tuple[float, float]]] = {}
    for name, figure in figures.items():
        rule = next((rule for rule in RULES if name.startswith(f"step_pairs_right_{rule}")), None)
        if rule and figure["beside"]["pairs"] >= ENOUGH:
            rules.setdefault(rule, []).append((figure["beside"][COST], figure["value"]))
    points = [point for found in rules.values() for point in found]
    low = min((y for _, y in points), default=0.0)
    return plot(
        f"step pairs, by rule and where values come from ({ENOUGH} pairs or more)",
        Axis(COST, *ends(0, max((x for x, _ in points), default=1.0))),
        Axis("share right", int(low * 20) / 20, 1),
        [Curve(rule, found, dots=True, joined=False) for rule, found in rules.items()],
    )


def _table(figures: Figures) -> str:
    rows = []
    for name, figure in figures.items():
        beside = ", ".join(f"{key} {told(value)}" for key, value in figure["beside"].items())
        cells = (
            f'<a id="{name}"></a>`{name}`', told(figure["value"]), escaped(str(figure["unit"])), escaped(str(figure["wanted"])),
            escaped(beside), f"`{figure['command']}`, {figure['date']}",
        )  # fmt: skip
        rows.append("| " + " | ".join(cells) + " |\n")
    return "| figure | value | unit | wanted | beside | measured by |\n|---|---|---|---|---|---|\n" + "".join(rows)


def told(value: Any) -> str:
    """A number as one would write it."""
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def load() -> Figures:
    """The figures as they were measured last."""
    found: Figures = json.loads(RESULTS.read_text(encoding="utf-8"))
    return found
