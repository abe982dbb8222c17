"""Duplicates: who stays is decided by authority, clearness and content, never by order or place."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from pipeline.pair import Pair
from pipeline.records import Embedding, Message
from pipeline.stage import Example
from stages.curate.dedup import Dedup
from stages.exports.choice import AUTHORITY
from tests.stages.curate.rows import asked, decided, pair_of, prompt_of

LONG = "Write a short letter to the owner of the old mill about the broken wheel and the price of flour this year."


def test_prompts_that_differ_in_case_and_white_space_or_a_word_are_one_cluster() -> None:
    texts = [LONG, f" {LONG.upper()}\n", LONG.replace("year", "week"), "Name three rivers."]
    found = decided(Dedup(prompts_per_cluster=1), [asked(text) for text in texts])
    assert found.reasons("prompt") == {"kept": 2, "exact_duplicate": 1, "near_duplicate": 1}
    clusters = [v.cluster for v in found.verdicts if v.subject == "prompt"]
    assert clusters[0] == clusters[1] == clusters[2] != clusters[3]
    assert clusters[0] == min(prompt_of(text).prompt_id for text in texts[:3])
    assert found.counts == {"clusters": 2}


def test_variants_of_a_base_prompt_are_one_cluster_and_stay_together() -> None:
    examples = [asked(LONG, base="b"), asked("Be brief: rivers?", base="b"), asked(LONG.replace("year", "week"))]
    found = decided(Dedup(prompts_per_cluster=1), examples)
    assert [v.keep for v in found.verdicts] == [True, True, False]
    assert len({v.cluster for v in found.verdicts}) == 1


def test_a_system_prompt_does_not_make_another_question() -> None:
    told = replace(
        prompt_of(LONG), messages=(Message("system", "Be brief. " * 20), Message("user", LONG)), prompt_id="x"
    )
    found = decided(Dedup(), [asked(LONG), Example(told)])
    assert len({v.cluster for v in found.verdicts}) == 1


def test_embeddings_link_what_asks_the_same_in_other_words() -> None:
    examples = [asked("How old are you?"), asked("What is your age?"), asked("Where is Rome?")]
    for example, vector in zip(examples, ((0.6, 0.8), (0.8, 0.6), (1.0, 0.0)), strict=True):
        example.embeddings = [Embedding(example.prompt.prompt_id, "m", vector)]
    assert decided(Dedup(semantic=0.95), examples, per_shard=2).counts == {"clusters": 2}
    assert decided(Dedup(), examples).counts == {"clusters": 3}
    assert Dedup(semantic=0.95).needs() == (Pair, Embedding)
    assert Dedup().needs() == (Pair,)


def test_a_pair_that_says_the_same_is_dropped_and_the_clearer_one_stays() -> None:
    prompt = prompt_of("2+2?")
    pairs = [
        pair_of(prompt, "4", "5", score_gap=0.2), pair_of(prompt, "4", " 5\n", score_gap=0.9),
        pair_of(prompt, "4", "6"),
    ]  # fmt: skip
    found = decided(Dedup(), [Example(prompt, pairs=pairs)])
    assert found.reasons("pair") == {"kept": 2, "exact_duplicate": 1}
    assert found.of(pairs[0].pair_id).reason == "exact_duplicate"


def test_a_pair_without_scores_is_as_clear_as_it_is_likely() -> None:
    prompt = prompt_of("2+2?")
    pairs = [pair_of(prompt, "4", "5", pref_prob=0.7), pair_of(prompt, "4", " 5\n", pref_prob=0.95)]
    found = decided(Dedup(), [Example(prompt, pairs=pairs)])
    assert found.of(pairs[0].pair_id).reason == "exact_duplicate"
    assert found.of(pairs[1].pair_id).keep


@pytest.mark.parametrize(("first", "second"), [(a, b) for a in AUTHORITY for b in AUTHORITY])
def test_of_opposite_labels_the_better_authority_stays_and_equal_ones_fall(first: str, second: str) -> None:
    prompt = prompt_of("2+2?")
    pairs = [pair_of(prompt, "4", "5", first, score_gap=0.1), pair_of(prompt, "5", "4", second, score_gap=0.9)]
    kept = decided(Dedup(), [Example(prompt, pairs=pairs)]).kept([Example(prompt, pairs=pairs)])
    ranks = AUTHORITY.index(first), AUTHORITY.index(second)
    assert kept == ([] if ranks[0] == ranks[1] else [pairs[0] if ranks[0] < ranks[1] else pairs[1]])


def test_pairs_that_run_in_a_circle_fall_but_for_those_that_are_believed_more() -> None:
    prompt = prompt_of("2+2?")
    ring = [pair_of(prompt, arms[0], arms[1]) for arms in ("ab", "bc", "cd", "da", "ax", "yb")]
    found = decided(Dedup(), [Example(prompt, pairs=ring)])
    assert found.reasons("pair") == {"intransitive": 4, "kept": 2}
    checked = [
        pair_of(prompt, arms[0], arms[1], "checker" if arms in ("ab", "bc") else "judge")
        for arms in ("ab", "bc", "ca", "cd")
    ]
    found = decided(Dedup(), [Example(prompt, pairs=checked)])
    assert found.reasons("pair") == {"intransitive": 1, "kept": 3}
    assert found.of(checked[2].pair_id).reason == "intransitive"


def test_opposite_labels_under_different_contexts_are_no_contradiction() -> None:
    prompt = prompt_of("2+2?")
    arms = [("4", "5", "terse"), ("5", "4", "playful")]
    pairs = [pair_of(prompt, c, r, context_id=context, pair_id=context) for c, r, context in arms]
    assert decided(Dedup(), [Example(prompt, pairs=pairs)]).reasons("pair") == {"kept": 2}


def test_arms_that_differ_in_white_space_alone_keep_their_direction() -> None:
    prompt = prompt_of("Indent it.")
    pairs = [pair_of(prompt, "a\n  b", "a\nb"), pair_of(prompt, "a\nb", "a\n  b")]
    assert decided(Dedup(), [Example(prompt, pairs=pairs)]).reasons("pair") == {"contradiction": 2}


def test_an_answer_that_many_prompts_share_is_a_template() -> None:
    examples = [asked(f"Question number {'abcdef'[i] * 9}?", ("As asked.", f"No {i}")) for i in range(4)]
    assert decided(Dedup(), examples).reasons("pair") == {"response_template": 4}
    assert decided(Dedup(), examples[:3]).reasons("pair") == {"kept": 3}
    assert decided(Dedup(template_prompts=None), examples).reasons("pair") == {"kept": 4}


def test_a_group_that_loses_a_member_is_dropped_whole() -> None:
    prompt = prompt_of("2+2?")
    group: dict[str, Any] = {"group_id": "g", "group_size": 2}
    pairs = [pair_of(prompt, "4", "5", **group), pair_of(prompt, "6", "7", **group),
             pair_of(prompt, "5", "4", "checker"), pair_of(prompt, "8", "9", group_id="h", group_size=2)]  # fmt: skip
    found = decided(Dedup(), [Example(prompt, pairs=pairs)])
    assert found.reasons("pair") == {"contradiction": 1, "incomplete_group": 2, "kept": 1}


def test_a_cluster_keeps_its_clearest_pairs() -> None:
    examples = [
        asked(LONG.replace("year", word), *[(f"{word} {i}", "no") for i in range(4)], score_gap=gap)
        for word, gap in (("year", 0.3), ("week", 0.9), ("moon", 0.5))
    ]
    found = decided(Dedup(pairs_per_cluster=6), examples)
    assert found.reasons("pair") == {"kept": 6, "over_cluster_cap": 6}
    assert sorted(p.score_gap or 0 for p in found.kept(examples)) == [0.5, 0.5, 0.9, 0.9, 0.9, 0.9]


TEXTS = st.sampled_from(
    [LONG, LONG.upper(), LONG.replace("year", "week"), "Name three rivers.", "name three  rivers.", "?"]
)


@given(
    st.lists(
        st.tuples(TEXTS, st.sampled_from("abc"), st.sampled_from("abc"), st.sampled_from(AUTHORITY)),
        min_size=1,
        max_size=12,
    ),
    st.randoms(),
    st.integers(1, 5),
)
@settings(max_examples=40)
def test_what_stays_is_free_of_repeats_and_independent_of_order_and_shards(
    rows: list[tuple[str, str, str, str]], draw: random.Random, per_shard: int
) -> None:
    texts = list(dict.fromkeys(text for text, *_ in rows))
    examples: list[Example[Pair]] = []
    for text in texts:
        prompt = prompt_of(text)
        pairs = [pair_of(prompt, c, r, source) for t, c, r, source in rows if t == text and c != r]
        examples.append(Example(prompt, pairs=list({p.pair_id: p for p in pairs}.values())))
    stage = Dedup(template_prompts=None, pairs_per_cluster=2)
    kept = decided(stage, examples).kept(examples)
    assert len({p.unordered_id for p in kept}) == len(kept)  # I4
    for example in examples:
        example.pairs = draw.sample(example.pairs, len(example.pairs))
    draw.shuffle(examples)
    again = decided(stage, examples, per_shard=per_shard)
    assert {p.pair_id for p in again.kept(examples)} == {p.pair_id for p in kept}
    assert sum(again.reasons("pair").values()) == sum(len(e.pairs) for e in examples)
