"""Which of several pairs and rationales about the same two answers is exported. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pipeline.pair import Pair
from pipeline.records import Rationale
from stages.exports.arms import Explanation

# Who is believed when labels contradict each other (spec pairs V14), best first.
AUTHORITY = ("checker", "verifier", "human", "votes", "given", "judge", "rm", "construction")
KINDS = ("detailed", "contrastive", "general")


def without_contradictions(pairs: Sequence[Pair]) -> tuple[list[Pair], list[tuple[Pair, str, str]]]:
    """Pairs of which no two compare the same answers; and the others with reason and detail.

    The best authority wins; the same label a second time is a `duplicate`; opposite labels of equal authority are all
    refused as a `contradiction`.
    """
    groups: dict[str, list[Pair]] = {}
    for pair in pairs:
        groups.setdefault(pair.unordered_id, []).append(pair)
    kept: list[Pair] = []
    refused: list[tuple[Pair, str, str]] = []
    for group in groups.values():
        group.sort(key=_authority)  # stable: the order of the jobs decides between equals
        best = [p for p in group if _authority(p) == _authority(group[0])]
        if len({p.chosen_messages for p in best}) > 1:
            detail = f"{best[0].label_source} prefers either answer to the other"
            refused += [(p, "contradiction", detail) for p in group]
            continue
        kept.append(group[0])
        for pair in group[1:]:
            same = pair.chosen_messages == group[0].chosen_messages
            detail = f"the same answers are compared by pair {group[0].pair_id} ({group[0].label_source})"
            refused.append((pair, "duplicate" if same else "contradiction", detail))
    return kept, refused


def _authority(pair: Pair) -> int:
    return AUTHORITY.index(pair.label_source) if pair.label_source in AUTHORITY else len(AUTHORITY)


def explanations(rationales: Iterable[Rationale]) -> dict[str, Explanation]:
    """The rationale to export for each pair id: of those that passed, blind before told, detailed before general."""
    best: dict[str, tuple[tuple[bool, int, str], Rationale]] = {}
    for rationale in rationales:
        if rationale.status != "ok" or not (rationale.text or rationale.statement):
            continue
        kind = KINDS.index(rationale.kind) if rationale.kind in KINDS else len(KINDS)
        key = (rationale.label_visible, kind, rationale.rationale_id)
        if rationale.pair_id not in best or key < best[rationale.pair_id][0]:
            best[rationale.pair_id] = key, rationale
    return {
        pair_id: Explanation(r.text or r.statement or "", r.kind, "rejected" if r.shown_order else "chosen")
        for pair_id, (_, r) in best.items()
    }  # fmt: skip
