"""Reading label probabilities: which tokens spell a label, and what their log-probabilities say.

The trap is that a label has several spellings ("A", " A"), each a token of its own, and that models differ in which
one they use; so the probability of a label is the sum over its one-token spellings (spec judges B1).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from pipeline.errors import PlanError


def label_tokens(raw: Any, labels: Sequence[str]) -> dict[int, str]:
    """Token id -> label, for every one-token spelling of every label.

    raw: a Hugging Face tokenizer. Raises PlanError for a label without such a spelling ("10" with one token per digit)
    and for two labels that share one.
    """
    found: dict[int, str] = {}
    for label in labels:
        spellings = [raw.encode(text, add_special_tokens=False) for text in (label, " " + label)]
        # sentencepiece puts a blank before every text it encodes, so the bare spelling is only in the vocabulary
        bare = raw.convert_tokens_to_ids(label)
        ids = {s[0] for s in spellings if len(s) == 1} | ({bare} if isinstance(bare, int) else set())
        ids = {i for i in ids if raw.decode([i]).strip() == label.strip()}
        if not ids:
            raise PlanError(
                f"label {label!r} is no single token of {raw.name_or_path}; choose labels that are (1-5, A/B)"
            )
        if shared := ids & found.keys():
            raise PlanError(f"labels {label!r} and {found[min(shared)]!r} are the same token")
        found.update(dict.fromkeys(sorted(ids), label))
    return found


def merge(labels: Sequence[str], spelled: Iterable[tuple[str, float]]) -> dict[str, float]:
    """Natural log-probability of each label: logsumexp over its spellings; -inf for a label that has none."""
    found: dict[str, list[float]] = {label: [] for label in labels}
    for label, logprob in spelled:
        found[label].append(logprob)
    return {label: logsumexp(values) for label, values in found.items()}


def logsumexp(values: Sequence[float]) -> float:
    """log(sum(exp(values))), without overflow; -inf for none."""
    top = max(values, default=-math.inf)
    return top if top == -math.inf else top + math.log(sum(math.exp(v - top) for v in values))
