"""Which pairs say what another one says, or the opposite. Pure."""

from __future__ import annotations

from stages.curate.notes import Survivors


def drop_repeats(found: Survivors) -> None:
    """One pair of each two arms stays (spec pairs V14, 17.4 1): of opposite labels the one with the better authority,
    both of equal authority fall; of equal labels the clearest stays."""
    same: dict[int, list[int]] = {}
    for i in found.left():
        same.setdefault(found.pairs[i].arms, []).append(i)
    for members in same.values():
        best = min(found.pairs[i].authority for i in members)
        ways = {found.pairs[i].chosen_first for i in members if found.pairs[i].authority == best}
        if len(ways) > 1:
            found.drop(members, "contradiction")
            continue
        agreed = [i for i in members if found.pairs[i].chosen_first in ways]
        found.drop([i for i in members if i not in agreed], "contradiction")
        first = min(agreed, key=lambda i: (*found.by_strength([i]), found.pairs[i].shard))
        found.drop([i for i in agreed if i != first], "exact_duplicate")


def drop_templates(found: Survivors, most: int) -> None:
    """Pairs whose chosen answer is word for word that of more than `most` base prompts (17.4 3)."""
    prompts: dict[int, set[str]] = {}
    for i in found.left():
        prompts.setdefault(found.pairs[i].chosen_text, set()).add(found.pairs[i].base)
    found.drop([i for i in found.left() if len(prompts[found.pairs[i].chosen_text]) > most], "response_template")
