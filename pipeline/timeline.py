"""What a run did when, from its log: rates of each job over the time it was at work. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

SPANS = 128  # that the time is cut into at most; as it grows, two become one, so that memory does not
WHAT = ("rows", "tokens", "requests")


@dataclass
class Rates:
    """Rows, generated tokens and requests of a job a second, for each span."""

    rows: list[float] = field(default_factory=lambda: [0.0] * SPANS)
    tokens: list[float] = field(default_factory=lambda: [0.0] * SPANS)
    requests: list[float] = field(default_factory=lambda: [0.0] * SPANS)


@dataclass
class Timeline:
    """seconds: that the spans cover, of all starts one after the other; starts, engines_up: when, in that time."""

    seconds: float
    starts: list[float]
    engines_up: list[float]
    jobs: Mapping[str, Rates]


def timeline(jobs: Iterable[str], events: Iterable[Mapping[str, Any]]) -> Timeline:
    """The rates of `jobs`. What a shard did is spread evenly over the time it took; idle time between starts is left out."""
    found = {name: Rates() for name in jobs}
    starts, engines_up, width, ends = [0.0], list[float](), 2.0**-6, 0.0
    for event in events:
        if event["event"] == "start":
            if ends > starts[-1]:
                starts.append(ends)
            continue
        at = starts[-1] + event["seconds" if event["event"] == "end" else "at"]
        ends = max(ends, at)
        while ends >= width * SPANS:
            width *= 2
            for rates in found.values():
                _halve(rates)
        if event["event"] == "engines_up":
            engines_up.append(at)
        elif event["event"] == "shard" and event["job"] in found:
            for what in WHAT:
                _spread(getattr(found[event["job"]], what), event.get(what, 0), (at - event["seconds"], at), width)
    spans = math.ceil(ends / width)
    for rates in found.values():
        for what in WHAT:
            setattr(rates, what, getattr(rates, what)[:spans])
    return Timeline(spans * width, starts if ends else [], engines_up, found)


def _halve(rates: Rates) -> None:
    for what in WHAT:
        old = getattr(rates, what)
        new = [(a + b) / 2 for a, b in zip(old[::2], old[1::2], strict=True)]
        setattr(rates, what, new + [0.0] * (SPANS - len(new)))


def _spread(rates: list[float], amount: float, when: tuple[float, float], width: float) -> None:
    """Adds `amount`, done between two moments, to the rates of the spans of `width` seconds that it touches."""
    ended = when[1]
    begun = max(0.0, min(when[0], ended - 1e-9))
    first, last = int(begun / width), int(ended / width)
    for i in range(first, last + 1):
        inside = min(ended, (i + 1) * width) - max(begun, i * width)
        rates[i] += amount * max(inside, 0.0) / (ended - begun) / width
