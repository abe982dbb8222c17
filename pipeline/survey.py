"""What the shards of a run hold, in memory that does not grow with the run: spreads of numbers, counts, pairs to read.

Of a large run SHARDS shards are looked into, evenly spread, one at a time. A spread keeps a sample of its numbers, drawn
by a fixed seed: the same run gives the same page.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random

from pipeline.pair import Pair
from pipeline.plan import Job, Plan
from pipeline.records import Judgment, Message, Prompt, Rationale
from pipeline.store import Store

SHARDS = 256  # looked into at most
NUMBERS = 4096  # kept of a spread
NAMES = 8  # of things told apart in one plot; what comes after them is "others"
TO_READ = 3  # pairs to read of each kind and job
KINDS = 12  # kinds of pairs to read


class Spread:
    """Numbers as they come: how many, and a uniform sample of them."""

    def __init__(self) -> None:
        self.n = 0
        self.kept: list[float] = []
        self._drawn = Random(0)

    def add(self, value: float) -> None:
        """One more number; one that is not finite is left out."""
        if not math.isfinite(value):
            return
        self.n += 1
        if len(self.kept) < NUMBERS:
            self.kept.append(value)
        elif (place := self._drawn.randrange(self.n)) < NUMBERS:
            self.kept[place] = value


Spreads = defaultdict[str, Spread]


@dataclass
class Scores:
    """What the judgments of one job say: a spread for each aspect, and the ends of the scale."""

    by_aspect: Spreads = field(default_factory=lambda: defaultdict(Spread))
    low: float = math.inf
    high: float = -math.inf

    def add(self, row: Judgment) -> None:
        """One judgment that has a value."""
        if row.value is not None:
            of = row.aspect if row.mode == "aspect" and row.aspect else row.mode
            self.by_aspect[told_apart(self.by_aspect, of)].add(row.value)
            self.low, self.high = min(self.low, row.scale_min), max(self.high, row.scale_max)


@dataclass
class Sample:
    """A pair to read, with its prompt and the rationale that passed the gate, where there is one."""

    job: str
    pair: Pair
    prompt: Prompt | None
    rationale: str | None = None
    named: str = ""  # which arm the rationale calls A


@dataclass
class Survey:
    """What was found. margins: measure -> job -> spread. lengths: characters of the arms, "chosen" and "rejected"."""

    shards: int = 0
    n_shards: int = 0
    pairs: int = 0
    scores: dict[str, Scores] = field(default_factory=dict)
    margins: dict[str, Spreads] = field(default_factory=dict)
    lengths: Spreads = field(default_factory=lambda: defaultdict(Spread))
    longer: Counter[str] = field(default_factory=Counter)  # of the chosen arm: longer, shorter, as long
    agreement: Spreads = field(default_factory=lambda: defaultdict(Spread))  # job -> share of the votes
    sources: Counter[tuple[str, str, str, str]] = field(default_factory=Counter)  # job, kind, level, label source
    samples: dict[tuple[str, str], list[Sample]] = field(default_factory=dict)


def told_apart(known: Mapping[str, object], name: str) -> str:
    """`name`, as long as there are not too many names."""
    return name if name in known or len(known) < NAMES else "others"


def some(shards: Iterable[int]) -> Sequence[int]:
    """At most SHARDS of them, evenly spread."""
    found = sorted(shards)
    step = max(1.0, len(found) / SHARDS)
    return [found[int(i * step)] for i in range(min(len(found), SHARDS))]


def survey(plan: Plan, store: Store, n_shards: int) -> Survey:
    """Looks into the finished shards of every job that judges, pairs or explains."""
    last = Job("report", plan.source.stage, tuple(plan.jobs), {})
    done = {name: store.done(name) for name in plan.jobs}
    pairing, explaining = plan.makers(last, Pair), plan.makers(last, Rationale)
    judging = [job for job in plan.jobs.values() if Judgment in job.stage.makes()]
    shards = some(set().union(*(done[job.name] for job in (*pairing, *judging))))
    found = Survey(len(shards), n_shards)
    for shard in shards:
        for job in (job for job in judging if shard in done[job.name]):
            scores = found.scores.setdefault(job.name, Scores())
            for row in store.read(job.name, Judgment, shard, main=job.table is Judgment):
                scores.add(row)
        fresh: list[Sample] = []
        for job in (job for job in pairing if shard in done[job.name]):
            for pair in store.read(job.name, Pair, shard, main=job.table is Pair):
                fresh += _pair(found, job.name, pair)
        _complete(plan, store, [job for job in explaining if shard in done[job.name]], shard, fresh)
    return found


def _pair(found: Survey, job: str, pair: Pair) -> list[Sample]:
    """Books a pair; returns it where it is one of those to read: those with the lowest ids, which are hashes."""
    found.pairs += 1
    found.sources[job, pair.kind, pair.level, pair.label_source] += 1
    for measure in ("score_gap", "margin_logit", "strength"):
        if (value := getattr(pair, measure)) is not None:
            spreads = found.margins.setdefault(measure, defaultdict(Spread))
            spreads[told_apart(spreads, job)].add(value)
    chosen, rejected = length(pair.chosen_messages), length(pair.rejected_messages)
    found.lengths["chosen"].add(chosen)
    found.lengths["rejected"].add(rejected)
    found.longer["longer" if chosen > rejected else "shorter" if chosen < rejected else "as long"] += 1
    if pair.agreement is not None:
        found.agreement[told_apart(found.agreement, job)].add(pair.agreement)
    kind = job, pair.kind
    if kind not in found.samples and len(found.samples) >= KINDS:
        return []
    kept = found.samples.setdefault(kind, [])
    if len(kept) >= TO_READ and pair.pair_id >= kept[-1].pair.pair_id:
        return []
    kept.append(sample := Sample(job, pair, None))
    kept.sort(key=lambda one: one.pair.pair_id)
    del kept[TO_READ:]
    return [sample]


def _complete(plan: Plan, store: Store, explaining: Sequence[Job], shard: int, fresh: Sequence[Sample]) -> None:
    """Gives the pairs that this shard brought their prompts and rationales."""
    if not fresh:
        return
    prompts = {p.prompt_id: p for p in store.read(plan.source.name, Prompt, shard, main=True)}
    reasons: dict[str, Rationale] = {}
    for job in explaining:
        for row in store.read(job.name, Rationale, shard, main=job.table is Rationale):
            if row.status == "ok" and row.text:
                reasons.setdefault(row.pair_id, row)
    for sample in fresh:
        sample.prompt = prompts.get(sample.pair.prompt_id)
        sample.rationale = sample.pair.rationale
        if (reason := reasons.get(sample.pair.pair_id)) is not None:
            sample.rationale, sample.named = reason.text, ("chosen", "rejected")[reason.shown_order]


def length(messages: Sequence[Message]) -> int:
    """Characters of an arm."""
    return sum(len(message.content) for message in messages)
