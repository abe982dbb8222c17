"""Pairs by single aspects: dominance, votes of people, citations."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from pydantic import ValidationError

from pipeline.errors import Rejected
from pipeline.pair import Votes
from pipeline.records import Candidate, Judgment
from stages.judges.aspects import described
from stages.pairs.aspect_dominance import prefer
from stages.pairs.pair_aspects import PairAspects
from tests.stages.contexts.worlds import PROMPT, arms, run

WEIGHTS = {"quality": 2.0, "order": 1.0}


def answer(name: str, text: str | None = None, i: int = 0, **fields: Any) -> Candidate:
    return Candidate(PROMPT.prompt_id, name, f"text of {name}" if text is None else text, "generate", i, **fields)


def rated(name: str, **values: float | None) -> list[Judgment]:
    return [
        Judgment(PROMPT.prompt_id, f"{name}/{aspect}", "rate", "aspect", "j", (name,),
                 "ok" if value is not None else "parse_error", value, aspect=aspect)
        for aspect, value in values.items()
    ]  # fmt: skip


def aspects(**fields: Any) -> PairAspects:
    mixes = fields.pop("mixes", [{"name": "m", "weights": WEIGHTS}])
    return PairAspects.model_validate({"kind": "multi_aspect", "mixes": mixes, **fields})


def test_the_better_answer_loses_on_no_aspect() -> None:
    judgments = [*rated("a", quality=0.9, order=0.5), *rated("b", quality=0.5, order=0.5)]
    [pair], _, counts = run(aspects(), [answer("b"), answer("a")], judgments)
    assert (arms(pair), pair.dominance, counts) == (("text of a", "text of b"), "strict_pareto", {"kept": 1})
    assert pair.chosen_score == pytest.approx((2 * 0.9 + 0.5) / 3)
    assert {(s.arm, s.aspect) for s in pair.scores} == {(a, n) for a in ("chosen", "rejected") for n in WEIGHTS}
    assert pair.context is None


@pytest.mark.parametrize(
    ("a", "b", "mix", "expected"),
    [
        ((0.9, 0.4), (0.5, 0.5), {}, "trade_off"),
        ((0.9, 0.4), (0.5, 0.5), {"dominance": "weighted"}, "weighted"),
        ((0.9, 0.4), (0.5, 0.5), {"dominance": "weighted", "hard": ["order"]}, "trade_off"),
        ((0.9, 0.4), (0.5, 0.5), {"dominance": "weighted", "hard": ["quality"]}, "weighted"),
        ((0.5, 0.5), (0.5, 0.5), {}, "tie"),
        ((0.5, 0.6), (0.5, 0.5), {}, "margin"),
        ((None, 0.9), (0.1, 0.1), {}, "not_rated"),
    ],
)
def test_what_may_be_traded_for_what(
    a: tuple[float | None, ...], b: tuple[float | None, ...], mix: dict[str, Any], expected: str
) -> None:
    judgments = [*rated("a", quality=a[0], order=a[1]), *rated("b", quality=b[0], order=b[1])]
    stage = aspects(mixes=[{"name": "m", "weights": WEIGHTS, **mix}])
    pairs, rejects, _ = run(stage, [answer("a"), answer("b")], judgments)
    assert [p.dominance for p in pairs] + [r.reason for r in rejects] == [expected]


def test_two_mixes_turn_the_same_answers_round_and_the_prompt_says_which_holds() -> None:
    mixes = [
        {"name": "exact", "weights": {"quality": 3, "order": 1}, "dominance": "weighted", "text": "Be exact."},
        {"name": "quick", "weights": {"quality": 1, "order": 3}, "dominance": "weighted", "text": "Be quick."},
    ]
    judgments = [*rated("a", quality=0.9, order=0.3), *rated("b", quality=0.3, order=0.9)]
    pairs, _, _ = run(aspects(mixes=mixes), [answer("a"), answer("b")], judgments)
    assert arms(pairs[0]) == arms(pairs[1])[::-1]
    assert len({p.unordered_id for p in pairs}) == len({p.context_id for p in pairs}) == 2
    for pair, said in zip(pairs, ("Be exact.", "Be quick."), strict=True):
        assert pair.context is not None
        assert pair.prompt_messages[0].content == pair.context.text == said
        assert [a.name for a in pair.context.attributes] == ["quality", "order"]
    with pytest.raises(ValidationError, match="give a text"):
        aspects(mixes=[mixes[0], {"name": "m", "weights": WEIGHTS}])
    with pytest.raises(ValidationError, match="have no weight"):
        aspects(mixes=[{"name": "m", "weights": WEIGHTS, "hard": ["style"]}])
    with pytest.raises(ValidationError, match="needs mixes"):
        PairAspects(kind="multi_aspect")


@given(
    st.dictionaries(st.sampled_from("abc"), st.floats(0.1, 5), min_size=1),
    st.lists(st.floats(0, 1), min_size=3, max_size=3), st.lists(st.floats(0, 1), min_size=3, max_size=3),
)  # fmt: skip
def test_preference_is_antisymmetric_and_pareto_never_loses(
    weights: dict[str, float], one: list[float], other: list[float]
) -> None:
    ratings = dict(zip("abc", one, strict=True)), dict(zip("abc", other, strict=True))
    try:
        found = prefer(*ratings, weights, frozenset(weights))
    except Rejected as why:
        with pytest.raises(Rejected, match=why.reason):
            prefer(*ratings[::-1], weights, frozenset(weights))
        return
    turned = prefer(*ratings[::-1], weights, frozenset(weights))
    assert (found.first, found.scores) == (not turned.first, turned.scores)
    better, worse = ratings if found.first else ratings[::-1]
    assert all(better[a] >= worse[a] - 1e-9 for a in weights)
    assert found.dominance == "strict_pareto"


def ads(paraphrase: int, first: int, second: int, skip: int) -> Any:
    count = {"paraphrase": paraphrase, "preference_ad1": first, "preference_ad2": str(second), "preference_skip": skip}
    kept = {f"count.{name}": n for name, n in count.items()}
    return replace(PROMPT, ext_json=msgspec.json.encode(kept).decode())


ADS = [answer("x", "Shoes on sale.", 0), answer("y", "Shoes (all sizes) are on sale today!", 1)]


def test_of_two_paraphrases_the_one_that_more_people_prefer() -> None:
    stage = PairAspects(kind="paraphrase_style", vote_margin=2)
    [pair], _, _ = run(stage, ADS, prompt=ads(4, 3, 6, 1))
    assert arms(pair)[0] == ADS[1].text
    assert (pair.votes, pair.label_source, pair.dominance) == (Votes(6, 3, 1), "human", "votes")
    assert pair.pref_prob == pytest.approx((6 + 0.5 + 0.5) / 11)
    assert pair.soft_label == pytest.approx(7 / 11)
    assert (pair.agreement, pair.chosen_score, pair.score_gap) == (
        0.6,
        None,
        None,
    )  # whom more prefer is not thereby good
    factors = json.loads(pair.ext_json or "")["factors"]
    assert factors["brackets"] == 1
    assert factors["characters"] > 0
    for prompt, reason in (
        (ads(2, 3, 6, 1), "no_paraphrase"),
        (ads(5, 4, 5, 1), "tie"),
        (ads(5, 0, 0, 10), "tie"),
        (ads(5, -1, 6, 1), "bad_count"),
    ):
        assert [r.reason for r in run(stage, ADS, prompt=prompt)[1]] == [reason]
    assert [r.reason for r in run(stage, ADS[:1], prompt=ads(5, 1, 6, 1))[1]] == ["other_number"]
    with pytest.raises(Rejected, match=r"missing_count\.paraphrase"):
        run(stage, ADS)


def cited(name: str, n: int) -> Candidate:
    return answer(name, f"Text of {name} " + " ".join(f"[{i + 1}]" for i in range(n)))


def test_support_decides_where_the_numbers_of_citations_are_alike() -> None:
    stage = PairAspects(kind="citation_support")
    judgments = [*rated("a", citation_support=0.9), *rated("b", citation_support=0.2)]
    [pair], _, _ = run(stage, [cited("a", 3), cited("b", 4)], judgments)
    assert arms(pair)[0].startswith("Text of a")
    assert pair.flags is None
    assert next(f for f in pair.filters if f.name == "citation_gap").value == 1.0
    many = [cited("a", 3), cited("b", 6)]
    assert [r.reason for r in run(stage, many, judgments)[1]] == ["citation_count_confound"]
    [pair], _, _ = run(PairAspects(kind="citation_support", keep_confounded=True), many, judgments)
    assert pair.flags == ("citation_count_confound",)
    assert [r.reason for r in run(stage, [cited("a", 0), cited("b", 1)], judgments)[1]] == ["no_citation"]
    assert [r.reason for r in run(stage, [cited("a", 2), cited("b", 2)])[1]] == ["not_rated"]


def test_domains_bring_their_aspects() -> None:
    for name in ("simulpl", "ecommerce", "helpsteer", "citation_support"):
        found = described([name])
        assert all(len(aspect.levels) == 5 for aspect in found)
        assert len({aspect.name for aspect in found}) == len(found)


@given(st.permutations(range(4)), st.lists(st.sampled_from([None, 0.1, 0.5, 0.9]), min_size=8, max_size=8))
def test_rows_do_not_depend_on_the_order_of_what_is_read(order: list[int], values: Sequence[float | None]) -> None:
    candidates = [answer(f"c{i}") for i in range(4)]
    judgments = [j for i in range(4) for j in rated(f"c{i}", quality=values[2 * i], order=values[2 * i + 1])]
    expected = run(aspects(), candidates, judgments)
    got = run(aspects(), [candidates[i] for i in order], judgments)
    assert (got[0], sorted(r.detail for r in got[1]), got[2]) == (
        expected[0], sorted(r.detail for r in expected[1]), expected[2],
    )  # fmt: skip


@given(st.integers(0, 10_000))
def test_failed_ratings_never_make_a_pair_more(seed: int) -> None:
    draw = random.Random(seed)
    candidates = [answer(f"c{i}") for i in range(4)]
    judgments = [j for i in range(4) for j in rated(f"c{i}", quality=draw.random(), order=draw.random())]
    stage = aspects(max_pairs=10)
    whole, _, _ = run(stage, candidates, judgments)
    broken = [replace(j, value=None, status="parse_error") if draw.random() < 0.3 else j for j in judgments]
    assert {p.pair_id for p in run(stage, candidates, broken)[0]} <= {p.pair_id for p in whole}
