"""Which pairs leave so that length does not tell the better answer, and a mixture has its shares. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from stages.curate.amounts import Part
from stages.curate.notes import Survivors


def parted(found: Survivors, mixture: Mapping[str, Part]) -> dict[str, list[list[int]]]:
    """The groups of each part of the mixture; those of no part are dropped (`mixture`)."""
    part_of = {kind: name for name, part in mixture.items() if part.kinds != "other" for kind in part.kinds}
    other = next((name for name, part in mixture.items() if part.kinds == "other"), None)
    parts: dict[str, list[list[int]]] = {name: [] for name in mixture}
    for members in found.groups():
        name = part_of.get(found.pairs[members[0]].kind, other)
        if name is None:
            found.drop(members, "mixture")
        else:
            parts[name].append(members)
    return parts


def drop_longer(found: Survivors, groups: Sequence[Sequence[int]], bounds: tuple[float, float]) -> bool:
    """Drops drawn pairs until the chosen arm is the longer one in a share of the pairs within `bounds` (spec pairs V9);
    pairs of equal length do not count, whole groups stay. Whether that was possible: where all pairs lean one way, no
    sample of them helps, and all stay."""
    left = [members for members in groups if members[0] not in found.reasons]
    leans = [found.pairs[i].longer for members in left for i in members]
    for way, most in ((1, bounds[1]), (-1, 1 - bounds[0])):
        with_it, against = leans.count(way), leans.count(-way)
        excess = math.ceil((with_it - most * (with_it + against)) / (1 - most) - 1e-9)
        if excess <= 0:
            continue
        alone = [m for m in left if len(m) == 1 and found.pairs[m[0]].longer == way]
        if not against or len(alone) < excess:
            return False
        for members in sorted(alone, key=found.by_draw)[:excess]:
            found.drop(members, "length_gap")
    return True


def take(found: Survivors, groups: Sequence[Sequence[int]], wanted: int) -> None:
    """Keeps at most `wanted` pairs, drawn so that the share of longer chosen arms stays as it is; drops the others
    (`mixture`)."""
    left = [members for members in groups if members[0] not in found.reasons]
    by_lean: dict[int, list[Sequence[int]]] = {}
    for members in sorted(left, key=found.by_draw):
        by_lean.setdefault(sum(found.pairs[i].longer for i in members), []).append(members)
    # every beginning of this order has the leanings of the whole, give or take one
    order = sorted(
        ((place + 0.5) / len(same), lean, members)
        for lean, same in by_lean.items()
        for place, members in enumerate(same)
    )
    for _, _, members in order:
        if len(members) <= wanted:
            wanted -= len(members)
        else:
            found.drop(members, "mixture")
