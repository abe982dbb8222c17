"""Choosing pairs from a ranked pool (spec pairs 17.2, the normative selection algorithm). Pure: no I/O, no engine.

Candidates are ranked by (−score, sha256 of seed, prompt and candidate id), never by position, so that the pairs do not
depend on the order in which answers arrived. Deviations are population deviations.
"""

from __future__ import annotations

import functools
import hashlib
import math
import random
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Literal, NamedTuple, Protocol, TypeVar

from pipeline import ids

StrategyName = Literal[
    "best_worst", "best_random", "best_second", "top_bottom", "all_pairs", "adjacent", "max_vs_mu_ksigma", "random"
]


class Scored(NamedTuple):
    """A candidate with its score; higher is better."""

    candidate_id: str
    text: str
    score: float


class Pool(NamedTuple):
    """Candidates in rank order (best first), one for each different text; population mean and deviation of scores."""

    prompt_id: str
    seed: int
    entries: tuple[Scored, ...]
    mean: float
    std: float

    def z(self, rank: int) -> float | None:
        """Standardised score of an entry; None when all scores are equal."""
        return (self.entries[rank].score - self.mean) / self.std if self.std > 0 else None


class Proposal(NamedTuple):
    """A pair as positions in the pool (0 = best), with the difference of the two scores."""

    chosen: int
    rejected: int
    gap: float


class Choice(NamedTuple):
    """Which strategy, and its numbers: `k` deviations below the mean, `m` best and worst.

    n_right: when given, chosen comes from the first n_right of the pool and rejected from the others.
    """

    strategy: str
    k: float = 2.0
    m: int = 2
    n_right: int | None = None

    def allows(self, i: int, j: int) -> bool:
        """Whether i may be chosen over j."""
        return self.n_right is None or i < self.n_right <= j


def tie_key(seed: int, prompt_id: str, name: str) -> bytes:
    """What orders equals: a hash of what they are."""
    return hashlib.sha256(f"{seed}/{prompt_id}/{name}".encode()).digest()


def normal_text(text: str) -> str:
    """Text as it is compared: NFC, runs of white space as one blank."""
    return " ".join(_composed(text).split())


def _composed(text: str) -> str:
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def _signature(composed: str) -> tuple[int, int, int]:
    """Counts that white space cannot change: texts that differ here need not be compared word by word."""
    return composed.count("e"), composed.count("a"), composed.count("1")


def _ending(composed: str) -> list[str]:
    """The last word or its end, where most texts differ: a look that does not grow with the text."""
    return composed.rstrip()[-24:].split()[-1:]


def same_text(a: str, b: str) -> bool:
    """Whether two texts are the same but for white space and Unicode form."""
    a, b = _composed(a), _composed(b)
    return _ending(a) == _ending(b) and _signature(a) == _signature(b) and a.split() == b.split()


def mean_std(values: Sequence[float]) -> tuple[float, float]:
    """Mean and population standard deviation; exactly (v, 0) when all values are v."""
    low, high = min(values), max(values)
    if low == high:
        return low, 0.0
    mean = math.fsum(values) / len(values)
    return mean, math.sqrt(math.fsum([(v - mean) ** 2 for v in values]) / len(values))


def rank(candidates: Iterable[Scored], seed: int, prompt_id: str) -> Pool:
    """The pool: blank texts and NaN left out, equal texts merged (mean score), the rest in rank order."""
    merged: list[tuple[float, bytes, Scored]] = []
    for group in same_texts([c for c in candidates if c.score == c.score and not c.text.isspace() and c.text]):
        keyed = [(tie_key(seed, prompt_id, entry.candidate_id), entry) for entry in group]
        key, first = min(keyed)
        score = first.score if len(group) == 1 else mean_std([entry.score for entry in group])[0]
        score = round(score, 12)  # sums of the same scores in another order must stay a tie
        merged.append((-score, key, Scored(first.candidate_id, first.text, score)))
    merged.sort()
    entries = tuple(entry for _, _, entry in merged)
    mean, std = mean_std([e.score for e in entries]) if entries else (0.0, 0.0)
    return Pool(prompt_id, seed, entries, mean, std)


class Texted(Protocol):
    """What has a text."""

    @property
    def text(self) -> str: ...


T = TypeVar("T", bound=Texted)


