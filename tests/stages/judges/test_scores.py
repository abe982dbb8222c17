"""Scores of candidates from raw judgments: means over what answered, never a number for what did not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.records import Judgment, Status
from stages.judges.scores import candidate_scores

GOLDEN = Path(__file__).resolve().parents[3] / "../shared/spec/golden/judges.json"


def judgment(
    value: float | None,
    candidate: str = "c",
    aspect: str | None = "help",
    judge: str = "j",
    status: Status | None = None,
) -> Judgment:
    status = status or ("parse_error" if value is None else "ok")
    return Judgment("p", "k", "rate", "aspect", judge, (candidate,), status, value, None, 1.0, 5.0, aspect=aspect)


def outcome(value: float | None, candidate: str = "c", judge: str = "verify") -> Judgment:
    return Judgment("p", "k", "verify", "tool", judge, (candidate,), "na" if value is None else "ok", value)


def test_the_score_is_the_mean_over_samples_and_aspects() -> None:
    score = candidate_scores([judgment(5), judgment(3), judgment(2, aspect="clear")])["c"]
    assert score.value == pytest.approx((0.75 + 0.25) / 2)
    assert [(s.aspect, s.raw, s.normalized, s.n, s.std) for s in score.scores] == [
        ("help", 4.0, 0.75, 2, 1.0), ("clear", 2.0, 0.25, 1, 0.0)
    ]  # fmt: skip
    assert (score.n_ok, score.n_failed, score.outcome) == (3, 0, None)


@pytest.mark.skipif(not GOLDEN.exists(), reason="the golden values are not at hand")
def test_an_aspect_that_does_not_apply_gives_its_weight_to_the_others() -> None:
    rated = [
        judgment(5, aspect="if"),
        judgment(None, aspect="honesty", status="na"),
        judgment(4, aspect="truth"),
        judgment(4),
    ]
    golden = json.loads(GOLDEN.read_text())
    weighted = candidate_scores(rated, {"if": 0.1, "honesty": 0.2, "truth": 0.3, "help": 0.4})["c"]
    assert weighted.value is not None
    assert 1 + 4 * weighted.value == pytest.approx(golden["uf.wmean"], abs=1e-9)
    assert weighted.n_failed == 0
    plain = candidate_scores(rated)["c"].value
    assert plain is not None
    assert 1 + 4 * plain == pytest.approx(golden["uf.mean"], abs=1e-9)


def test_fewer_than_half_of_the_weights_is_no_score() -> None:
    rated = [judgment(5, aspect="a"), judgment(None, aspect="b"), judgment(None, aspect="c")]
    assert candidate_scores(rated)["c"].value is None
    assert candidate_scores(rated, {"a": 2.0})["c"].value == 1.0
    assert candidate_scores(rated)["c"].n_failed == 2


def test_an_aspect_asked_of_others_counts_where_it_is_missing() -> None:
    rated = [judgment(5, "x", "a"), *[judgment(3, "y", aspect) for aspect in ("a", "b", "c")]]
    assert candidate_scores(rated)["x"].value is None
    assert candidate_scores(rated)["y"].value == 0.5


def test_outcomes_are_kept_apart_and_a_contradiction_is_unknown() -> None:
    scores = candidate_scores(
        [
            outcome(1.0),
            judgment(1),
            outcome(0.0, "d"),
            outcome(1.0, "e"),
            outcome(0.0, "e", "other"),
            outcome(None, "f"),
        ]
    )
    assert {c: (s.outcome, s.value) for c, s in scores.items()} == {
        "c": (True, 0.0), "d": (False, None), "e": (None, None), "f": (None, None)
    }  # fmt: skip


def test_judges_share_the_weight_of_an_aspect() -> None:
    rated = [judgment(5, aspect="a", judge="x"), judgment(1, aspect="a", judge="y"), judgment(5, aspect="b")]
    assert candidate_scores(rated)["c"].value == pytest.approx(0.75)


def test_pairwise_judgments_are_not_scores() -> None:
    both = Judgment("p", "k", "compare", "pairwise", "j", ("c", "d"), "ok", 0.9)
    assert candidate_scores([both]) == {}


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from("ab"), st.one_of(st.none(), st.floats(1, 5))), max_size=12), st.randoms())
def test_order_does_not_matter_and_failures_never_move_a_score(rated, rng) -> None:  # type: ignore[no-untyped-def]
    judgments = [judgment(v, aspect=a) for a, v in rated]
    scores = candidate_scores(judgments)
    shuffled = judgments[:]
    rng.shuffle(shuffled)
    again = candidate_scores(shuffled)
    for candidate, score in scores.items():
        other = again[candidate]
        assert score.value == (None if other.value is None else pytest.approx(other.value))
        assert score.value is None or 0 <= score.value <= 1
        assert (score.n_ok, score.n_failed) == (sum(v is not None for _, v in rated), sum(v is None for _, v in rated))
    with_failure = candidate_scores([*judgments, *[judgment(None, aspect=a) for a, v in rated if v is not None]])
    assert {c: s.value for c, s in with_failure.items()} == {c: s.value for c, s in scores.items()}
