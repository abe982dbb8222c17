"""A verifiable instruction: a family and its arguments. The registry of families, which of them conflict, and how
instructions are read from data. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
from msgspec import Struct

from pipeline import ids
from stages.constraints.family import RELATIONS, Family, Kwargs
from stages.constraints.forms import FORMS
from stages.constraints.keywords import KEYWORDS
from stages.constraints.languages import LANGUAGE, LANGUAGES
from stages.constraints.numeric import NUMERIC

CHECKER = "prefsynth"  # name of this set of checkers in rows; the version is the family's
FAMILIES: Mapping[str, Family] = {family.name: family for family in (*NUMERIC, *KEYWORDS, *FORMS, LANGUAGE)}

_WHOLE = frozenset({
    "detectable_format:json_format", "detectable_format:constrained_response", "combination:two_responses",
    "combination:repeat_prompt",
})  # fmt: skip
_BESIDE = frozenset({"keywords:existence", "keywords:forbidden_words", "punctuation:no_comma"})  # go with those
_CLASHES: tuple[frozenset[str], ...] = tuple([
    frozenset(names) for names in (
        ("change_case:english_lowercase", "change_case:english_capital", "change_case:capital_word_frequency"),
        ("length_constraints:number_paragraphs", "length_constraints:nth_paragraph_first_word"),
        ("length_constraints:number_sentences", "length_constraints:number_paragraphs"),
        ("length_constraints:number_lines", "length_constraints:nth_paragraph_first_word"),
        ("detectable_format:bullet_points", "detectable_format:number_bullet_lists", "detectable_format:numbered_list"),
        ("detectable_format:multiple_sections", "detectable_format:number_highlighted_sections"),
        ("detectable_content:no_digits", "detectable_format:numbered_list"),
        ("detectable_content:no_digits", "detectable_format:multiple_sections"),
        ("startend:end_checker", "last_word:last_word_answer", "detectable_content:postscript", "startend:quotation"),
        ("startend:quotation", "detectable_format:title", "first_word:first_word_answer"),
        ("keywords:existence", "keywords:forbidden_words", "keywords:frequency"),
    )
])  # fmt: skip
_OF_A_LANGUAGE = frozenset({
    "keywords:existence", "keywords:frequency", "keywords:forbidden_words", "keywords:letter_frequency",
    "startend:end_checker", "first_word:first_word_answer", "last_word:last_word_answer",
    "change_case:english_lowercase", "change_case:english_capital", "detectable_format:multiple_sections",
})  # fmt: skip


class Instruction(Struct, frozen=True):
    """One verifiable demand on a response. Make it with `instruction`, which checks the arguments."""

    family: str
    kwargs: Kwargs

    @property
    def text(self) -> str:
        """The sentence for a prompt; family and arguments give it exactly (spec pairs V2)."""
        return FAMILIES[self.family].text(self.kwargs)

    @property
    def kwargs_json(self) -> str:
        """The arguments in canonical JSON."""
        return msgspec.json.encode(self.kwargs, order="sorted").decode()

    @property
    def constraint_id(self) -> str:
        """Hash of family and arguments."""
        return ids.content_hash("constraint/1", self.family, self.kwargs)

    @property
    def version(self) -> str:
        """Of the family's checker."""
        return FAMILIES[self.family].version

    def check(self, response: str) -> bool | None:
        """Kept, broken, or unknown (None). Of an empty response nothing is known."""
        return FAMILIES[self.family].check(response, self.kwargs) if response.strip() else None

    def opposite(self) -> Instruction | None:
        """The instruction that is kept exactly where this one is broken; None where nobody would give it."""
        found = FAMILIES[self.family].opposite(self.kwargs)
        return Instruction(*found) if found else None


def instruction(family: str, kwargs: Mapping[str, Any]) -> Instruction:
    """A checked instruction. Raises ValueError: no such family, an argument that is missing, unknown or of a wrong type.

    Arguments are never drawn here: a checker that fills them in at random (IFEvalG) checks what nobody asked for.
    """
    known = FAMILIES.get(family)
    if known is None:
        raise ValueError(f"no instruction family {family!r}; families: {', '.join(sorted(FAMILIES))}")
    given = {key: value for key, value in kwargs.items() if value is not None}
    types = {**known.needs, **known.may}
    for key in known.needs.keys() - given.keys():
        raise ValueError(f"{family} needs the argument {key} ({known.needs[key].__name__}), which is missing or null")
    for key, value in given.items():
        if key not in types:
            raise ValueError(f"{family} has no argument {key!r}; arguments: {', '.join(types) or 'none'}")
        if not _fits(key, value, types[key]):
            raise ValueError(f"{family}: {key} is {value!r:.60}, expected {_expected(key, types[key])}")
    return Instruction(family, given)


def _fits(key: str, value: Any, wanted: type) -> bool:
    if wanted is int:
        return type(value) is int and value >= 0
    if wanted is list:
        return isinstance(value, list) and bool(value) and all(isinstance(v, str) and v.strip() for v in value)
    if not isinstance(value, wanted):
        return False
    if key.endswith("relation"):
        return value in RELATIONS
    if key == "language":
        return value in LANGUAGES
    return key != "letter" or len(str(value)) == 1


def _expected(key: str, wanted: type) -> str:
    if key.endswith("relation"):
        return f"one of {', '.join(RELATIONS)}"
    if key == "language":
        return f"one of {', '.join(LANGUAGES)}"
    return {"letter": "one character"}.get(
        key, {int: "a whole number, 0 or more", list: "a list of texts"}.get(wanted, wanted.__name__)
    )


def conflict(one: str, other: str) -> bool:
    """Whether two families must not stand in one prompt. Symmetric; every family conflicts with itself."""
    if one == other:
        return True
    pair = {one, other}
    if any(pair <= clash for clash in _CLASHES):
        return True
    if "language:response_language" in pair and pair & _OF_A_LANGUAGE:
        return True
    return bool(pair & _WHOLE) and not pair & _BESIDE


def compatible(families: Iterable[str]) -> bool:
    """Whether the families can stand in one prompt, each once."""
    names = list(families)
    return not any(conflict(a, b) for i, a in enumerate(names) for b in names[:i])


def read_instructions(family_ids: Any, kwargs: Any) -> tuple[Instruction, ...]:
    """Instructions from two lists of a data set, IFEval's `instruction_id_list` and `kwargs`.

    Raises ValueError as `instruction`, and where the lists do not belong together.
    """
    if not isinstance(family_ids, Sequence) or isinstance(family_ids, str) or not isinstance(kwargs, Sequence):
        raise ValueError("expected a list of instruction ids and a list of their arguments")
    if len(family_ids) != len(kwargs):
        raise ValueError(f"{len(family_ids)} instruction ids have {len(kwargs)} sets of arguments")
    return tuple([instruction(str(name), given or {}) for name, given in zip(family_ids, kwargs, strict=True)])
