"""The normative selection algorithm and its golden values (spec pairs 17.2, 17.6, 17.7)."""

from __future__ import annotations

import math
from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.pairs.select import STRATEGIES, Choice, Pool, Scored, normal_text, propose, rank

GOLDEN = dict(zip("abcdefgh", (9, 8, 7, 7, 6, 5, 4, 1), strict=True))
scores = st.lists(st.integers(0, 64).map(lambda n: n / 64), min_size=0, max_size=9)
strategies = st.sampled_from(sorted(STRATEGIES))


def pool_of(values: Mapping[str, float], prompt_id: str = "p1", seed: int = 7) -> Pool:
    return rank([Scored(name, f"answer {name}", score) for name, score in values.items()], seed, prompt_id)


def named(pool: Pool, choice: Choice) -> list[tuple[str, str, float]]:
    return [
        (pool.entries[p.chosen].candidate_id, pool.entries[p.rejected].candidate_id, p.gap)
        for p in propose(pool, choice)
    ]  # fmt: skip


def as_dict(values: list[float]) -> dict[str, float]:
    return {f"c{i}": value for i, value in enumerate(values)}


def test_the_golden_pool_has_the_golden_moments() -> None:
    pool = pool_of(GOLDEN)
    assert pool.mean == 5.875
    assert math.isclose(pool.std, 2.3684, abs_tol=5e-5)


@pytest.mark.parametrize(
    ("choice", "wanted"),
    [
        (Choice("best_worst"), [("a", "h", 8)]),
        (Choice("best_second"), [("a", "b", 1)]),
        (Choice("max_vs_mu_ksigma", k=2), [("a", "h", 8)]),
        (Choice("top_bottom", m=2), [("a", "h", 8), ("b", "h", 7), ("a", "g", 5), ("b", "g", 4)]),
        (Choice("adjacent"), [("g", "h", 3), ("a", "b", 1), ("e", "f", 1), ("d", "e", 1)]),
        (Choice("all_pairs"), [("a", "h", 8), ("b", "h", 7), ("c", "h", 6), ("d", "h", 6)]),
    ],
)
def test_strategies_give_the_golden_pairs(choice: Choice, wanted: list[tuple[str, str, float]]) -> None:
    found = named(pool_of(GOLDEN), choice)[:4]
    assert sorted(found) == sorted(wanted)
    assert [gap for _, _, gap in found] == sorted((gap for _, _, gap in wanted), reverse=True)


def test_random_draws_stay_inside_what_the_strategy_allows() -> None:
    for prompt in map(str, range(50)):
        [(chosen, rejected, gap)] = named(pool_of(GOLDEN, prompt), Choice("best_random"))
        assert (chosen, gap) == ("a", GOLDEN["a"] - GOLDEN[rejected])
        assert rejected in "bcdefgh"
        [(chosen, rejected, gap)] = named(pool_of(GOLDEN, prompt), Choice("random"))
        assert GOLDEN[chosen] - GOLDEN[rejected] == gap > 0


def test_random_draws_differ_between_prompts_and_seeds() -> None:
    draws = {tuple(named(pool_of(GOLDEN, str(p), s), Choice("random"))) for p in range(10) for s in range(3)}
    assert len(draws) > 10


@settings(deadline=None)
@given(scores, strategies, st.randoms(use_true_random=False))
def test_the_order_of_candidates_changes_nothing(values: list[float], strategy: str, shuffled: object) -> None:
    items = list(as_dict(values).items())
    shuffled.shuffle(items)  # type: ignore[attr-defined]
    assert named(pool_of(dict(items)), Choice(strategy)) == named(pool_of(as_dict(values)), Choice(strategy))


@settings(deadline=None)
@given(scores, strategies, st.sampled_from([0.25, 0.5, 2.0, 8.0]), st.integers(-4, 4))
def test_rescaling_all_scores_picks_the_same_pairs(values: list[float], strategy: str, a: float, b: int) -> None:
    before = named(pool_of(as_dict(values)), Choice(strategy))
    after = named(pool_of(as_dict([a * v + b for v in values])), Choice(strategy))
    assert [pair[:2] for pair in before] == [pair[:2] for pair in after]


@settings(deadline=None)
@given(scores, strategies)
def test_gaps_are_positive_and_ranks_ordered_by_score(values: list[float], strategy: str) -> None:
    pool = pool_of(as_dict(values))
    found = [e.score for e in pool.entries]
    assert found == sorted(found, reverse=True)
    for p in propose(pool, Choice(strategy)):
        assert p.chosen < p.rejected
        assert p.gap == found[p.chosen] - found[p.rejected] > 0


@settings(deadline=None)
@given(st.lists(st.integers(0, 64).map(lambda n: n / 64), min_size=2, max_size=5))
def test_up_to_five_candidates_the_two_sigma_rule_is_best_against_worst(values: list[float]) -> None:
    pool = pool_of(as_dict(values))
    gaps = [[p.gap for p in propose(pool, Choice(strategy))] for strategy in ("max_vs_mu_ksigma", "best_worst")]
    assert gaps[0] == gaps[1]


@settings(deadline=None)
@given(st.floats(0, 1), st.integers(0, 6), strategies)
def test_a_pool_of_ties_gives_no_pair(score: float, n: int, strategy: str) -> None:
    assert propose(pool_of(as_dict([score] * n)), Choice(strategy)) == []


@settings(deadline=None)
@given(scores, strategies)
def test_a_nan_score_or_a_repeated_text_never_adds_a_pair(values: list[float], strategy: str) -> None:
    clean = [Scored(f"c{i}", f"answer {i}", v) for i, v in enumerate(values)]
    broken = [*clean, Scored("nan", "other", math.nan), Scored("blank", " \n", 1.0)]
    copies = [*clean, *(Scored(f"copy-{c.candidate_id}", f" {c.text}\n", c.score) for c in clean)]
    wanted = len(propose(rank(clean, 1, "p"), Choice(strategy)))
    assert len(propose(rank(broken, 1, "p"), Choice(strategy))) == wanted
    assert len(propose(rank(copies, 1, "p"), Choice(strategy))) == wanted


def test_equal_texts_are_merged_with_their_mean_score() -> None:
    pool = rank([Scored("x", "Yes.", 1.0), Scored("y", " Yes. ", 0.5), Scored("z", "No.", 0.0)], 0, "p")
    assert [(e.text.strip(), e.score) for e in pool.entries] == [("Yes.", 0.75), ("No.", 0.0)]


def test_the_same_letters_in_two_unicode_forms_are_one_text() -> None:
    assert normal_text("caf\u00e9  au\nlait") == normal_text("cafe\u0301 au lait")


def test_with_a_boundary_the_rejected_answer_is_always_a_wrong_one() -> None:
    pool = pool_of({"r1": 0.9, "r2": 0.8, "w1": 0.4, "w2": 0.1})
    for strategy in STRATEGIES:
        for chosen, rejected, _ in named(pool, Choice(strategy, n_right=2)):
            assert (chosen[0], rejected[0]) == ("r", "w"), strategy
    assert named(pool, Choice("best_second", n_right=2)) == [("r1", "w1", 0.5)]
    assert named(pool, Choice("random", n_right=4)) == []
