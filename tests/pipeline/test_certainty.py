"""Certainty and rewards as formulas."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.certainty import certainty
from pipeline.errors import PlanError
from pipeline.rewards import at_positions, log_odds

GOLDEN = Path(__file__).resolve().parents[3] / "shared/spec/golden/judges.json"
LOGPS = tuple(map(math.log, (0.7, 0.1, 0.1, 0.1)))


def test_certainty_is_the_divergence_from_the_uniform_distribution() -> None:
    assert certainty(LOGPS, 4) == pytest.approx(0.44584637246456404, abs=1e-9)
    assert certainty(LOGPS, 4) / 4 == pytest.approx(0.11146159311614101, abs=1e-9)  # as Shop-R1 writes it
    assert certainty([0.0, -math.inf, -math.inf, -math.inf], 4) == pytest.approx(math.log(4))
    assert certainty([0.0], 4) == pytest.approx(math.log(4))


@pytest.mark.skipif(not GOLDEN.is_file(), reason="golden values are not at ../shared")
def test_certainty_of_a_few_tokens_is_the_bound_of_the_golden_values() -> None:
    golden = json.loads(GOLDEN.read_text())
    assert certainty(LOGPS, 4) == pytest.approx(golden["sc.klpu"], abs=1e-6)
    assert certainty(LOGPS[:2], 4) == pytest.approx(golden["sc.top2"], abs=1e-6)
    uneven = [math.log(p) for p in (0.7, 0.1, 0.15, 0.05)]
    assert certainty(uneven, 4) == pytest.approx(golden["sc.tail_nonuniform_exact"], abs=1e-6)


@given(st.lists(st.floats(0.01, 1), min_size=2, max_size=12), st.integers(0, 11))
def test_fewer_tokens_give_a_lower_bound(weights: list[float], kept: int) -> None:
    logps = sorted((math.log(w / math.fsum(weights)) for w in weights), reverse=True)
    bound = certainty(logps[: max(1, min(kept, len(logps)))], len(logps))
    assert -1e-9 <= bound <= certainty(logps, len(logps)) + 1e-9 <= math.log(len(logps)) + 2e-9


def test_a_reward_is_the_log_odds_of_good() -> None:
    assert (log_odds([1.5]), log_odds([0.5, 2.0])) == (1.5, 1.5)
    with pytest.raises(PlanError, match="puts out 3 numbers"):
        log_odds([1.0, 2.0, 3.0])


def test_rows_of_all_tokens_are_read_at_the_positions_and_rows_of_another_number_are_none() -> None:
    rows = [[0.0], [1.0], [2.0]]
    assert at_positions(rows, 3, (0, 2)) == [[0.0], [2.0]]
    assert at_positions(rows, 9, (4, 5, 6)) == rows
    assert at_positions(rows, None, (4, 5)) is None
