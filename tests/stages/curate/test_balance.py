"""Balance: caps, lengths that tell nothing, mixtures with their shares; groups stay whole."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from pipeline.pair import Pair
from pipeline.stage import Example
from stages.curate.amounts import Part, amounts
from stages.curate.balance import Balance
from tests.stages.curate.rows import Decided, asked, decided, made_by, pair_of, prompt_of


def of_kinds(n: int, *kinds: str, longer: int = 50) -> list[Example[Any]]:
    """n prompts with a pair of each kind; of a hundred, `longer` have the longer chosen arm."""
    examples: list[Example[Any]] = []
    for i in range(n):
        prompt = prompt_of(f"Question {i}?")
        arms = ("longer", "short") if i % 100 < longer else ("short", "longer")
        examples.append(Example(prompt, pairs=[pair_of(prompt, *arms, kind=k) for k in kinds]))
    return examples


def share_longer(pairs: list[Pair]) -> float:
    longer = [len(p.chosen_messages[0].content) > len(p.rejected_messages[0].content) for p in pairs]
    return sum(longer) / len(longer)


def run(examples: list[Example[Any]], **fields: Any) -> tuple[list[Pair], Decided]:
    found = decided(Balance.model_validate(fields), examples)
    return found.kept(examples), found


def test_a_base_prompt_keeps_its_clearest_pairs_of_a_kind_and_in_all() -> None:
    examples: list[Example[Any]] = []
    for variant in range(2):
        prompt = prompt_of(f"Variant {variant}", base="b")
        pairs = [pair_of(prompt, f"{'x' * (i % 2)}{i}", "yy" * (1 - i % 2), kind=kind, score_gap=i / 10)
                 for i in range(4) for kind in ("best_worst", "revision")]  # fmt: skip
        examples.append(Example(prompt, pairs=pairs))
    kept, found = run(examples, per_prompt_and_kind=3, per_prompt=5, longer_chosen=None)
    assert found.reasons("pair") == {"kept": 5, "over_prompt_kind_cap": 10, "over_prompt_cap": 1}
    assert sorted(p.score_gap or 0 for p in kept) == [0.2, 0.3, 0.3, 0.3, 0.3]


def test_models_and_kinds_are_capped_by_a_draw_of_the_seed() -> None:
    examples = [asked(f"Question {i}?", ("a", "b"), **made_by("big", "small" if i % 2 else "tiny")) for i in range(20)]
    kept, found = run(examples, per_model_pair=7, longer_chosen=None)
    assert found.reasons("pair") == {"kept": 14, "over_model_pair_cap": 6}
    again = decided(Balance(per_model_pair=7, longer_chosen=None), examples, per_shard=20).kept(examples)
    other = decided(Balance(per_model_pair=7, longer_chosen=None), examples, seed=8).kept(examples)
    assert again == kept != other


@pytest.mark.parametrize(("longer", "kept"), [(50, 100), (60, 100), (40, 100), (80, 50), (10, 25)])
def test_the_longer_arm_is_chosen_in_a_share_within_bounds(longer: int, kept: int) -> None:
    pairs, found = run(of_kinds(100, "best_worst", longer=longer))
    assert len(pairs) == kept
    assert 0.4 <= share_longer(pairs) <= 0.6
    assert found.reasons("pair")["length_gap"] == 100 - kept


def test_where_all_pairs_lean_one_way_all_stay_and_it_is_counted() -> None:
    pairs, found = run(of_kinds(10, "best_worst", longer=100))
    assert len(pairs) == 10
    assert found.counts == {"length_not_evened:all": 1, "part:all": 10}


def test_a_mixture_has_its_shares_and_its_total() -> None:
    examples = of_kinds(100, "best_worst", "revision", "first_error", "spin")
    mixture = {
        "responses": {"kinds": ["best_worst", "spin"], "share": 0.6},
        "steps": {"kinds": ["first_error"], "share": 0.4},
    }
    pairs, found = run(examples, mixture=mixture)
    kinds = Counter(p.kind for p in pairs)
    assert (kinds["first_error"], kinds["best_worst"] + kinds["spin"], kinds["revision"]) == (100, 150, 0)
    pairs, _ = run(examples, mixture=mixture, total=50)
    assert Counter(p.kind == "first_error" for p in pairs) == {True: 20, False: 30}
    assert 0.4 <= share_longer(pairs) <= 0.6
    assert found.counts["part:steps"] == 100


def test_a_mixture_may_count_and_the_rest_may_be_other() -> None:
    mixture = {
        "few": {"kinds": ["revision"], "count": 7},
        "more": {"count": 30},
        "none": {"kinds": ["spin"], "count": 5},
    }
    pairs, found = run(of_kinds(40, "best_worst", "revision", "first_error", longer=20), mixture=mixture)
    assert Counter(p.kind == "revision" for p in pairs) == {True: 7, False: 30}
    assert found.counts == {"part:few": 7, "part:more": 30, "part:none": 0}


def test_a_part_that_has_none_leaves_its_share_to_the_others() -> None:
    parts = {"a": Part(kinds=("x",), share=0.5), "b": Part(kinds=("y",), share=0.3), "c": Part(share=0.2)}
    assert amounts({"a": 100, "b": 0, "c": 1000}, parts, None) == {"a": 100, "b": 0, "c": 40}
    assert amounts({"a": 10, "b": 90, "c": 90}, parts, 100) == {"a": 10, "b": 30, "c": 20}
    assert amounts({"a": 0, "b": 0, "c": 0}, parts, None) == {"a": 0, "b": 0, "c": 0}


@pytest.mark.parametrize(
    ("fields", "told"),
    [({"mixture": {"a": {}}}, "either a share or a count"), ({"total": 5}, "total goes with a mixture"),
     ({"mixture": {"a": {"share": 1}, "b": {"kinds": ["x"], "count": 1}}}, "give all parts shares"),
     ({"mixture": {"a": {"count": 1}}, "total": 5}, "total goes with shares"),
     ({"mixture": {"a": {"share": 1}, "b": {"share": 1}}}, "other stands in two parts"),
     ({"longer_chosen": [0.7, 0.6]}, "between 0 and 1")],
)  # fmt: skip
def test_a_mixture_that_makes_no_sense_is_refused(fields: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        Balance.model_validate(fields)


ROWS = st.tuples(
    st.integers(0, 4), st.sampled_from(["best_worst", "revision", "spin"]), st.integers(0, 9), st.booleans()
)


@given(st.lists(ROWS, min_size=1, max_size=40), st.integers(1, 4), st.integers(1, 4), st.randoms(), st.integers(1, 5))
@settings(max_examples=60)
def test_caps_and_groups_hold_whatever_comes(
    rows: list[tuple[int, str, int, bool]], cap: int, per_kind: int, draw: random.Random, per_shard: int
) -> None:
    by_prompt: dict[int, list[Pair]] = {}
    for place, (question, kind, strength, grouped) in enumerate(rows):
        prompt = prompt_of(f"Question {question}?")
        two = [pair_of(prompt, f"{place} a", f"{place} bb", kind=kind, score_gap=strength / 10),
               pair_of(prompt, f"{place} bbb", f"{place} a", kind=kind)]  # fmt: skip
        group: dict[str, Any] = {"group_id": f"g{place}", "group_size": 2}
        if grouped:
            two = [pair_of(prompt, p.chosen_messages[0].content, "c", kind=kind, **group) for p in two]
        by_prompt.setdefault(question, []).extend(two if grouped else two[:1])
    examples: list[Example[Any]] = [Example(prompt_of(f"Question {q}?"), pairs=pairs) for q, pairs in by_prompt.items()]
    mixture = {"a": {"kinds": ["spin"], "share": 0.4}, "b": {"share": 0.6}}
    fields = {"per_prompt": cap, "per_prompt_and_kind": per_kind, "mixture": mixture}
    kept, _ = run(examples, **fields)
    assert max(Counter(p.base_prompt_id for p in kept).values(), default=0) <= cap  # I19
    assert max(Counter((p.base_prompt_id, p.kind) for p in kept).values(), default=0) <= per_kind
    assert all(n == 2 for g, n in Counter(p.group_id for p in kept).items() if g)  # I21
    for example in examples:
        example.pairs = draw.sample(example.pairs, len(example.pairs))
    draw.shuffle(examples)
    again = decided(Balance.model_validate(fields), examples, per_shard=per_shard).kept(examples)
    assert {p.pair_id for p in again} == {p.pair_id for p in kept}  # I3
