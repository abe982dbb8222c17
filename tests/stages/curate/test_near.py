"""Hashing, MinHash and clusters: what is found is what an exact comparison of all pairs finds."""

from __future__ import annotations

import itertools
import random
import subprocess
import sys

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from stages.curate.clusters import Clusters
from stages.curate.hashing import digest, shingles, spaced, word_runs, words_only
from stages.curate.minhash import PERMUTATIONS, band_count, bands, candidates, jaccard, minima
from stages.curate.nearest import similar

TEXT = st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=60)


def exact(a: str, b: str) -> float:
    one, two = ({t[i : i + 5] for i in range(len(t) - 4)} or {t.ljust(5)} for t in (a, b))
    return len(one & two) / len(one | two)


def edited(draw: random.Random, words: list[str], n: int) -> list[str]:
    """Texts of twenty words, a third of them a copy of another with some words replaced."""
    texts: list[str] = []
    for i in range(n):
        tokens = draw.choices(words, k=20)
        if i % 3 == 2:
            tokens = draw.choice(texts).split()
            for _ in range(draw.randint(1, 4)):
                tokens[draw.randrange(20)] = draw.choice(words)
        texts.append(" ".join(tokens))
    return texts


@given(st.lists(TEXT, max_size=6))
def test_a_text_is_hashed_alike_alone_and_among_others(texts: list[str]) -> None:
    plain = [words_only(t) for t in texts]
    for hashed, counts, alone in (
        (*shingles(texts), [shingles([t])[0] for t in texts]),
        (*word_runs(plain, 3), [word_runs([t], 3)[0] for t in plain]),
    ):
        parts = np.split(hashed, np.cumsum(counts)[:-1]) if texts else []
        assert [part.tolist() for part in parts] == [part.tolist() for part in alone]


@given(TEXT, TEXT)
def test_similarity_is_that_of_the_sets_of_runs(a: str, b: str) -> None:
    sets = [np.unique(shingles([text])[0]) for text in (a, b)]
    assert jaccard(*sets) == exact(a, b)


@given(st.lists(st.sampled_from("abc"), max_size=12), st.integers(1, 5))
def test_runs_of_words_are_equal_exactly_where_the_words_are(words: list[str], width: int) -> None:
    runs = [tuple(words[i : i + width]) for i in range(len(words) - width + 1)]
    hashed, counts = word_runs([" ".join(words)], width)
    assert counts.tolist() == [len(runs)]
    assert len(set(hashed.tolist())) == len(set(runs))


def test_hashes_are_the_same_on_every_machine_and_in_every_process() -> None:
    code = (
        "from stages.curate.hashing import digest, shingles, word_runs; from stages.curate.minhash import minima;"
        "print(digest('a', 'b'), shingles(['naïve'])[0], word_runs(['two words'], 2)[0], minima(['What is it?'])[0, :2])"
    )
    said = {subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout}
    wanted = "5666916665733659087 [1656587390402540097] [9752569812384043942] [487027633 182264252]\n"
    assert said == {wanted}


def test_whole_texts_are_told_apart_by_their_parts() -> None:
    assert digest("ab", "c") != digest("a", "bc")
    assert spaced(" A\n\tb ") == "A b"
    assert words_only("Don't stop, 3.5 km_h!") == "don t stop 3 5 km h"


def test_the_share_of_equal_minima_estimates_the_similarity() -> None:
    draw = random.Random(3)
    texts = edited(draw, [f"w{i}x{i * 7}" for i in range(500)], 60)
    signatures = minima(texts)
    errors = [
        (signatures[a] == signatures[b]).mean() - exact(texts[a], texts[b])
        for a, b in itertools.combinations(range(60), 2)
    ]  # fmt: skip
    assert abs(np.mean(errors)) < 0.01
    assert max(map(abs, errors)) < 5 * 0.5 / PERMUTATIONS**0.5


def test_bands_find_the_pairs_above_the_threshold_and_few_others() -> None:
    draw = random.Random(5)
    texts = edited(draw, [f"w{i}x{i * 7}" for i in range(2000)], 600)
    signatures = minima(texts)
    found = {tuple(pair) for pair in candidates(bands(signatures, band_count(0.8)), signatures, 0.8).tolist()}
    alike = {(a, b) for a, b in itertools.combinations(range(600), 2) if exact(texts[a], texts[b]) >= 0.8}
    assert len(alike) > 50
    assert len(alike - found) <= 0.02 * len(alike)
    assert all(exact(texts[a], texts[b]) > 0.5 for a, b in found)
    assert all(a < b for a, b in found)


def test_fewer_minima_in_a_band_find_less_similar_texts() -> None:
    assert [band_count(t) for t in (0.5, 0.8, 0.95, 1.0)] == [42, 18, 8, 1]


def test_a_thousand_copies_are_linked_without_a_million_comparisons() -> None:
    signatures = np.zeros((1000, PERMUTATIONS), dtype=np.uint16)
    pairs = candidates(np.zeros((1000, 1), dtype=np.uint64), signatures, 0.8)
    assert len(pairs) < 32_000
    clusters = Clusters(1000)
    for a, b in pairs.tolist():
        clusters.link(a, b)
    assert set(clusters.roots().tolist()) == {0}


@given(st.integers(1, 12), st.lists(st.tuples(st.integers(0, 11), st.integers(0, 11)), max_size=20), st.randoms())
def test_clusters_do_not_depend_on_the_order_of_the_links(
    n: int, links: list[tuple[int, int]], draw: random.Random
) -> None:
    links = [(a % n, b % n) for a, b in links]
    first, second = Clusters(n), Clusters(n)
    for a, b in links:
        first.link(a, b)
    draw.shuffle(links)
    for a, b in links:
        second.link(b, a)
    roots = first.roots().tolist()
    assert roots == second.roots().tolist()
    assert all(roots[a] == roots[b] for a, b in links)
    assert all(roots[i] <= i for i in range(n))


def test_vectors_that_point_the_same_way_are_found_among_many() -> None:
    draw = np.random.default_rng(1)
    base = draw.normal(size=(6000, 24)) + 1.0  # as embeddings do, all lean one way
    near = base[:500] + draw.normal(size=(500, 24)) * 0.15
    vectors = np.concatenate((base, near)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    cosines = vectors @ vectors.T
    alike = {(a, b) for a, b in zip(*np.nonzero(cosines >= 0.97), strict=True) if a < b}
    found = set(similar(vectors, 0.97))
    assert len(alike) > 400
    assert found <= alike
    assert len(found) >= 0.95 * len(alike)
    assert list(similar(vectors[:0], 0.9)) == []
