"""Model families: a judge favours texts of its own kind."""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence

from pipeline.records import Candidate

_FAMILY = re.compile(r"[a-z]+")


@functools.lru_cache(maxsize=256)
def model_family(model: str | None) -> str | None:
    """The family a model's name tells: `Qwen/Qwen3-8B` and `qwen2.5` are qwen, `gpt-4o` is gpt; None without a name."""
    found = _FAMILY.search(model.rsplit("/", 1)[-1].lower()) if model else None
    return found[0] if found else None


def own_family(candidates: Sequence[Candidate], judge: str) -> frozenset[str]:
    """Ids of the candidates of the judge's family, where rivals of other families stand beside them.

    A pool of one family only gives no one an advantage, so that nothing is excluded there. judge: model or family name.
    """
    if len({c.model for c in candidates}) < 2:
        return frozenset()
    families = {c.candidate_id: model_family(c.model) for c in candidates if c.policy_relation != "canary"}
    if len(set(families.values())) < 2:
        return frozenset()
    own = model_family(judge)
    return frozenset(c for c, family in families.items() if family == own)
