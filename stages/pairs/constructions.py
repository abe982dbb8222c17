"""Which answers of a prompt stand against each other because of how they were made (spec pairs 17.2). Pure."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Literal, NamedTuple

from pipeline.records import Candidate
from stages.candidates.making import Making, making_of

Kind = Literal[
    "delta_weak_strong", "on_vs_off", "spin", "revision", "contrast_prompt", "corrupted", "modified_instruction",
    "student_icl",
]  # fmt: skip
Confirm = Literal["off", "unless_contradicted", "required"]
Duel = tuple[Candidate, Candidate]  # better and worse, by construction


class Rules(NamedTuple):
    """What a kind asks for unless the config says otherwise.

    confirm: what judges and checks have to say (stages/pairs/confirmation.py). max_similarity: of the arms, below;
    None where they are alike by construction. edit_ratio: edit distance of the arms over the longer, within.
    """

    confirm: Confirm
    min_confirm: float = 0.5
    max_similarity: float | None = 0.95
    edit_ratio: tuple[float, float] | None = None


RULES: Mapping[Kind, Rules] = {
    "delta_weak_strong": Rules("off"),
    "on_vs_off": Rules("required"),
    "spin": Rules("unless_contradicted", max_similarity=0.9),
    "revision": Rules("required"),
    "contrast_prompt": Rules("required", min_confirm=0.7),
    "corrupted": Rules("required", max_similarity=None, edit_ratio=(0.02, 0.2)),
    "modified_instruction": Rules("unless_contradicted"),
    "student_icl": Rules("off"),
}


def duels(kind: Kind, candidates: Sequence[Candidate]) -> list[Duel]:
    """The pairs a kind names, in no order that means anything. Of `on_vs_off` and `student_icl`, whose label is a
    score, every two answers once."""
    return list(_DUELS[kind](candidates))


def made_columns(chosen: Candidate, rejected: Candidate) -> dict[str, Making]:
    """How the arms were made, by arm; empty for arms that were simply generated or given."""
    arms = {"chosen": making_of(chosen), "rejected": making_of(rejected)}
    return {arm: making for arm, making in arms.items() if making is not None}


def _of(candidates: Sequence[Candidate], *relations: str) -> list[Candidate]:
    return [c for c in candidates if c.policy_relation in relations]


def _weak_strong(candidates: Sequence[Candidate]) -> Iterator[Duel]:
    return ((s, w) for s in _of(candidates, "strong") for w in _of(candidates, "weak"))


def _on_off(candidates: Sequence[Candidate]) -> Iterator[Duel]:
    others = [c for c in _of(candidates, "off", "weak", "strong", "human", "gold") if making_of(c) is None]
    return ((on, other) for on in _of(candidates, "on") for other in others)


def _spin(candidates: Sequence[Candidate]) -> Iterator[Duel]:
    return ((gold, own) for gold in _of(candidates, "gold", "human") for own in _of(candidates, "on"))


def _children(candidates: Sequence[Candidate], way: str) -> Iterator[Duel]:
    """(parent, child) of every answer made by `way` whose parent is there."""
    by_id = {c.candidate_id: c for c in candidates}
    for child in candidates:
        making = making_of(child)
        if making is not None and making.way == way and making.parent_id in by_id:
            yield by_id[making.parent_id], child


def _revision(candidates: Sequence[Candidate]) -> Iterator[Duel]:
    return ((revision, draft) for draft, revision in _children(candidates, "revise"))


def _contrast(candidates: Sequence[Candidate]) -> Iterator[Duel]:
    of_group: dict[str, dict[str, Candidate]] = {}
    for candidate in candidates:
        making = making_of(candidate)
        if making is not None and making.way == "contrast":
            of_group.setdefault(making.group or "", {})[making.role or ""] = candidate
    return ((group["plus"], group["minus"]) for group in of_group.values() if {"plus", "minus"} <= group.keys())


def _any_two(candidates: Sequence[Candidate]) -> Iterator[Duel]:
    return itertools.combinations(sorted(candidates, key=lambda c: c.candidate_id), 2)


_DUELS: Mapping[Kind, Callable[[Sequence[Candidate]], Iterator[Duel]]] = {
    "delta_weak_strong": _weak_strong,
    "on_vs_off": _on_off,
    "spin": _spin,
    "revision": _revision,
    "contrast_prompt": _contrast,
    "corrupted": lambda candidates: _children(candidates, "corrupt"),
    "modified_instruction": lambda candidates: _children(candidates, "modify_instruction"),
    "student_icl": _any_two,
}
