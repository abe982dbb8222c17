"""Families that count: words, sentences, paragraphs, lines, bullets, sections, letters … Pure."""

from __future__ import annotations

from random import Random

from stages.constraints import counts
from stages.constraints.family import Counted, Evidence, Family, Kwargs, counted
from stages.constraints.wording import amount, frequency, quoted, shared_words

_LETTERS = "etaoinsrhldcum"


def _letter(evidence: Evidence, draw: Random) -> Kwargs:
    return {"letter": draw.choice(_LETTERS)}


def _keyword(evidence: Evidence, draw: Random) -> Kwargs | None:
    words = shared_words(evidence.met or evidence.broken)
    return {"keyword": draw.choice(words)} if words else None


def _marker(evidence: Evidence, draw: Random) -> Kwargs:
    return {"section_spliter": draw.choice(("Section", "SECTION", "Part"))}


def _named(kwargs: Kwargs) -> str:
    char = kwargs["letter"]
    return f"the letter {char.lower()}" if char.isalpha() else f"the character {char}"


NUMERIC: tuple[Family, ...] = tuple([
    counted(spec) for spec in (
        Counted(
            "length_constraints:number_words",
            lambda text, kwargs: counts.words(text),
            lambda relation, n, kwargs: f"Use {amount(relation, n, 'word')}.",
            "num_words", slack=10,
        ),
        Counted(
            "length_constraints:number_sentences",
            lambda text, kwargs: counts.sentences(text),
            lambda relation, n, kwargs: f"Use {amount(relation, n, 'sentence')}.",
            "num_sentences", slack=2,
        ),
        Counted(
            "length_constraints:number_paragraphs",
            lambda text, kwargs: counts.divided(text),
            lambda relation, n, kwargs: (
                f"Write {amount(relation, n, 'paragraph')}, separated by the markdown divider ***."
            ),
            "num_paragraphs", default="exactly", least=2,
        ),
        Counted(
            "length_constraints:number_lines",
            lambda text, kwargs: counts.lines(text),
            lambda relation, n, kwargs: f"Use {amount(relation, n, 'line')}.",
            "num_lines",
        ),
        Counted(
            "detectable_format:number_bullet_lists",
            lambda text, kwargs: counts.bullets(text),
            lambda relation, n, kwargs: f"Use {amount(relation, n, 'bullet point')}, each on a line that begins with * or -.",
            "num_bullets", default="exactly", least=1,
        ),
        Counted(
            "detectable_format:number_highlighted_sections",
            lambda text, kwargs: counts.highlights(text),
            lambda relation, n, kwargs: f"Highlight {amount(relation, n, 'section')} with markdown, like *this*.",
            "num_highlights", default="at least", least=1,
        ),
        Counted(
            "detectable_format:multiple_sections",
            lambda text, kwargs: counts.sections(text, kwargs["section_spliter"]),
            lambda relation, n, kwargs: (
                f"Split your answer into {amount(relation, n, 'section')}; "
                f"mark the beginning of each with {kwargs['section_spliter']} and its number."
            ),
            "num_sections", default="exactly", more_is_doubtful=True, least=2,
            subject=_marker, subject_needs={"section_spliter": str},
        ),
        Counted(
            "detectable_content:number_placeholders",
            lambda text, kwargs: counts.placeholders(text),
            lambda relation, n, kwargs: (
                f"Use {amount(relation, n, 'placeholder')} in square brackets, such as [address]."
            ),
            "num_placeholders", default="at least", least=1,
        ),
        Counted(
            "change_case:capital_word_frequency",
            lambda text, kwargs: counts.capital_words(text),
            lambda relation, n, kwargs: f"Use {amount(relation, n, 'word')} in all capital letters.",
            "capital_frequency", "capital_relation", least=1, slack=2,
        ),
        Counted(
            "keywords:frequency",
            lambda text, kwargs: counts.occurrences(text, kwargs["keyword"]),
            lambda relation, n, kwargs: f"Use the word {quoted(kwargs['keyword'])} {frequency(relation, n)}.",
            "frequency", subject=_keyword, subject_needs={"keyword": str},
        ),
        Counted(
            "keywords:letter_frequency",
            lambda text, kwargs: counts.character(text, kwargs["letter"]),
            lambda relation, n, kwargs: f"Use {_named(kwargs)} {frequency(relation, n)}.",
            "let_frequency", "let_relation", slack=3, subject=_letter, subject_needs={"letter": str},
        ),
    )
])  # fmt: skip
