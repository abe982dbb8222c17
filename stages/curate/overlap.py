"""Texts that repeat a benchmark's items (spec pairs 17.4 4). Pure.

A text hits a benchmark when they share a run of 13 words (Skywork), or when runs of 8 words that they share cover at
least half of its words (Tulu 3). A prompt of fewer than 13 words hits where it is an item word for word.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from msgspec import Struct

from stages.curate.hashing import digests, word_runs, words_of, words_only

LONG, SHORT, COVERED = 13, 8, 0.5


class Benchmark(Struct, frozen=True):
    """The items of one benchmark as sorted hashes: runs of 13 and of 8 words, and whole items."""

    name: str
    long_runs: np.ndarray
    short_runs: np.ndarray
    items: np.ndarray


def benchmark(name: str, items: Sequence[str]) -> Benchmark:
    """The hashes of a benchmark's texts (questions, answers)."""
    texts = [words for item in items if (words := words_only(item))]
    runs = [np.unique(word_runs(texts, width)[0]) for width in (LONG, SHORT)]
    return Benchmark(name, runs[0], runs[1], np.unique(digests(texts)))


def hits(texts: Sequence[str], benchmarks: Sequence[Benchmark], whole: bool) -> list[tuple[str, ...]]:
    """The names of the benchmarks that each text repeats.

    whole: a text of fewer than 13 words is compared word for word with whole items; right for prompts, not for answers,
    which may well be "yes".
    """
    plain = [words_only(text) for text in texts]
    counts = words_of(plain)[1]
    long_runs, short_runs = word_runs(plain, LONG), word_runs(plain, SHORT)
    short = np.flatnonzero((counts < LONG) & (counts > 0)) if whole else np.empty(0, dtype=np.int64)
    short_items = digests([plain[i] for i in short])
    found: list[list[str]] = [[] for _ in texts]
    for each in benchmarks:
        hit = _some(each.long_runs, *long_runs)
        hit |= (counts >= LONG) & (_covered(each.short_runs, *short_runs, counts) >= COVERED * counts)
        hit[short[np.isin(short_items, each.items)]] = True
        for i in np.flatnonzero(hit):
            found[i].append(each.name)
    return [tuple(names) for names in found]


def _some(known: np.ndarray, runs: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Whether any run of each text is known."""
    owners = np.repeat(np.arange(len(counts)), counts)
    found = np.zeros(len(counts), dtype=bool)
    found[owners[_known(known, runs)]] = True
    return found


def _covered(known: np.ndarray, runs: np.ndarray, counts: np.ndarray, words: np.ndarray) -> np.ndarray:
    """How many words of each text lie in a known run of SHORT words."""
    owners = np.repeat(np.arange(len(counts)), counts)
    starts = np.arange(len(runs)) - np.repeat(np.cumsum(counts) - counts, counts)  # of each run, in its text
    at = np.flatnonzero(_known(known, runs))
    first = (np.cumsum(words) - words)[owners[at]] + starts[at]  # word of all texts where a known run begins
    edges = np.zeros(int(words.sum()) + SHORT + 1, dtype=np.int64)
    np.add.at(edges, first, 1)
    np.add.at(edges, first + SHORT, -1)
    inside = np.cumsum(np.cumsum(edges)[: int(words.sum())] > 0)
    ends = np.concatenate(([0], inside))[np.cumsum(words)]
    return np.diff(ends, prepend=0)


def _known(known: np.ndarray, runs: np.ndarray) -> np.ndarray:
    """Whether each run is in the sorted array `known`."""
    if not len(known) or not len(runs):
        return np.zeros(len(runs), dtype=bool)
    at = np.minimum(np.searchsorted(known, runs), len(known) - 1)
    found: np.ndarray = known[at] == runs
    return found
