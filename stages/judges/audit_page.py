"""The audit as a page to look at. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from pipeline.page import Markup, bars, page, paragraph, row, table
from pipeline.stage import Summary
from stages.judges.calibration import wilson_low
from stages.judges.measures import LOWEST, JudgeMeasures, Measures, tables

# What deserves a second look; nothing fails by it (that is what --fail-on is for).
SUSPECT: Mapping[str, float] = {
    "parse_rate": 0.95, "low_mass": 0.1, "order_consistency": 0.8, "position_bias": 1.0, "agreement": 0.6,
    "outcome_agreement": 0.7, "given_agreement": 0.7, "length_lean": 0.15, "canary_wins": 0.0,
    "probe_accuracy": 0.7,
}  # fmt: skip
LEFT_OUT = ("refused", "dropped", "no_pair", "reject", "skipped")


def audit_page(summary: Summary, found: Measures) -> str:
    """The document."""
    counts = tables(summary.counts[summary.job])
    return page(
        f"Audit of {summary.run}",
        f"{len(found.judges)} judges, {int(found.pairs['pairs'] or 0):,} pairs, {summary.rows:,} cases to read in the "
        "Parquet beside this page. Values in red deserve a look.",
        ("Judges", _judges(found)),
        ("What they answered", _answers(counts)),
        ("Canaries", _canaries(found)),
        ("Probes", _probes(found)),
        ("Pairs", _pairs(found, counts)),
        ("What was left out, and why", _left_out(summary)),
        ("Some cases", _cases(summary)),
    )


def _judges(found: Measures) -> Markup:
    names = JudgeMeasures.__struct_fields__
    rows = [[judge, *[getattr(m, name) for name in names]] for judge, m in found.judges.items()]
    bad = [
        (r, c)
        for r, values in enumerate(rows)
        for c, name in enumerate(names, 1)
        if isinstance(values[c], float) and _suspect(name, values[c])
    ]
    about = (
        "parse_rate: calls that gave a value. position_bias: preference for the first place, logits. Agreement with other "
        "judges, with verified outcomes, with labels of the input; ties count half. length_lean: longer winners beyond "
        "those of the verified outcomes. canary_wins: planted bad answers that no real one beat. probe_accuracy: planted gold "
        "items told right, of those with an opinion."
    )
    return table(("judge", *[n.replace("_", " ") for n in names]), rows, bad) + paragraph(about)


def _suspect(name: str, value: float) -> bool:
    if name not in SUSPECT:
        return False
    return value < SUSPECT[name] if name in LOWEST else abs(value) > SUSPECT[name]


def _answers(counts: Mapping[str, dict[str, dict[str, int]]]) -> Markup:
    statuses = counts.get("status", {})
    kinds = sorted({what for judge in statuses.values() for what in judge})
    answered = table(("judge", *kinds), [[judge, *[n.get(kind, 0) for kind in kinds]] for judge, n in statuses.items()])
    charts = [
        bars(f"{measure} of {judge}, tenths of its scale", {str(i): n.get(str(i), 0) for i in range(10)})
        for measure in ("value", "mass")
        for judge, n in sorted(counts.get(measure, {}).items())
    ]
    return answered + row(*charts)


def _canaries(found: Measures) -> Markup:
    if not found.canaries:
        return paragraph("None were planted; a job {stage: plant_canaries} after the candidates plants some.")
    kinds = sorted({what for judge in found.canaries.values() for what in judge})
    rows = [[judge, *[n.get(kind, 0) for kind in kinds]] for judge, n in found.canaries.items()]
    bad = [(r, c) for r, n in enumerate(rows) for c, kind in enumerate(kinds, 1) if kind.endswith(" won") and n[c]]
    return table(("judge", *kinds), rows, bad)


def _probes(found: Measures) -> Markup:
    if not found.probes:
        return paragraph(
            "None were planted; a job {stage: plant_probes, path: gold.jsonl} after the candidates plants some."
        )
    kinds = ("same", "tie", "opposite", "silent")
    rows = []
    for judge, n in found.probes.items():
        right, wrong = n.get("same", 0) + n.get("tie", 0) / 2, n.get("opposite", 0) + n.get("tie", 0) / 2
        rows.append([judge, *[n.get(kind, 0) for kind in kinds], wilson_low(right, round(right + wrong))])
    about = (
        "lower bound: of the accuracy, one-sided 95 % (Wilson). Silent probes, where an answer failed, are in no rate."
    )
    return table(("judge", "right", "tie", "wrong", "silent", "lower bound"), rows) + paragraph(about)


def _pairs(found: Measures, counts: Mapping[str, dict[str, dict[str, int]]]) -> Markup:
    rates = table(
        ("measure", "value"),
        [
            (name.replace("_", " "), int(value or 0) if name in ("pairs", "canaries_chosen") else value)
            for name, value in found.pairs.items()
        ],
    )
    gaps, sources, reasons = (counts.get(name, {}).get("", {}) for name in ("gap", "source", "rationale"))
    charts = [bars("score gap, tenths", {str(i): gaps.get(str(i), 0) for i in range(10)})] if gaps else []
    lists = [
        table((name, "number"), sorted(n.items())) for name, n in (("label from", sources), ("rationale", reasons)) if n
    ]
    return rates + row(*charts, *lists)


def _left_out(summary: Summary) -> Markup:
    rows = [
        (job, name.split(":", 1)[0].replace("_", " "), name.split(":", 1)[1], n)
        for job, counts in summary.counts.items()
        for name, n in sorted(counts.items())
        if name.split(":")[0] in LEFT_OUT and job != summary.job
    ]
    return table(("job", "what", "reason", "number"), rows) if rows else paragraph("Nothing.")


def _cases(summary: Summary) -> Markup:
    rows = [(c["what"], c["judge"], c["prompt_id"], c["detail"]) for c in summary.first_rows]
    return table(("what", "judge", "prompt", "detail"), rows) if rows else paragraph("None.")
