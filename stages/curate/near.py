"""Near-duplicate prompts of a dataset: noted shard by shard, decided over all of them."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np

from pipeline.dataset import Columns, Dataset
from pipeline.records import Prompt
from pipeline.stage import Example
from stages.curate.clusters import Clusters
from stages.curate.hashing import digests, shingles, spaced
from stages.curate.minhash import bands, candidates, jaccard, minima
from stages.curate.nearest import similar


def compared(prompt: Prompt) -> str:
    """The text by which prompts are compared: all turns but the system's, in lower case."""
    return spaced("\n".join(m.content for m in prompt.messages if m.role != "system")).lower()


def strings(values: Sequence[Any]) -> np.ndarray:
    """Texts (or bytes) as a column."""
    return np.fromiter(values, dtype=object, count=len(values))


def note_prompts(examples: Sequence[Example[Any]], n_bands: int) -> Columns:
    """Of each prompt: ids, a hash of its text, the bands of its minima, and 16 bits of each minimum."""
    prompts = [example.prompt for example in examples]
    texts = [compared(prompt) for prompt in prompts]
    signatures = minima(texts)
    return {
        "prompt_id": strings([p.prompt_id for p in prompts]),
        "base": strings([p.base_prompt_id for p in prompts]),
        "text": digests(texts),
        "bands": bands(signatures, n_bands),
        "minima": signatures.astype(np.uint16),
    }


def note_shingles(examples: Sequence[Example[Any]], wanted: frozenset[str]) -> Columns:
    """Of each wanted prompt: id, and its set of shingles as the bytes of sorted 64-bit hashes."""
    prompts = [e.prompt for e in examples if e.prompt.prompt_id in wanted]
    sets = [np.unique(shingles([compared(p)])[0]).tobytes() for p in prompts]
    return {"prompt_id": strings([p.prompt_id for p in prompts]), "shingles": strings(sets)}


def note_embeddings(examples: Sequence[Example[Any]]) -> Columns:
    """Of each prompt that has one: id and embedding."""
    rows = [row for e in examples for row in e.embeddings[-1:]]
    return {
        "prompt_id": strings([row.prompt_id for row in rows]),
        "vector": np.array([row.vector for row in rows], dtype=np.float32),
    }


def link_alike(data: Dataset[Any], noted: Columns, clusters: Clusters, threshold: float) -> None:
    """Links prompts whose embeddings have a cosine of at least `threshold`."""
    embedded = data.map(note_embeddings)
    place = {name: i for i, name in enumerate(noted["prompt_id"].tolist())}
    of = [place[name] for name in embedded["prompt_id"].tolist()]
    for a, b in similar(embedded["vector"], threshold):
        clusters.link(of[a], of[b])


def near_duplicates(data: Dataset[Any], noted: Columns, threshold: float) -> Clusters:
    """Clusters of the noted prompts: same text, same base prompt, or a Jaccard similarity of at least `threshold`.

    Candidates by MinHash are measured exactly on their sets of shingles.
    """
    clusters = Clusters(len(noted["text"]))
    clusters.link_equal(noted["text"])
    clusters.link_equal(digests(noted["base"].tolist()))
    # of equal texts, one is compared with the others
    distinct = np.unique(noted["text"], return_index=True)[1]
    pairs = distinct[candidates(noted["bands"][distinct], noted["minima"][distinct], threshold)]
    roots = clusters.roots()
    pairs = pairs[roots[pairs[:, 0]] != roots[pairs[:, 1]]]
    wanted = frozenset(noted["prompt_id"][np.unique(pairs)].tolist())
    if not wanted:
        return clusters
    found = data.map(functools.partial(note_shingles, wanted=wanted))
    sets = {i: np.frombuffer(s, dtype=np.uint64) for i, s in zip(found["prompt_id"], found["shingles"], strict=True)}
    of = noted["prompt_id"]
    for a, b in pairs.tolist():
        if clusters.root(a) != clusters.root(b) and jaccard(sets[of[a]], sets[of[b]]) >= threshold:
            clusters.link(a, b)
    return clusters
