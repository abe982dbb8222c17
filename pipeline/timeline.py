"""What a run did when, from its log: rates of each job over the time it was at work. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

SPANS = 60  # that the time is cut into


@dataclass
class Rates:
    """Rows, generated tokens and requests of a job a second, for each span."""

    rows: list[float] = field(default_factory=lambda: [0.0] * SPANS)
    tokens: list[float] = field(default_factory=lambda: [0.0] * SPANS)
    requests: list[float] = field(default_factory=lambda: [0.0] * SPANS)


@dataclass
class Timeline:
    """seconds: of all starts, one after the other; starts, engines_up: when, in that time."""

    seconds: float
    starts: list[float]
    engines_up: list[float]
    jobs: Mapping[str, Rates]


def timeline(jobs: Iterable[str], events: Iterable[Mapping[str, Any]]) -> Timeline:
    """The rates of `jobs`. What a shard did is spread evenly over the time it took; idle time between starts is left out."""
    starts, engines_up, shards, ends = [0.0], list[float](), list[tuple[str, float, float, Mapping[str, Any]]](), 0.0
    for event in events:
        if event["event"] == "start":
            if ends > starts[-1]:
                starts.append(ends)
        elif event["event"] == "end":
            ends = max(ends, starts[-1] + event["seconds"])
        elif "at" in event:
            at = starts[-1] + event["at"]
            ends = max(ends, at)
            if event["event"] == "engines_up":
                engines_up.append(at)
            elif event["event"] == "shard":
                shards.append((event["job"], at - event["seconds"], at, event))
    found = {name: Rates() for name in jobs}
    for name, begun, ended, event in shards:
        if name in found:
            for what in ("rows", "tokens", "requests"):
                _spread(getattr(found[name], what), event.get(what, 0), begun, ended, ends / SPANS)
    return Timeline(ends, starts if ends else [], engines_up, found)


def _spread(rates: list[float], amount: float, begun: float, ended: float, width: float) -> None:
    """Adds `amount`, done between two moments, to the rates of the spans of `width` seconds that it touches."""
    begun = max(0.0, min(begun, ended - 1e-9))
    first, last = int(begun / width), min(SPANS - 1, int(ended / width))
    for i in range(min(first, last), last + 1):
        inside = min(ended, (i + 1) * width) - max(begun, i * width)
        rates[i] += amount * max(inside, 0.0) / (ended - begun) / width
