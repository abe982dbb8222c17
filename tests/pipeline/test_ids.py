"""Ids are content hashes: equal content, equal id; nothing else matters."""

from __future__ import annotations

import hashlib
import json
import unicodedata
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline import ids
from pipeline.records import Message

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
arms = st.lists(text, min_size=3, max_size=3)
scalars = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | text
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(text, inner, max_size=4), max_leaves=12
)


def canonical(value: Any) -> bytes:
    """The recipe of the specification, by other means: NFC, sorted keys, no blanks."""
    normal = unicodedata.normalize("NFC", json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False))
    return normal.encode()


@given(st.lists(st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text('abc é̈ 日\n"\\', max_size=9)))
def test_a_hash_is_sha256_of_canonical_json(parts: list[Any]) -> None:
    assert ids.content_hash(*parts) == hashlib.sha256(canonical(parts)).hexdigest()[:32]


@given(st.dictionaries(st.text("abcdef", max_size=4), values, max_size=5))
def test_the_order_of_keys_does_not_matter(data: dict[str, Any]) -> None:
    assert ids.content_hash(data) == ids.content_hash(dict(reversed(data.items())))


@given(text)
def test_composed_and_decomposed_text_are_the_same(value: str) -> None:
    composed, decomposed = unicodedata.normalize("NFC", value), unicodedata.normalize("NFD", value)
    assert ids.content_hash([composed]) == ids.content_hash([decomposed])
    assert ids.prompt_id([Message("user", composed)]) == ids.prompt_id([Message("user", decomposed)])
    assert ids.seed(composed) == ids.seed(decomposed)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("wrap", [lambda v: v, lambda v: [v], lambda v: {"a": ["é", v]}, lambda v: ("null", v)])
def test_what_has_no_canonical_form_is_refused(bad: float, wrap: Any) -> None:
    for function in (ids.content_hash, ids.seed, ids.stream):
        with pytest.raises(ValueError, match="no canonical form"):
            function(wrap(bad))


@given(text, arms, arms)
def test_swapping_the_arms_changes_the_pair_and_keeps_the_unordered_pair(
    context: str, a: list[str], b: list[str]
) -> None:
    assert ids.unordered_id(context, a, b) == ids.unordered_id(context, b, a)
    swapped = ids.pair_id("k", context, a, b) == ids.pair_id("k", context, b, a)
    assert swapped == (canonical(a) == canonical(b))


@given(text, text)
def test_a_text_cannot_pass_for_two(a: str, b: str) -> None:
    assert ids.content_hash(a, b) != ids.content_hash(a + b)
    assert ids.arm("p", None, a) == ids.arm("p", "", a)


@given(st.lists(values, max_size=4))
def test_a_seed_fits_into_31_bits_and_is_derived(parts: list[Any]) -> None:
    assert 0 <= ids.seed(*parts) < 2**31
    assert ids.seed(*parts) == ids.seed(*parts)
    assert ids.stream(*parts).random() == ids.stream(*parts).random()


def test_seeds_are_spread_evenly() -> None:
    seeds = [ids.seed("job", i, "purpose", 0) for i in range(4000)]
    assert len(set(seeds)) == 4000
    assert 1800 < sum(s >= 2**30 for s in seeds) < 2200


def test_attempts_and_purposes_draw_differently() -> None:
    assert len({ids.seed(7, "job", "prompt", purpose, attempt) for purpose in "ab" for attempt in range(50)}) == 100
