"""A run as one page to look at: what was made, how surely, at what cost, and pairs to read. Opens from disk, loads nothing."""

from __future__ import annotations

import itertools
import json
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pipeline.alone import tell_alone
from pipeline.drawing import printable
from pipeline.errors import PlanError
from pipeline.histogram import ends, histogram, steps
from pipeline.page import Axis, Curve, Markup, article, page, paragraph, plot, ranked, row, table
from pipeline.pair import Pair
from pipeline.records import Judgment, Message
from pipeline.report import events, gather, open_run
from pipeline.store import Store
from pipeline.survey import Sample, Survey, some, survey
from pipeline.timeline import Timeline, timeline

MOST = 20  # reasons of a job
LONGEST = 6000  # characters of a text to read
LEFT_OUT = ("reject", "refused", "dropped", "no_pair", "skipped", "lost", "capped")
UNITS = {"seconds": "seconds of work, summed over shards", "tokens": "generated tokens", "requests": "requests"}
MEASURES = {
    "score_gap": "score of the chosen arm less that of the rejected one, 0 to 1",
    "margin_logit": "calibrated margin, logits",
    "strength": "strength of the preference",
}


def write_page(path: str, to: str | None = None) -> str:
    """Makes the page of the run at `path`: report.html in its folder, or the file `to`. Returns where it lies.

    Raises PlanError: there is no run, or the file cannot be written.
    """
    plan, store, n_shards = run = open_run(path)
    data, found = gather(path), survey(plan, store, n_shards)
    judges = _judges(run) if any(Judgment in job.stage.makes() for job in plan.jobs.values()) else None
    text = report_page(data, found, judges, timeline(plan.jobs, events(store)))
    file = to or f"{path.rstrip('/')}/report.html"
    place, _, name = file.rpartition("/")
    try:
        Store(place or ("/" if file.startswith("/") else ".")).write_text(text, name)
    except OSError as error:
        raise PlanError(
            f"{file} cannot be written: {error.strerror or error}; choose another by --to FILE.html"
        ) from None
    return file


def _judges(run: Any) -> Mapping[str, Any] | None:
    """The measures of the audit, of the shards that are looked into; None where nothing is finished."""
    try:
        files, _ = tell_alone(run, {"stage": "audit"}, some)
    except PlanError:
        return None
    found: Mapping[str, Any] = json.loads(files["audit.json"])
    return found


def report_page(data: Mapping[str, Any], found: Survey, judges: Mapping[str, Any] | None, times: Timeline) -> str:
    """The document, of what `gather`, `survey`, the audit and `timeline` found."""
    jobs = data["jobs"]
    some_only = f"; {found.shards:,} of {found.n_shards:,} shards were looked into" * (found.shards < found.n_shards)
    pairs = sum(job["rows_out"] for name, job in jobs.items() if name in {key[0] for key in found.sources})
    sections = [
        ("Jobs", _jobs(data)),
        ("Pairs", _pairs(found)),
        ("Scores", _scores(found)),
        ("Agreement", _agreement(found, judges)),
        ("What was left out, and why", _left_out(jobs)),
        ("Throughput", _throughput(times)),
        ("Cost by stage", _cost(data)),
        ("Pairs to read", _samples(found)),
    ]
    lead = f"{jobs[next(iter(jobs))]['rows_out']:,} prompts, {pairs:,} pairs, {data['n_shards']:,} shards{some_only}."
    return page(f"Run {data['run']}", lead, *sections)


def _jobs(data: Mapping[str, Any]) -> Markup:
    header = ("job", "shards", "rows in", "kept", "rejected", "rows out")
    rows = [
        (n, f"{j['shards']:,}/{data['n_shards']:,}", j["rows_in"], j["kept"], j["rejected"], j["rows_out"])
        for n, j in data["jobs"].items()
    ]
    return table(header, rows, [(r, 4) for r, each in enumerate(rows) if each[4]])


