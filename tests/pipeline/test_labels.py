"""Label probabilities: spellings and sums."""

from __future__ import annotations

import math

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from pipeline.errors import PlanError
from pipeline.labels import label_tokens, logsumexp, merge


def tokenizer(*words: str) -> PreTrainedTokenizerFast:
    vocabulary = {"<unk>": 0} | {word: i for i, word in enumerate(words, 1)}
    made = Tokenizer(models.WordPiece(vocabulary, unk_token="<unk>", max_input_chars_per_word=100))
    made.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never")
    made.decoder = decoders.Metaspace(prepend_scheme="never")
    return PreTrainedTokenizerFast(tokenizer_object=made, unk_token="<unk>")


def test_every_one_token_spelling_of_a_label_counts() -> None:
    found = label_tokens(tokenizer("A", "▁A", "▁B"), ("A", "B"))
    assert found == {1: "A", 2: "A", 3: "B"}


def test_a_label_of_several_tokens_is_a_plan_error() -> None:
    with pytest.raises(PlanError, match="label '10' is no single token"):
        label_tokens(tokenizer("1", "##0"), ("1", "10"))


def test_two_labels_of_one_token_are_a_plan_error() -> None:
    with pytest.raises(PlanError, match="the same token"):
        label_tokens(tokenizer("A", "▁A"), ("A", " A"))


def test_the_probability_of_a_label_is_the_sum_over_its_spellings() -> None:
    found = merge(("A", "B", "C"), [("A", math.log(0.2)), ("B", math.log(0.1)), ("A", math.log(0.3))])
    assert found["A"] == pytest.approx(math.log(0.5))
    assert found["B"] == pytest.approx(math.log(0.1))
    assert found["C"] == -math.inf


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.floats(-800, 0), min_size=1, max_size=20))
def test_logsumexp_is_at_least_the_largest_and_never_overflows(values: list[float]) -> None:
    assert max(values) <= logsumexp(values) <= max(values) + math.log(len(values)) + 1e-9
