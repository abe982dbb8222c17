"""Which of several pairs and rationales about the same two answers is exported. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from pipeline.pair import Pair
from pipeline.records import Rationale, Record
from stages.exports.wanted import Explanation
from stages.rationales.picking import best

# Who is believed when labels contradict each other (spec pairs V14), best first.
AUTHORITY = ("checker", "verifier", "human", "votes", "given", "judge", "rm", "construction")


def without_contradictions(pairs: Sequence[Pair]) -> tuple[list[Pair], list[tuple[Pair, str, str]]]:
    """Pairs of which no two compare the same answers; and the others with reason and detail.

    The best authority wins; the same label a second time is a `duplicate`; opposite labels of equal authority are all
    refused as a `contradiction`.
    """
    if len({pair.unordered_id for pair in pairs}) == len(pairs):  # most prompts
        return list(pairs), []
    groups: dict[str, list[Pair]] = {}
    for pair in pairs:
        groups.setdefault(pair.unordered_id, []).append(pair)
    kept: list[Pair] = []
    refused: list[tuple[Pair, str, str]] = []
    for group in groups.values():
        group.sort(key=_authority)  # stable: the order of the jobs decides between equals
        best = [p for p in group if _authority(p) == _authority(group[0])]
        if len({_better(p) for p in best}) > 1:
            detail = f"{best[0].label_source} prefers either answer to the other"
            refused += [(p, "contradiction", detail) for p in group]
            continue
        kept.append(group[0])
        for pair in group[1:]:
            same = _better(pair) == _better(group[0])
            detail = f"the same answers are compared by pair {group[0].pair_id} ({group[0].label_source})"
            refused.append((pair, "duplicate" if same else "contradiction", detail))
    return kept, refused


def broken_groups(items: Sequence[Record]) -> dict[int, tuple[str, str]]:
    """Places of pairs whose group is not whole, with reason and detail (spec pairs V13, I21): half of a reversal teaches a
    preference without the condition that it holds under."""
    there = Counter(item.group_id for item in items if isinstance(item, Pair))
    return {
        place: (
            "incomplete_group",
            f"{there[item.group_id]} of the {item.group_size} pairs of its group can be written",
        )
        for place, item in enumerate(items)
        if isinstance(item, Pair) and item.group_id and there[item.group_id] < (item.group_size or 1)
    }


def _better(pair: Pair) -> tuple[object, ...]:
    """The arm that is preferred; of two prompts with one answer, it is the prompt that differs."""
    return pair.prompt_messages, pair.chosen_messages


def _authority(pair: Pair) -> int:
    return AUTHORITY.index(pair.label_source) if pair.label_source in AUTHORITY else len(AUTHORITY)


def explanations(rationales: Iterable[Rationale]) -> dict[str, Explanation]:
    """The rationale to export for each pair id, where one is good enough."""
    of_pair: dict[str, list[Rationale]] = {}
    for rationale in rationales:
        of_pair.setdefault(rationale.pair_id, []).append(rationale)
    return {
        pair_id: Explanation(
            r.text or "", r.kind, "rejected" if r.shown_order else "chosen", r.verify.rewritable is not False,
            r.statement or "",
        )
        for pair_id, group in of_pair.items() if (r := best(group)) is not None
    }  # fmt: skip