def _pairs(found: Survey) -> Markup:
    if not found.pairs:
        return paragraph("None so far.")
    kinds = table(("job", "kind", "level", "label from", "pairs"), [(*k, n) for k, n in sorted(found.sources.items())])
    margins = [
        histogram(MEASURES[measure], "", {job: spread.kept for job, spread in spreads.items()})
        for measure, spreads in found.margins.items()
    ]
    told = ", ".join(f"{name} in {n / found.pairs:.0%}" for name, n in found.longer.most_common())
    lengths = histogram("length of the arms", "characters", {k: s.kept for k, s in found.lengths.items()}, low=0)
    return (
        kinds + row(*margins, lengths) + paragraph(f"Against the rejected arm, the chosen one is {told} of the pairs.")
    )


def _scores(found: Survey) -> Markup:
    drawn = [
        histogram(job, "value", {name: s.kept for name, s in scores.by_aspect.items()}, scores.low, scores.high)
        for job, scores in found.scores.items()
        if any(s.n for s in scores.by_aspect.values())
    ]
    return row(*drawn) if drawn else paragraph("No job of this run judges.")


def _agreement(found: Survey, judges: Mapping[str, Any] | None) -> Markup:
    drawn = ""
    if judges and judges["judges"]:
        names = (
            "calls",
            "parse_rate",
            "order_consistency",
            "position_bias",
            "agreement",
            "outcome_agreement",
            "length_lean",
        )
        rows = [(judge, *(measured[name] for name in names)) for judge, measured in judges["judges"].items()]
        drawn = table(("judge", *(name.replace("_", " ") for name in names)), rows) + paragraph(
            "Agreement with other judges, and with verified outcomes; ties count half. The command audit says more."
        )
    if found.agreement:
        votes = {job: spread.kept for job, spread in found.agreement.items()}
        drawn += row(histogram("votes for the chosen arm, as a share", "", votes, 0, 1))
    return drawn or paragraph("No two judges spoke of the same answers.")


def _left_out(jobs: Mapping[str, Any]) -> Markup:
    drawn = []
    for name, job in jobs.items():
        reasons = {
            text.replace("_", " ").replace(":", ": "): n
            for text, n in sorted(job["counts"].items(), key=lambda item: -item[1])
            if text.split(":")[0] in LEFT_OUT and n and not _told_twice(text, job["counts"])
        }
        if reasons:
            drawn.append(ranked(name, dict(list(reasons.items())[:MOST])))
    return row(*drawn) if drawn else paragraph("Nothing.")


def _told_twice(text: str, counts: Mapping[str, int]) -> bool:
    """Whether a reject row is counted as a refusal, too."""
    return text.startswith("reject:") and f"refused:{text.split(':', 2)[2]}" in counts


def _throughput(times: Timeline) -> Markup:
    if not any(any(rates.rows) for rates in times.jobs.values()):
        return paragraph("The run's log does not say what its shards did.")
    x = Axis("seconds at work", 0, ends(0, times.seconds)[1])
    asking = [name for name, rates in times.jobs.items() if any(rates.requests) or any(rates.tokens)]
    names = [*asking, *(name for name in times.jobs if name not in asking)]  # a job has one colour in all plots
    begun = [Curve("engines up", [(at, 0), (at, math.inf)], dashed=True) for at in times.engines_up[:1]]
    done = [Curve(name, _grown(times.jobs[name].rows, times.seconds)) for name in names]
    drawn = [plot("rows done, as a share", x, Axis("", 0, 1), [*done, *begun])]
    for what in ("tokens", "requests"):
        rates = {name: getattr(times.jobs[name], what) for name in asking}
        top = ends(0, max((value for rate in rates.values() for value in rate), default=0))[1]
        curves = [Curve(name, list(steps(rate, 0, times.seconds))) for name, rate in rates.items()]
        if any(any(rate) for rate in rates.values()):
            drawn.append(plot(f"{UNITS[what]} a second", x, Axis("", 0, top), [*curves, *begun]))
    again = f" {len(times.starts)} starts, one after the other." if len(times.starts) > 1 else ""
    return row(*drawn) + paragraph(f"What a shard did is spread over the time it took.{again}")


