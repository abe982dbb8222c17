"""Search over a local corpus: Okapi BM25 over the rows of a JSON Lines file, held in memory."""

from __future__ import annotations

import functools
import hashlib
import json
import re
from collections import Counter
from pathlib import Path

import numpy as np
from msgspec import Struct

from pipeline.errors import PlanError

K_MAX = 8  # passages of one answer
_K1, _B = 1.5, 0.75
_WORD = re.compile(r"\w+")
_SNIPPET = 600  # characters


class Passage(Struct, frozen=True, gc=False):
    """One row of the corpus. title: its `title`, else its `id`, else its line number."""

    title: str
    text: str


class Corpus:
    """The passages and, for each word, in which of them it stands and with what weight."""

    def __init__(self, passages: list[Passage]) -> None:
        self.passages = passages
        counts = [Counter(_words(f"{p.title} {p.text}")) for p in passages]
        lengths = np.array([c.total() for c in counts], dtype=np.float64)
        norm = _K1 * (1 - _B + _B * lengths / max(lengths.mean(), 1.0)) if passages else lengths
        places: dict[str, list[int]] = {}
        for i, count in enumerate(counts):
            for word in count:
                places.setdefault(word, []).append(i)
        self._weights: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        for word, at in places.items():
            rows = np.array(at, dtype=np.int64)
            tf = np.array([counts[i][word] for i in at], dtype=np.float64)
            idf = np.log1p((len(passages) - len(at) + 0.5) / (len(at) + 0.5))
            self._weights[word] = rows, idf * tf * (_K1 + 1) / (tf + norm[rows])

    def search(self, query: str, k: int) -> list[Passage]:
        """The k best passages that share a word with the query, best first; of equal ones the earlier first."""
        scores = np.zeros(len(self.passages))
        for word in dict.fromkeys(_words(query)):
            if word in self._weights:
                rows, weights = self._weights[word]
                scores[rows] += weights
        best = np.argsort(-scores, kind="stable")[: min(k, K_MAX)]
        return [self.passages[i] for i in best if scores[i] > 0]


def _words(text: str) -> list[str]:
    return _WORD.findall(text.casefold())


@functools.lru_cache(maxsize=4)
def read_corpus(path: str) -> Corpus:
    """The corpus at `path`: JSON Lines with `text` and, if known, `title` or `id`. Raises PlanError with the line."""
    passages = []
    try:
        with Path(path).open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                if line.strip():
                    passages.append(_passage(line, number, path))
    except OSError as error:
        raise PlanError(
            f"corpus {path} cannot be read ({error.strerror}); give the path of a JSON Lines file"
        ) from None
    except UnicodeDecodeError:
        raise PlanError(f"corpus {path} is not UTF-8 text") from None
    return Corpus(passages)


def _passage(line: str, number: int, path: str) -> Passage:
    try:
        row = json.loads(line)
        text = row["text"]
    except (ValueError, KeyError, TypeError):
        text = None
    if not isinstance(text, str):
        raise PlanError(f'corpus {path}, line {number}: expected an object with "text", such as {{"text": "…"}}')
    return Passage(str(row.get("title") or row.get("id") or f"line {number}"), text)


@functools.lru_cache(maxsize=4)
def corpus_hash(path: str) -> str:
    """SHA-256 of the file. Raises PlanError when it cannot be read."""
    try:
        with Path(path).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise PlanError(
            f"corpus {path} cannot be read ({error.strerror}); give the path of a JSON Lines file"
        ) from None


def snippet(passage: Passage, query: str) -> str:
    """The title and that part of the text in which the query's words begin."""
    words = _words(query)
    text = " ".join(passage.text.split())
    low = text.casefold()
    first = min((low.find(word) for word in words if word in low), default=0)
    start = max(0, first - 100) if len(text) > _SNIPPET else 0
    return f"{passage.title}: {text[start : start + _SNIPPET]}"
