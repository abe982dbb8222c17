"""Which candidates meet: pairs to be compared, in rounds where the next depends on the last (spec judges C3 J3). Pure.

A schedule is a generator: it yields the pairs of a round and is sent their results, P(first is better) where both
orders were answered. Pairs are in canonical order, the smaller id first, so that nothing depends on who is listed first.
"""

from __future__ import annotations

import itertools
from collections.abc import Generator, Mapping, Sequence

from pipeline import ids

Duel = tuple[str, str]
Results = Mapping[Duel, float]
Schedule = Generator[list[Duel], Results, None]


def duel(a: str, b: str) -> Duel:
    """The pair in canonical order."""
    return (a, b) if a < b else (b, a)


def drawn(candidates: Sequence[str], *purpose: str | int) -> list[str]:
    """`candidates` in an order that depends on them and `purpose` alone: the seeds of a tournament without scores."""
    order = sorted(candidates)
    ids.stream("schedule", *purpose).shuffle(order)
    return order


def in_one_round(duels: Sequence[Duel]) -> Schedule:
    """All pairs at once."""
    yield list(duels)


def every_duel(seeds: Sequence[str]) -> list[Duel]:
    """Each against each; those of the first seeds first, where a budget cuts."""
    return sorted(
        (duel(a, b) for a, b in itertools.combinations(seeds, 2)), key=lambda d: sum(map(seeds.index, d))
    )  # fmt: skip


def shortlist(scores: Mapping[str, float], close: float) -> list[Duel]:
    """Pairs that decide what becomes of a pool, by earlier scores on [0, 1]: the most useful first.

    Best against worst, the two best, the two worst, the other pairs of these four, then neighbours whose scores differ
    by less than `close`, the closest first.
    """
    ranked = sorted(scores, key=lambda c: (-scores[c], c))
    top, bottom = ranked[:2], ranked[2:][-2:][::-1] or ranked[1:2]
    ends = [top[:1] + bottom[:1], top, bottom, top[:1] + bottom[1:], top[1:] + bottom[:1], top[1:] + bottom[1:]]
    neighbours = [(scores[a] - scores[b], a, b) for a, b in itertools.pairwise(ranked)]
    calls = sorted(n for n in neighbours if n[0] < close)
    found = [duel(*end) for end in ends if len(set(end)) == 2] + [duel(a, b) for _, a, b in calls]
    return list(dict.fromkeys(found))


def knockout(seeds: Sequence[str]) -> Schedule:
    """Who wins goes on, the first seeds against the last; without a result or at one half the better seed does."""
    left = list(seeds)
    while len(left) > 1:
        half = len(left) // 2
        meetings = list(zip(left[:half], reversed(left[len(left) - half :]), strict=True))
        results = yield [duel(a, b) for a, b in meetings]
        through = [b if share(results, b, a) > 0.5 else a for a, b in meetings]
        left = through + left[half : len(left) - half]  # the middle one of an odd number passes


def swiss(seeds: Sequence[str], rounds: int) -> Schedule:
    """In each round those meet who won alike and have not met; a missing result is half a win for both."""
    points = dict.fromkeys(seeds, 0.0)
    met: set[Duel] = set()
    for _ in range(rounds):
        waiting = sorted(seeds, key=lambda c: (-points[c], seeds.index(c)))
        meetings: list[tuple[str, str]] = []
        while waiting:
            a = waiting.pop(0)
            b = next((other for other in waiting if duel(a, other) not in met), None)
            if b is not None:
                waiting.remove(b)
                meetings.append((a, b))
        if not meetings:
            return
        met |= {duel(a, b) for a, b in meetings}
        results = yield [duel(a, b) for a, b in meetings]
        for a, b in meetings:
            points[a] += share(results, a, b)
            points[b] += share(results, b, a)


def share(results: Results, a: str, b: str) -> float:
    """P(a is better than b) as far as it is known, else one half."""
    p = results.get(duel(a, b), 0.5)
    return p if a < b else 1 - p