def same_texts(candidates: Iterable[T]) -> Iterable[list[T]]:
    """Candidates grouped by normal text."""
    alike: dict[tuple[int, int, int], list[T]] = {}
    for entry in candidates:
        alike.setdefault(_signature(_composed(entry.text)), []).append(entry)
    for group in alike.values():
        if len(group) == 1:
            yield group
            continue
        same: dict[str, list[T]] = {}
        for entry in group:
            same.setdefault(normal_text(entry.text), []).append(entry)
        yield from same.values()


def propose(pool: Pool, choice: Choice) -> list[Proposal]:
    """The pairs the strategy names, each strictly ordered, widest gap first, equals by hash. Raises KeyError."""
    scores = [entry.score for entry in pool.entries]
    if len(scores) < 2 or scores[0] == scores[-1] or not choice.allows(0, len(scores) - 1):
        return []
    drawn = functools.partial(ids.stream, "pair_responses", pool.seed, pool.prompt_id, choice.strategy)
    named = dict.fromkeys(STRATEGIES[choice.strategy](scores, pool, choice, drawn))
    found = [Proposal(i, j, scores[i] - scores[j]) for i, j in named if scores[i] > scores[j] and choice.allows(i, j)]
    if len(found) > 1:
        found.sort(key=lambda p: (-round(p.gap, 12), _pair_key(pool, p)))
    return found


def _pair_key(pool: Pool, p: Proposal) -> bytes:
    return tie_key(
        pool.seed, pool.prompt_id, pool.entries[p.chosen].candidate_id + pool.entries[p.rejected].candidate_id
    )


Draw = Callable[[], random.Random]  # opens the stream of the prompt; few strategies need it
Strategy = Callable[[Sequence[float], Pool, Choice, Draw], list[tuple[int, int]]]


def _lower(scores: Sequence[float], choice: Choice) -> list[int]:
    return [j for j, score in enumerate(scores) if score < scores[0] and choice.allows(0, j)]


def _best_worst(scores: Sequence[float], pool: Pool, choice: Choice, drawn: Draw) -> list[tuple[int, int]]:
    return [(0, len(scores) - 1)]


def _best_random(scores: Sequence[float], pool: Pool, choice: Choice, drawn: Draw) -> list[tuple[int, int]]:
    return [(0, drawn().choice(_lower(scores, choice)))]


def _best_second(scores: Sequence[float], pool: Pool, choice: Choice, drawn: Draw) -> list[tuple[int, int]]:
    return [(0, _lower(scores, choice)[0])]


def _max_vs_mu_ksigma(
    scores: Sequence[float], pool: Pool, choice: Choice, drawn: Draw
) -> list[tuple[int, int]]:  # fmt: skip
    """Best against the one nearest to mean − k·deviation (arXiv 2502.16825); of two as near, the lower."""
    target = pool.mean - choice.k * pool.std
    return [(0, min(_lower(scores, choice), key=lambda j: (abs(scores[j] - target), scores[j], j)))]


def _top_bottom(scores: Sequence[float], pool: Pool, choice: Choice, drawn: Draw) -> list[tuple[int, int]]:
    n, m = len(scores), min(choice.m, len(scores))
    return [(i, j) for i in range(m) for j in range(n - m, n) if i < j]


def _adjacent(scores: Sequence[float], pool: Pool, choice: Choice, drawn: Draw) -> list[tuple[int, int]]:
    return [(i, i + 1) for i in range(len(scores) - 1)]


def _all_pairs(scores: Sequence[float], pool: Pool, choice: Choice, drawn: Draw) -> list[tuple[int, int]]:
    return [(i, j) for j in range(len(scores)) for i in range(j)]


def _random(scores: Sequence[float], pool: Pool, choice: Choice, drawn: Draw) -> list[tuple[int, int]]:
    strict = [
        (i, j) for i, j in _all_pairs(scores, pool, choice, drawn) if scores[i] > scores[j] and choice.allows(i, j)
    ]
    return [drawn().choice(strict)]


STRATEGIES: Mapping[str, Strategy] = {
    "best_worst": _best_worst,
    "best_random": _best_random,
    "best_second": _best_second,
    "top_bottom": _top_bottom,
    "all_pairs": _all_pairs,
    "adjacent": _adjacent,
    "max_vs_mu_ksigma": _max_vs_mu_ksigma,
    "random": _random,
}
