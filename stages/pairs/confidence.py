"""How sure a step pair is (spec mcts R5, confidence columns). Pure; integers until the last division."""

from __future__ import annotations

from math import comb


def alpha_visits(chosen: int, rejected: int) -> float:
    """Label noise from visit counts, N_l / (N_w + N_l), at most 1/2 (MCTS-DPO); 1/2 without any visit."""
    return min(rejected / (chosen + rejected), 0.5) if chosen + rejected else 0.5


def p_better(chosen_right: int, chosen_n: int, rejected_right: int, rejected_n: int) -> float:
    """P(p_chosen > p_rejected) for independent Beta(1 + right, 1 + n - right) posteriors.

    With whole counts both are order statistics of uniform draws, so the probability is a share of orderings: those in
    which at least `b` of the rejected draws lie below the `a`-th chosen one. Counted exactly.
    """
    a, total_a = chosen_right + 1, chosen_n + 1  # Beta(a, total_a + 1 - a): the a-th smallest of total_a
    b, total_b = rejected_right + 1, rejected_n + 1
    ways = sum(
        comb(a - 1 + j, j) * comb(total_a - a + total_b - j, total_b - j)
        for j in range(b, total_b + 1)  # rejected draws that lie below the a-th chosen one
    )
    return ways / comb(total_a + total_b, total_b)
