"""Hashes of pieces of text, for many texts at a time: runs of characters and of words. Pure; the same on every machine."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Sequence

import numpy as np

_PRIME = np.uint64(0x100000001B3)
_NO_WORD = re.compile(r"[\W_]+")


def spaced(text: str) -> str:
    """NFC with runs of white space as one blank."""
    return " ".join(unicodedata.normalize("NFC", text).split())


def words_only(text: str) -> str:
    """Lower case, no punctuation, one blank between words: the form in which texts are looked for in benchmarks."""
    return _NO_WORD.sub(" ", unicodedata.normalize("NFKC", text).lower()).strip()


def digest(*texts: str) -> int:
    """A 64-bit hash of whole texts."""
    hashed = hashlib.blake2b(digest_size=8)
    for text in texts:
        hashed.update(len(text).to_bytes(8, "little") + text.encode("utf-8", "replace"))
    return int.from_bytes(hashed.digest(), "little")


def digests(texts: Sequence[str]) -> np.ndarray:
    """`digest` of each text, uint64."""
    return np.fromiter((digest(text) for text in texts), dtype=np.uint64, count=len(texts))


def mixed(values: np.ndarray) -> np.ndarray:
    """uint64 values scattered over all bits (the finaliser of splitmix64)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    values ^= values >> np.uint64(31)
    return values


def shingles(texts: Sequence[str], width: int = 5) -> tuple[np.ndarray, np.ndarray]:
    """Hashes of all runs of `width` characters, and how many each text has (a shorter text is one run, padded)."""
    padded = [text if len(text) >= width else text.ljust(width) for text in texts]
    symbols = _code_points("".join(padded))
    return _runs(symbols, np.array([len(text) for text in padded], dtype=np.int64), width)


def word_runs(texts: Sequence[str], width: int) -> tuple[np.ndarray, np.ndarray]:
    """Hashes of all runs of `width` words of texts in the form of `words_only`, and how many each text has."""
    words, counts = words_of(texts)
    return _runs(words, counts, width)


def words_of(texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """A hash of each word, and how many words each text has."""
    counts = np.array([text.count(" ") + 1 if text else 0 for text in texts], dtype=np.int64)
    symbols = _code_points(" ".join([text for text in texts if text]))
    if not len(symbols):
        return symbols, counts
    blank = symbols == 32
    starts = np.concatenate(([0], np.flatnonzero(blank) + 1))
    ends = np.concatenate((np.flatnonzero(blank), [len(symbols)]))
    # a word is the sum of its letters, each scattered by its place in the word
    places = (np.arange(len(symbols)) - np.repeat(starts, ends - starts + 1)[: len(symbols)]).astype(np.uint64)
    scattered = mixed(symbols + (places << np.uint64(32)) + np.uint64(1))
    scattered[blank] = 0
    return mixed(np.add.reduceat(scattered, starts)), counts


def _code_points(text: str) -> np.ndarray:
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4").astype(np.uint64)


def _runs(symbols: np.ndarray, lengths: np.ndarray, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Hashes of the runs of `width` symbols that lie within one text; how many of them each text has."""
    counts = np.maximum(lengths - width + 1, 0)
    if not counts.any():
        return np.empty(0, dtype=np.uint64), counts
    n = len(symbols) - width + 1
    hashed = np.zeros(n, dtype=np.uint64)
    for place in range(width):
        hashed *= _PRIME
        hashed += mixed(symbols[place : place + n]) if width > 8 else symbols[place : place + n]
    inside = np.repeat(counts, lengths) > np.arange(len(symbols)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    return mixed(hashed[inside[:n]]), counts
