"""Which pairs say what another one says, or the opposite, alone or together with others. Pure."""

from __future__ import annotations

import numpy as np

from stages.curate.clusters import Clusters
from stages.curate.notes import Survivors
from stages.judges.cycles import components


def drop_repeats(found: Survivors) -> None:
    """One pair of each two arms stays (spec pairs V14, 17.4 1): of opposite labels the one with the better authority,
    both of equal authority fall; of equal labels the clearest stays."""
    same: dict[frozenset[int], list[int]] = {}
    for i in found.left():
        same.setdefault(frozenset((found.pairs[i].winner, found.pairs[i].loser)), []).append(i)
    for members in same.values():
        best = min(found.pairs[i].authority for i in members)
        ways = {found.pairs[i].winner for i in members if found.pairs[i].authority == best}
        if len(ways) > 1:
            found.drop(members, "contradiction")
            continue
        agreed = [i for i in members if found.pairs[i].winner in ways]
        found.drop([i for i in members if i not in agreed], "contradiction")
        first = min(agreed, key=lambda i: (*found.by_strength([i]), found.pairs[i].shard))
        found.drop([i for i in agreed if i != first], "exact_duplicate")


def drop_cycles(found: Survivors) -> None:
    """Pairs that run in a circle with others (V12). Those of better authority are laid down first; of each authority, all
    that lie on a circle with what is there fall."""
    edges = found.left()
    nodes: dict[int, int] = {}
    for i in edges:
        for arm in (found.pairs[i].winner, found.pairs[i].loser):
            nodes.setdefault(arm, len(nodes))
    clusters = Clusters(len(nodes))
    for i in edges:
        clusters.link(nodes[found.pairs[i].winner], nodes[found.pairs[i].loser])
    pools: dict[int, list[int]] = {}
    for i in edges:
        pools.setdefault(clusters.root(nodes[found.pairs[i].winner]), []).append(i)
    for pool in pools.values():
        if len(pool) > 2:
            found.drop(_circling(found, pool), "intransitive")


def _circling(found: Survivors, pool: list[int]) -> list[int]:
    """The pairs of one pool of answers that fall."""
    arms = {arm: None for i in pool for arm in (found.pairs[i].winner, found.pairs[i].loser)}
    place = {arm: n for n, arm in enumerate(arms)}
    ends = {i: (place[found.pairs[i].winner], place[found.pairs[i].loser]) for i in pool}
    beats = np.zeros((len(arms), len(arms)), dtype=bool)
    fallen: list[int] = []
    for authority in sorted({found.pairs[i].authority for i in pool}):
        level = [i for i in pool if found.pairs[i].authority == authority]
        for i in level:
            beats[ends[i]] = True
        on = components(beats)
        circling = [i for i in level if on[ends[i][0]] == on[ends[i][1]]]
        for i in circling:
            beats[ends[i]] = False
        fallen += circling
    return fallen


def drop_templates(found: Survivors, most: int) -> None:
    """Pairs whose chosen answer is word for word that of more than `most` base prompts (17.4 3)."""
    prompts: dict[int, set[str]] = {}
    for i in found.left():
        prompts.setdefault(found.pairs[i].chosen_text, set()).add(found.pairs[i].base)
    found.drop([i for i in found.left() if len(prompts[found.pairs[i].chosen_text]) > most], "response_template")
