"""Which instructions are added to a prompt: MAPL's contrasts of prompts and of responses, IOPO's quads, RPO's reversals
(spec pairs 1.1-1.4, 17.2). Pure; every draw comes from the stream that is passed.

The two prompts of a contrast have the same families in the same order: only their arguments differ, so that a prompt
cannot be told from the other by its looks alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from random import Random
from typing import Literal, NamedTuple

from stages.constraints.family import Evidence
from stages.constraints.forms import is_json
from stages.constraints.instruction import FAMILIES, Instruction, conflict

Mode = Literal["a", "b"]
Instructions = tuple[Instruction, ...]
_CODE_ASKED = re.compile(
    r"\b(?:write|implement|fix|debug)\b[^.\n]{0,40}\b(?:code|function|program|script|query|class|regex)\b",
    re.IGNORECASE,
)
# What can stand beside code or JSON without changing it.
_BESIDE_CODE = frozenset({
    "length_constraints:number_lines", "keywords:existence", "keywords:forbidden_words", "keywords:frequency",
})  # fmt: skip


class Contrast(NamedTuple):
    """Two sets of instructions for one prompt, in which one text or pair of texts is judged differently."""

    one: Instructions
    other: Instructions


class Drawing(NamedTuple):
    """What is drawn from: allowed families, how many instructions, further texts about the matter, and the stream."""

    families: tuple[str, ...]
    n: int
    prompt: str
    near: tuple[str, ...]
    draw: Random

    def evidence(self, met: Iterable[str] = (), broken: Iterable[str] = ()) -> Evidence:
        """Texts to keep and to break an instruction, with the surroundings."""
        kept, broke = tuple(met), tuple(broken)
        return Evidence(kept, broke, self.prompt, tuple([t for t in self.near if t not in kept and t not in broke]))


def fitting_families(
    names: Iterable[str], prompt: str, responses: Sequence[str], taken: Iterable[str]
) -> tuple[str, ...]:
    """The families that suit the kind of answer (nothing that would break code or JSON) and go with those taken."""
    code = _CODE_ASKED.search(prompt) or any("```" in text or is_json(text, {}) for text in responses)
    there = tuple(taken)
    return tuple(sorted([
        name for name in names
        if (not code or name in _BESIDE_CODE) and not any(conflict(name, other) for other in there)
    ]))  # fmt: skip


def derived(evidences: Sequence[Evidence], drawing: Drawing) -> list[Instructions]:
    """For the first n families in drawn order that can satisfy every evidence: one instruction for each evidence."""
    order = list(drawing.families)
    drawing.draw.shuffle(order)
    found: list[Instructions] = []
    for name in order:
        if len(found) == drawing.n:
            break
        if any(conflict(name, others[0].family) for others in found):
            continue
        kwargs = [FAMILIES[name].derive(evidence, drawing.draw) for evidence in evidences]
        if None not in kwargs:
            found.append(tuple([Instruction(name, given) for given in kwargs if given is not None]))
    return found


def some_of(n: int, draw: Random) -> set[int]:
    """A random subset of range(n) that is not empty."""
    return set(draw.sample(range(n), draw.randint(1, n)))


def intra(response: str, mode: Mode, drawing: Drawing) -> Contrast | None:
    """MAPL's intra-sample contrast (1.1): `one` suits the response better than `other`.

    Mode a: it keeps all of `one` and breaks a random part of `other`. Mode b: it breaks all of `other` and keeps a random
    part of `one`.
    """
    found = derived([drawing.evidence(met=[response]), drawing.evidence(broken=[response])], drawing)
    if not found:
        return None
    flipped = some_of(len(found), drawing.draw)
    kept, broken = (tuple([both[side] for both in found]) for side in (0, 1))
    mixed = tuple([both[(i in flipped) == (mode == "a")] for i, both in enumerate(found)])
    return Contrast(kept, mixed) if mode == "a" else Contrast(mixed, broken)


def inter(first: str, second: str, drawing: Drawing) -> Contrast | None:
    """MAPL's inter-sample contrast (1.2, a reconstruction): every instruction of `one` is kept by the first response and
    broken by the second, every one of `other` the other way round."""
    one, other = drawing.evidence([first], [second]), drawing.evidence([second], [first])
    found = derived([one, other], drawing)
    return Contrast(*(tuple([both[side] for both in found]) for side in (0, 1))) if found else None


def quad(first: str, second: str, drawing: Drawing, mode: Mode = "a") -> Contrast | None:
    """IOPO's quad (1.3): as `inter` for a part of the instructions, beside others that both responses keep; in mode b,
    that both break."""
    n_altered = drawing.draw.randint(1, max(1, drawing.n - 1))
    altered = inter(first, second, drawing._replace(n=n_altered))
    if altered is None:
        return None
    taken = [i.family for i in altered.one]
    rest = tuple([name for name in drawing.families if not any(conflict(name, other) for other in taken)])
    both = drawing.evidence([first, second]) if mode == "a" else drawing.evidence([], [first, second])
    shared = [same for (same,) in derived([both], drawing._replace(families=rest, n=max(1, drawing.n - len(taken))))]
    if not shared:
        return None  # that would be `inter`
    places = list(range(len(shared) + len(taken)))
    drawing.draw.shuffle(places)
    return Contrast(*(tuple([[*shared, *side][place] for place in places]) for side in altered))


def demands(responses: Sequence[str], drawing: Drawing) -> Instructions:
    """Instructions with opposites, decided for all of two responses or more (RPO, 1.4). Half of them tell two of the
    responses apart; the others are kept or broken by one."""
    order = list(drawing.families)
    drawing.draw.shuffle(order)
    found: list[Instruction] = []
    for name in order:
        if len(found) == drawing.n:
            break
        one, other = drawing.draw.sample(responses, 2)
        met, broken = drawing.draw.choice((([one], [other]), ([one], [other]), ([one], []), ([], [one])))
        evidence = drawing.evidence(met, broken)
        kwargs = FAMILIES[name].derive(evidence, drawing.draw)
        if kwargs is None or any(conflict(name, other.family) for other in found):
            continue
        wanted = Instruction(name, kwargs)
        if wanted.opposite() is not None and None not in [wanted.check(text) for text in responses]:
            found.append(wanted)
    return tuple(found)


def reversed_for(response: str, wanted: Instructions) -> Instructions | None:
    """The instructions with each that the response breaks replaced by its opposite, so that it keeps all; None where one
    is undecided, has no opposite, or is not kept after all (asked of the text, not of logic)."""
    made: list[Instruction] = []
    for one in wanted:
        kept = one.check(response)
        turned = one if kept else one.opposite() if kept is False else None
        if turned is None or turned.check(response) is not True:
            return None
        made.append(turned)
    return tuple(made)


def strictly_better(one: Sequence[bool | None], other: Sequence[bool | None]) -> bool:
    """Strict Pareto dominance of satisfaction vectors; never where something is undecided."""
    decided = None not in one and None not in other
    return decided and list(one) != list(other) and all(a or not b for a, b in zip(one, other, strict=True))
