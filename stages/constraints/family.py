"""A family of verifiable instructions: text from arguments, a tri-state check, arguments derived from responses. Pure.

Tri-state (spec pairs 1.5, V1): True and False where every usual reading of the instruction agrees, else None. Counts are
ranges (lowest, highest) over the usual ways to count, so that a change of tokenizer cannot turn a stored label over.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from random import Random
from typing import Any, NamedTuple

from msgspec import Struct

Kwargs = Mapping[str, Any]
Count = tuple[int, int]
RELATIONS = ("at least", "at most", "less than", "exactly")
NEGATED = "negated"  # optional argument of the families that have a text for the contrary


class Evidence(NamedTuple):
    """What arguments are derived from: responses that must keep the instruction, and ones that must break it.

    near: further texts about the same matter, whose words are as likely in a prompt as those of the responses.
    """

    met: tuple[str, ...] = ()
    broken: tuple[str, ...] = ()
    prompt: str = ""
    near: tuple[str, ...] = ()


class Family(Struct, frozen=True):
    """One kind of instruction. `name`: IFEval's or IFEvalG's id where they have it.

    text: the sentence that arguments make; a function of them alone. check: (response, arguments) -> kept, broken, or
    unknown. derive: arguments that `Evidence` satisfies with a distance, or None. opposite: family and
    arguments of the instruction that is kept exactly where this one is broken, or None. needs, may: arguments and their types.
    """

    name: str
    text: Callable[[Kwargs], str]
    check: Callable[[str, Kwargs], bool | None]
    derive: Callable[[Evidence, Random], Kwargs | None]
    opposite: Callable[[Kwargs], tuple[str, Kwargs] | None]
    needs: Mapping[str, type] = {}
    may: Mapping[str, type] = {}
    version: str = "1"


def compare(count: Count, relation: str, bound: int) -> bool | None:
    """Whether a count stands in `relation` to `bound`; None where its lowest and highest reading disagree."""
    low, high = count
    if relation == "exactly":
        return low == bound if low == high else None if low <= bound <= high else False
    holds = {"at least": lambda n: n >= bound, "at most": lambda n: n <= bound, "less than": lambda n: n < bound}
    first, last = holds[relation](low), holds[relation](high)
    return first if first == last else None


def between(counts_met: list[Count], counts_broken: list[Count], slack: int, draw: Random) -> tuple[str, int] | None:
    """A relation and a bound that the first counts keep and the others break, each by max(slack, a fifth of it).

    The order in which the relations are tried is drawn; so is the bound, where a range would do.
    """
    relations = ["at least", "at most"]
    draw.shuffle(relations)
    for relation in relations:
        below, above = (counts_met, counts_broken) if relation == "at most" else (counts_broken, counts_met)
        lowest = max([high + max(slack, high // 5) for _, high in below], default=None)
        highest = min([low - max(slack, low // 5) for low, _ in above], default=None)
        low = highest if lowest is None else lowest
        high = low if highest is None else highest
        if low is not None and high is not None and 1 <= low <= high:
            return relation, draw.randint(low, high)
    return None


class Counted(NamedTuple):
    """A family about how often something occurs. bound, relation: names of its arguments; default: the relation where
    none is given. more_is_doubtful: some read an exact number as at least so many. slack: least distance of derived
    bounds. least: arguments are derived where a response has so many. subject: further arguments (which word is
    counted), derived from the evidence.
    """

    name: str
    measure: Callable[[str, Kwargs], Count]
    text: Callable[[str, int, Kwargs], str]  # ("at most", 4, arguments) -> the sentence
    bound: str
    relation: str = "relation"
    default: str | None = None
    more_is_doubtful: bool = False
    slack: int = 1
    least: int = 0
    subject: Callable[[Evidence, Random], Kwargs | None] = lambda evidence, draw: {}
    subject_needs: Mapping[str, type] = {}


def counted(spec: Counted) -> Family:
    """The family of a count."""

    def relation_of(kwargs: Kwargs) -> str:
        return str(kwargs.get(spec.relation, spec.default))

    def check(text: str, kwargs: Kwargs) -> bool | None:
        count, relation, bound = spec.measure(text, kwargs), relation_of(kwargs), kwargs[spec.bound]
        if relation == "exactly" and spec.more_is_doubtful and count[1] > bound:
            return None
        return compare(count, relation, bound)

    def derive(evidence: Evidence, draw: Random) -> Kwargs | None:
        subject = spec.subject(evidence, draw)
        if subject is None:
            return None
        met, broken = ([spec.measure(text, subject) for text in texts] for texts in (evidence.met, evidence.broken))
        if max([low for low, _ in (*met, *broken)], default=0) < spec.least:
            return None
        found = between(met, broken, spec.slack, draw)
        return {**subject, spec.relation: found[0], spec.bound: found[1]} if found else None

    def opposite(kwargs: Kwargs) -> tuple[str, Kwargs] | None:
        n = kwargs[spec.bound]
        contrary = {"at least": ("less than", n), "less than": ("at least", n), "at most": ("at least", n + 1)}
        found = contrary.get(relation_of(kwargs))  # exactly: breaking it is two instructions, not one
        return (spec.name, {**kwargs, spec.relation: found[0], spec.bound: found[1]}) if found else None

    relation_key = {spec.relation: str}
    return Family(
        name=spec.name,
        text=lambda kwargs: spec.text(relation_of(kwargs), kwargs[spec.bound], kwargs),
        check=check,
        derive=derive,
        opposite=opposite,
        needs={**spec.subject_needs, spec.bound: int, **({} if spec.default else relation_key)},
        may=relation_key if spec.default else {},
    )


class Flag(NamedTuple):
    """A family that a response keeps or not. yes, no: the sentences for it and against it; no: None where nobody would
    ask for the contrary. subject: as for `Counted`.
    """

    name: str
    holds: Callable[[str, Kwargs], bool | None]
    yes: Callable[[Kwargs], str] | str
    no: str | None = None
    subject: Callable[[Evidence, Random], Kwargs | None] = lambda evidence, draw: {}
    needs: Mapping[str, type] = {}


def flag(spec: Flag) -> Family:
    """The family of a yes or no."""

    def text(kwargs: Kwargs) -> str:
        if kwargs.get(NEGATED):
            return str(spec.no)
        return spec.yes if isinstance(spec.yes, str) else spec.yes(kwargs)

    def check(response: str, kwargs: Kwargs) -> bool | None:
        held = spec.holds(response, kwargs)
        return held if held is None or not kwargs.get(NEGATED) else not held

    def derive(evidence: Evidence, draw: Random) -> Kwargs | None:
        subject = spec.subject(evidence, draw)
        if subject is None:
            return None
        met = {spec.holds(text, subject) for text in evidence.met}
        broken = {spec.holds(text, subject) for text in evidence.broken}
        if met <= {True} and broken <= {False}:
            return subject
        return {**subject, NEGATED: True} if spec.no and met <= {False} and broken <= {True} else None

    def opposite(kwargs: Kwargs) -> tuple[str, Kwargs] | None:
        if kwargs.get(NEGATED):
            return spec.name, {key: value for key, value in kwargs.items() if key != NEGATED}
        return (spec.name, {**kwargs, NEGATED: True}) if spec.no else None

    return Family(spec.name, text, check, derive, opposite, spec.needs, {NEGATED: bool} if spec.no else {})