def _grown(rates: Sequence[float], seconds: float) -> Sequence[tuple[float, float]]:
    """How much of all that was done was done by then."""
    whole = sum(rates) or 1
    sums = itertools.accumulate(rates, initial=0.0)
    return [(i * seconds / len(rates), done / whole) for i, done in enumerate(sums)]


def _cost(data: Mapping[str, Any]) -> Markup:
    drawn = []
    for key, caption in UNITS.items():
        values = {name: job[key] for name, job in data["jobs"].items() if job[key]}
        drawn += [ranked(caption, values)] if values else []
    engines: defaultdict[str, defaultdict[str, float]] = defaultdict(lambda: defaultdict(float))
    for start in data["starts"]:
        for alias, stats in start["engines"].items():
            for name, value in stats.items():
                engines[alias][name] += value
    names = sorted({name for stats in engines.values() for name in stats})
    rows = [(alias, *(round(stats[name]) for name in names)) for alias, stats in engines.items()]
    return row(*drawn) + (table(("engine", *(n.replace("_", " ") for n in names)), rows) if rows else "")


def _samples(found: Survey) -> Markup:
    drawn = [_sample(sample) for kept in found.samples.values() for sample in kept]
    return "".join(drawn) if drawn else paragraph("None so far.")


def _sample(sample: Sample) -> Markup:
    pair = sample.pair
    reference = sample.prompt.reference if sample.prompt else None
    asked = [("prompt", told(pair.prompt_messages))]
    if reference is not None:
        asked.append(("reference", readable(reference)))
    if pair.rejected_prompt_messages:
        asked.append(("prompt of the rejected arm", told(pair.rejected_prompt_messages)))
    if pair.assistant_prefix:
        asked.append(("both begin", readable(pair.assistant_prefix)))
    arms = [("chosen", told(pair.chosen_messages)), ("rejected", told(pair.rejected_messages))]
    heading = f"rationale: A is the {sample.named} one" if sample.named else "rationale"
    reasons = [(heading, readable(sample.rationale))] if sample.rationale else []
    return article(
        f"{sample.job}: {pair.kind}, prompt {pair.prompt_id[:12]}", ", ".join(_why(pair)), asked, arms, reasons
    )


def _why(pair: Pair) -> Iterable[str]:
    """What the label stands on, in a few words each."""
    yield f"{pair.level}, label from {pair.label_source}"
    if pair.chosen_score is not None and pair.rejected_score is not None:
        yield f"scores {pair.chosen_score:.3g} over {pair.rejected_score:.3g}"
    for name, value in (("gap", pair.score_gap), ("margin", pair.margin_logit), ("strength", pair.strength)):
        if value is not None:
            yield f"{name} {value:.3g}"
    if pair.votes is not None:
        yield f"votes {pair.votes.chosen} to {pair.votes.rejected}"
    if pair.selection is not None:
        picked = pair.selection
        yield f"{picked.strategy}: {picked.chosen_rank} over {picked.rejected_rank} of {picked.n_candidates}"
    if pair.tree is not None and pair.tree.rule:
        yield f"tree rule {pair.tree.rule}"
    yield from pair.flags or ()


def told(messages: Sequence[Message]) -> str:
    """Turns as text; a single user or assistant turn needs no name."""
    named = len(messages) > 1 or any(m.role not in ("user", "assistant") for m in messages)
    return readable("\n".join(f"{m.role}: {m.content}" if named else m.content for m in messages))


def readable(text: str) -> str:
    """A text as it may be shown, cut where it is very long."""
    rest = len(text) - LONGEST
    return printable(text if rest <= 0 else f"{text[:LONGEST]} … ({rest:,} characters more)")
