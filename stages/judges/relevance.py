"""R³, a reward of relevance, length and variety without a reward model (spec judges §8, naver-ai/RRR). Pure."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import NamedTuple

_WORD = re.compile(r"\w+|[^\w\s]+")  # as nltk's wordpunct_tokenize
# A model that goes on as the other role, or leaves a page blank, has ended its answer there.
_OTHER_ROLE = re.compile(r"\n\s*(?:###\s*)?(?:Human|User|Assistant|AI|Question|Instruction|Input)\s*:|\n{4,}")
_REFERENCE_TOP = 3.5  # relevance to a reference that counts as whole


class Parts(NamedTuple):
    """relevance: dot product of the embeddings of prompt and answer, or of reference and answer where `closed` (the
    prompt has one right answer). length: LI, words / 100, capped. variety: RP, share of distinct n-grams."""

    relevance: float
    length: float
    variety: float
    closed: bool


def own_answer(text: str) -> str:
    """The answer up to where the model begins to speak as somebody else, or leaves three empty lines."""
    found = _OTHER_ROLE.search(text)
    return (text[: found.start()] if found else text).strip()


def words(text: str) -> list[str]:
    """Words and runs of punctuation."""
    return _WORD.findall(text)


def length_incentive(n_words: int, cap: float) -> float:
    """LI = words / 100, at most `cap`: uncapped, length decides everything."""
    return min(n_words / 100, cap)


def variety(tokens: Sequence[str], n: int = 3) -> float:
    """RP = distinct n-grams / n-grams; 1 for fewer than n tokens."""
    grams = [tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1)]
    return len(set(grams)) / len(grams) if grams else 1.0


def product(parts: Parts, max_tokens: int) -> float:
    """R as published: r·LI·RP, or F(r)·RP where `closed`, with F linear from [0, 3.5] to [0, max_tokens / 100]."""
    if parts.closed:
        return parts.relevance * (max_tokens / 100 / _REFERENCE_TOP) * parts.variety
    return parts.relevance * parts.length * parts.variety


def standardised(pool: Sequence[Parts | None]) -> list[float | None]:
    """Mean of the parts, each standardised over the pool of one prompt (population deviation; 0 where all are equal).

    No part can dominate by its scale, which is the encoder's. LI does not count where `closed`.
    """
    known = [parts for parts in pool if parts is not None]
    columns = [_z([p.relevance for p in known]), _z([p.variety for p in known])]
    if not all(parts.closed for parts in known):
        columns.append(_z([p.length for p in known]))
    means = iter([math.fsum(row) / len(columns) for row in zip(*columns, strict=True)])
    return [None if parts is None else next(means) for parts in pool]


def _z(values: Sequence[float]) -> list[float]:
    if not values or max(values) - min(values) <= 1e-9 * max(map(abs, values)):  # equal, but for rounding
        return [0.0] * len(values)
    mean = math.fsum(values) / len(values)
    std = math.sqrt(math.fsum((v - mean) ** 2 for v in values) / len(values))
    return [(v - mean) / std if std > 0 else 0.0 for v in values]
