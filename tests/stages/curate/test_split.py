"""Splits: what is alike stays together, whoever draws, and raters may be kept apart too."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from pipeline.pair import Rater
from pipeline.stage import Example
from stages.curate.split import Split
from tests.stages.curate.rows import asked, decided, pair_of, prompt_of

HALVES = Split(shares={"train": 0.5, "test": 0.5})


def splits(examples: list[Example[Any]], stage: Split = HALVES, **how: Any) -> dict[str, str | None]:
    return {v.subject_id: v.split for v in decided(stage, examples, **how).verdicts if v.subject == "prompt"}


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=30), st.integers(1, 6))
@settings(max_examples=40)
def test_no_cluster_and_no_base_prompt_is_in_two_splits(rows: list[tuple[int, int]], per_shard: int) -> None:
    examples: list[Example[Any]] = []
    for i, (base, variant) in enumerate(rows):
        example = asked(f"{base} {variant} {i}", base=f"base {base}")
        example.cluster = f"cluster {base % 3}" if base % 2 else None  # as dedup does: a base prompt is in one cluster
        examples.append(example)
    found = splits(examples, per_shard=per_shard)
    of: dict[str, set[str | None]] = {}
    for e in examples:
        for key in (e.cluster, e.prompt.base_prompt_id):
            if key is not None:
                of.setdefault(key, set()).add(found[e.prompt.prompt_id])
    assert all(len(each) == 1 for each in of.values())
    assert splits(examples[::-1]) == found


def test_shares_are_met_and_the_seed_draws() -> None:
    examples = [asked(f"Question {i}?") for i in range(3000)]
    found = splits(examples, Split(), per_shard=500)
    counts = Counter(found.values())
    assert counts["train"] == pytest.approx(2700, abs=60)
    assert counts["validation"] == pytest.approx(150, abs=45)
    assert splits(examples, Split(), per_shard=500, seed=8) != found


def test_a_prompt_keeps_its_split_when_others_come_or_go() -> None:
    examples = [asked(f"Question {i}?") for i in range(50)]
    few, many = splits(examples[::3]), splits(examples)
    assert few == {name: many[name] for name in few}


def test_raters_may_be_kept_apart() -> None:
    examples: list[Example[Any]] = []
    for i in range(60):
        prompt = prompt_of(f"Question {i}?")
        pairs = [pair_of(prompt, "a", "b", rater=Rater(f"rater {i % 7}")), pair_of(prompt, "c", "d")]
        examples.append(Example(prompt, pairs=pairs))
    stage = Split(shares=HALVES.shares, rater_disjoint=True)
    found = decided(stage, examples)
    split_of = {v.subject_id: v.split for v in found.verdicts if v.subject == "prompt"}
    of_rater: dict[str, set[str | None]] = {}
    for pair in found.kept(examples):
        if pair.rater:
            of_rater.setdefault(pair.rater.rater_id, set()).add(split_of[pair.prompt_id])
    assert of_rater
    assert all(len(each) == 1 for each in of_rater.values())
    assert found.reasons("pair")["kept"] > 60
    assert found.reasons("pair")["rater_in_other_split"] > 0


@pytest.mark.parametrize("shares", [{}, {"train": 0.9}, {"train": 1.2, "test": -0.2}])
def test_shares_that_are_none_are_refused(shares: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        Split(shares=shares)
