"""Which pairs a schedule asks for."""

from __future__ import annotations

import itertools
import random

from hypothesis import given
from hypothesis import strategies as st

from stages.judges.schedules import Duel, Schedule, drawn, duel, every_duel, in_one_round, knockout, shortlist, swiss

NAMES = [f"c{i:02d}" for i in range(12)]
fields = st.integers(2, 12).map(lambda n: NAMES[:n])


def played(schedule: Schedule, strength: dict[str, float]) -> list[list[Duel]]:
    """The rounds of a schedule in which the stronger always wins."""
    rounds = []
    duels = next(schedule, None)
    while duels:
        rounds.append(duels)
        try:
            duels = schedule.send({(a, b): float(strength[a] > strength[b]) for a, b in duels})
        except StopIteration:
            duels = None
    return rounds


def ranks(names: list[str], seed: int) -> dict[str, float]:
    """A strength for each name, no two alike."""
    return dict(zip(names, random.Random(seed).sample(range(len(names)), len(names)), strict=True))


@given(fields, st.integers(0, 999))
def test_the_best_wins_a_knockout_of_one_meeting_fewer_than_there_are(names: list[str], seed: int) -> None:
    strength = ranks(names, seed)
    rounds = played(knockout(drawn(names, 7)), strength)
    met = [d for duels in rounds for d in duels]
    best = max(names, key=strength.__getitem__)
    assert len(met) == len(names) - 1
    assert best in rounds[-1][0]
    assert {name for d in met for name in d} == set(names)


@given(fields, st.integers(1, 4), st.integers(0, 999))
def test_in_a_swiss_round_everybody_meets_one_new_rival(names: list[str], n: int, seed: int) -> None:
    rounds = played(swiss(drawn(names, 7), n), ranks(names, seed))
    met = [d for duels in rounds for d in duels]
    assert len(rounds) <= n
    assert len(set(met)) == len(met)
    assert len(rounds[0]) == len(names) // 2
    for duels in rounds:
        assert len({name for d in duels for name in d}) == 2 * len(duels)


def test_winners_of_a_swiss_round_meet_winners() -> None:
    strength = {name: -float(i) for i, name in enumerate(NAMES[:4])}
    first, second = played(swiss(NAMES[:4], 2), strength)
    winners = {max(d, key=strength.__getitem__) for d in first}
    assert set(second[0]) == winners


def test_a_round_that_brought_no_result_stops_nothing() -> None:
    for schedule in (knockout(NAMES[:5]), swiss(NAMES[:5], 3)):
        n = len(next(schedule))
        for _ in range(2):
            n += len(schedule.send({}))
        assert n >= 4


@given(fields)
def test_each_meets_each_once(names: list[str]) -> None:
    duels = every_duel(drawn(names, 1))
    assert sorted(duels) == sorted(itertools.combinations(names, 2))
    assert played(in_one_round(duels), dict.fromkeys(names, 0.0)) == [duels]


@given(st.dictionaries(st.sampled_from(NAMES), st.integers(0, 20).map(lambda k: k / 20)), st.floats(0, 1))
def test_the_shortlist_holds_the_ends_and_the_close_calls(scores: dict[str, float], close: float) -> None:
    ranked = sorted(scores, key=lambda c: (-scores[c], c))
    found = shortlist(scores, close)
    assert len(set(found)) == len(found)
    assert all(a < b for a, b in found)
    if len(ranked) < 2:
        assert found == []
        return
    assert found[0] == duel(ranked[0], ranked[-1])
    assert duel(ranked[0], ranked[1]) in found
    assert duel(ranked[-2], ranked[-1]) in found
    ends = {*ranked[:2], *ranked[-2:]}
    for a, b in set(found) - {duel(a, b) for a, b in itertools.combinations(ends, 2)}:
        assert abs(scores[a] - scores[b]) < close
        assert abs(ranked.index(a) - ranked.index(b)) == 1


def test_a_draw_depends_on_who_takes_part_and_not_on_their_order() -> None:
    assert drawn(NAMES, 3, "p") == drawn(NAMES[::-1], 3, "p")
    assert drawn(NAMES, 3, "p") != drawn(NAMES, 4, "p")
