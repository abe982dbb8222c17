"""Votes, soft checks and the choice of the best."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from pipeline.records import Rationale, Verification
from stages.rationales.picking import Soft, best, soft_checks, with_quality, with_votes

SOFT = Soft()


def rationale(
    name: str, text: str, status: str = "ok", label: int | None = 1, visible: bool = False, **verify: Any
) -> Rationale:
    head = ("p", name, "pair", "explain", None, None, "detailed", "json", visible, 0, "m", 0, status)
    return Rationale(*head, text=text, implied_label=label, verify=Verification(**verify))


def test_the_best_is_verified_blind_detailed_then_of_most_votes_highest_utility_and_short() -> None:
    rows = [
        rationale("1", "x", status="rejected"), rationale("2", "xx", visible=True),
        replace(rationale("3", "x"), kind="general"), rationale("4", "xxxxxx"), rationale("5", "xxxxx"),
        rationale("6", "xxxxxxx", utility=0.4), rationale("7", "xxxxxxxx", utility=-0.4, votes_for=2, votes_n=2),
    ]  # fmt: skip
    for n, name in ((7, "7"), (6, "6"), (5, "5"), (4, "4"), (3, "3"), (2, "2")):
        found = best(reversed(rows[:n]))
        assert found is not None
        assert found.rationale_id == name
    assert best(rows[:1]) is None


def test_a_utility_nobody_measured_is_neither_high_nor_low() -> None:
    rows = [
        rationale("harmful", "x", utility=-1.0),
        rationale("unknown", "xx"),
        rationale("helpful", "xxx", utility=1.0),
    ]
    order = []
    while found := best(rows):
        order.append(found.rationale_id)
        rows = [r for r in rows if r is not found]
    assert order == ["helpful", "unknown", "harmful"]


def test_a_critique_and_a_graph_are_no_rationale_of_a_pair() -> None:
    assert best([replace(rationale("1", "x"), kind=kind) for kind in ("critique", "argument_graph")]) is None


@pytest.mark.parametrize(
    ("passes", "fails", "check"),
    [
        ({"copy_ratio": 0.6}, {"copy_ratio": 0.61}, "copy"),
        ({"votes_for": 1, "votes_n": 2}, {"votes_for": 1, "votes_n": 3}, "votes"),
        ({"utility": 0.01}, {"utility": 0.0}, "utility"),
        ({"sensitivity": 0.05}, {"sensitivity": 0.049}, "sensitivity"),
        ({"truthfulness": 0.5, "relevance": 0.9}, {"truthfulness": 0.9, "relevance": 0.49}, "claims"),
        ({"truthfulness": 0.5, "relevance": 0.5}, {"truthfulness": 0.49, "relevance": 0.9}, "claims"),
    ],
)
def test_each_soft_check_alone_keeps_or_refuses(passes: dict[str, Any], fails: dict[str, Any], check: str) -> None:
    kept, refused = with_quality(rationale("1", "x", **passes), SOFT), with_quality(rationale("2", "x", **fails), SOFT)
    assert soft_checks(kept.verify, SOFT) == {check: True}
    assert (kept.status, kept.reject_reason, kept.verify.quality) == ("ok", None, 1.0)
    assert (refused.status, refused.reject_reason, refused.verify.quality) == ("rejected", "low_quality", 0.0)


def test_half_of_the_soft_checks_are_enough_and_a_hard_reason_stays() -> None:
    half = rationale("1", "x", copy_ratio=0.9, votes_for=2, votes_n=3)
    assert with_quality(half, SOFT).verify.quality == 0.5
    assert with_quality(half, SOFT).status == "ok"
    assert with_quality(half, Soft(min_quality=0.6)).reject_reason == "low_quality"
    leaking = replace(rationale("2", "x", copy_ratio=0.9), status="rejected", reject_reason="leak")
    assert with_quality(leaking, SOFT).reject_reason == "leak"


_numbers = st.none() | st.floats(-1, 1)


@given(
    st.fixed_dictionaries(
        dict.fromkeys(("copy_ratio", "utility", "sensitivity", "truthfulness", "relevance"), _numbers)
    )
)
def test_what_was_not_measured_never_lowers_quality(measured: dict[str, Any]) -> None:
    row = with_quality(rationale("1", "x", **measured), SOFT)
    if all(value is None for value in measured.values()):
        assert (row.status, row.verify.quality) == ("ok", None)
    checks = soft_checks(row.verify, SOFT)
    assert row.verify.quality == (sum(checks.values()) / len(checks) if checks else None)


def test_votes_count_those_who_gave_a_verdict() -> None:
    voted = with_votes(
        [rationale("1", ""), rationale("2", "", label=-1), rationale("3", ""), rationale("4", "", label=None)]
    )
    assert [(r.verify.votes_for, r.verify.votes_n) for r in voted] == [(2, 3), (1, 3), (2, 3), (None, None)]
