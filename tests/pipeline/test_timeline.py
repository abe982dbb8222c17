"""What was done when: nothing is lost between the log and the curves."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.timeline import SPANS, timeline


def shard(at: float, seconds: float, rows: int = 10) -> dict[str, Any]:
    return {"event": "shard", "job": "a", "at": at, "seconds": seconds, "rows": rows, "tokens": 2 * rows}


@given(st.lists(st.tuples(st.floats(0.001, 1000), st.floats(0, 500), st.integers(0, 1000)), min_size=1, max_size=20))
def test_rates_times_seconds_is_what_the_shards_did(shards: list[tuple[float, float, int]]) -> None:
    events = [{"event": "start"}, *(shard(at, min(at, seconds), rows) for at, seconds, rows in shards)]
    found = timeline(["a", "b"], events)
    assert len(found.jobs["a"].rows) <= SPANS
    width = found.seconds / len(found.jobs["a"].rows)
    rows = sum(n for _, _, n in shards)
    assert sum(found.jobs["a"].rows) * width == pytest.approx(rows, abs=1e-3, rel=1e-6)
    assert sum(found.jobs["a"].tokens) * width == pytest.approx(2 * rows, abs=1e-3, rel=1e-6)
    assert not any(found.jobs["b"].rows)


def test_starts_stand_one_behind_the_other() -> None:
    first: list[dict[str, Any]] = [
        {"event": "start"},
        {"event": "engines_up", "at": 5.0},
        shard(10.0, 5.0),
        {"event": "end", "seconds": 12.0},
    ]
    found = timeline(["a"], [*first, {"event": "start"}, {"event": "engines_up", "at": 3.0}, shard(8.0, 4.0)])
    assert 20.0 <= found.seconds < 20.4
    assert (found.starts, found.engines_up) == ([0.0, 12.0], [5.0, 15.0])


def test_a_run_without_a_log_took_no_time() -> None:
    found = timeline(["a"], [])
    assert (found.seconds, found.starts) == (0.0, [])
