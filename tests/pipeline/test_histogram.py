"""Axes end at round numbers and hold all values."""

from __future__ import annotations

import math
import re

from hypothesis import given
from hypothesis import strategies as st

from pipeline.histogram import BINS, ends, histogram, nice, steps

NUMBERS = st.floats(1e-6, 1e9)


@given(NUMBERS, st.floats(0, 1e9))
def test_the_ends_hold_what_lies_between_them(high: float, below: float) -> None:
    low, top = ends(-below, high)
    assert low <= -below + 1e-6 * (high + below)
    assert top >= high * (1 - 1e-6)
    assert top - low <= 6 * (high + below)


@given(NUMBERS)
def test_a_round_number_is_the_next_one_up(value: float) -> None:
    assert value * (1 - 1e-6) <= nice(value) <= 1.6 * value
    assert math.isclose(nice(nice(value)), nice(value))


def test_shares_of_a_name_sum_to_one_and_values_outside_count_at_the_edge() -> None:
    text = histogram("h", "", {"a": [0.0, 0.5, 3.0, -1.0]}, 0, 1)
    heights = [
        260 - float(y) for y in re.findall(r"[\d.]+,([\d.]+)", re.findall(r'<polyline points="([^"]*)"', text)[0])
    ]
    assert len(heights) == 2 * BINS
    assert [round(h / max(heights), 2) for h in (heights[0], heights[20], heights[-1])] == [1.0, 0.5, 0.5]


def test_nothing_is_an_empty_figure() -> None:
    assert "<polyline" in histogram("none", "", {"a": []})
    assert list(steps([], 0, 1)) == []
