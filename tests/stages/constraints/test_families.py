"""Checkers: what is kept, what is broken, what nobody can tell; and every bug known of the checkers in use."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.constraints.family import Evidence
from stages.constraints.instruction import FAMILIES, compatible, conflict, instruction, read_instructions

DATA = Path(__file__).resolve().parents[3] / "../shared/data/ifeval_even.jsonl"
ROSES = "The garden is small, but it is full of roses. Bees visit it daily."
N = "length_constraints:number_"
F = "detectable_format:"
NTH = "length_constraints:nth_paragraph_first_word"
HELD = "detectable_content:number_placeholders"
CAPITALS = "change_case:capital_word_frequency"

DECIDED: list[tuple[str, dict[str, Any], str, bool | None]] = [
    (f"{N}words", {"relation": "at least", "num_words": 3}, "one two three", True),
    (f"{N}words", {"relation": "less than", "num_words": 3}, "one two three", False),
    (f"{N}words", {"relation": "at least", "num_words": 3}, "don't go", None),  # two words or three
    (f"{N}words", {"relation": "at most", "num_words": 3}, "\u5ead\u306f\u5c0f\u3055\u3044\u304c\u8594\u8587", None),
    (f"{N}sentences", {"relation": "at most", "num_sentences": 2}, ROSES, True),
    (f"{N}sentences", {"relation": "at least", "num_sentences": 2}, "Dr. Smith left.", None),
    (f"{N}sentences", {"relation": "less than", "num_sentences": 2}, "No stop at all", True),
    (f"{N}sentences", {"relation": "at least", "num_sentences": 4}, "One! Two? Three. Four\u2026", True),
    (f"{N}paragraphs", {"num_paragraphs": 2}, "One.\n***\nTwo.", True),
    (f"{N}paragraphs", {"num_paragraphs": 2}, "One.\n***\nTwo.\n***\n", True),
    (f"{N}paragraphs", {"num_paragraphs": 3}, "One.\n***\n\n***\nTwo.", None),
    (f"{N}lines", {"relation": "at most", "num_lines": 2}, "a\n\nb\n", True),
    (f"{F}number_bullet_lists", {"num_bullets": 2}, "* a\n* b", True),
    (f"{F}number_bullet_lists", {"num_bullets": 2}, "- a\n- b\n---", None),  # IFEval takes the rule for an item
    (f"{F}number_bullet_lists", {"num_bullets": 1}, "*a*\nb", None),  # and emphasis
    (f"{F}number_highlighted_sections", {"num_highlights": 2}, "*a* and **b**", True),
    (f"{F}number_highlighted_sections", {"num_highlights": 1}, "* a\n* b", False),
    (f"{F}number_highlighted_sections", {"num_highlights": 1}, "* an item with *", None),
    (f"{F}multiple_sections", {"section_spliter": "PART", "num_sections": 2}, "PART 1\na\nPART 2\nb", True),
    (f"{F}multiple_sections", {"section_spliter": "PART", "num_sections": 1}, "see PART 1", None),
    (f"{F}multiple_sections", {"section_spliter": "PART", "num_sections": 1}, "PART 1\nPART 2", None),  # IFEval: kept
    (HELD, {"num_placeholders": 1}, "Dear [name],", True),
    (HELD, {"num_placeholders": 1}, "see [1] and [x](http://a)", None),
    (CAPITALS, {"capital_relation": "at least", "capital_frequency": 1}, "I go", None),
    (CAPITALS, {"capital_relation": "at least", "capital_frequency": 1}, "NASA", True),
    ("keywords:frequency", {"keyword": "art", "relation": "at least", "frequency": 1}, "a party", None),
    ("keywords:frequency", {"keyword": "C++", "relation": "at least", "frequency": 1}, "C++ is fast", True),
    ("keywords:letter_frequency", {"letter": "!", "let_relation": "at least", "let_frequency": 2}, "Hey! Ho!", True),
    ("keywords:existence", {"keywords": ["rose", "bee"]}, "A rose and a bee.", True),
    ("keywords:existence", {"keywords": ["rose"]}, ROSES, None),
    ("keywords:existence", {"keywords": ["(tree"]}, ROSES, False),  # a regular expression that does not compile
    ("keywords:forbidden_words", {"forbidden_words": ["bees"]}, ROSES, False),
    ("keywords:forbidden_words", {"forbidden_words": ["tree"]}, ROSES, True),
    ("startend:end_checker", {"end_phrase": "visit it daily."}, ROSES, True),
    ("startend:end_checker", {"end_phrase": "Visit it daily."}, ROSES, None),  # exact phrase, other case
    ("startend:end_checker", {"end_phrase": "it."}, "I quit.", None),  # the end of a word, not a word
    ("startend:quotation", {}, '"quoted"', True),
    ("startend:quotation", {}, "\u201cquoted\u201d", None),
    ("startend:quotation", {}, '"', False),
    (NTH, {"num_paragraphs": 2, "nth_paragraph": 2, "first_word": "Two"}, "One.\n\n'Two,' he said.", True),
    (NTH, {"num_paragraphs": 2, "nth_paragraph": 3, "first_word": "two"}, "One.\n\nTwo.", None),  # cannot be meant
    ("first_word:first_word_answer", {"first_word": "the"}, ROSES, True),
    ("last_word:last_word_answer", {"last_word": "DAILY"}, ROSES, True),
    ("change_case:english_lowercase", {}, "all small", True),
    ("change_case:english_lowercase", {}, "42 - 7 = 35", None),  # nothing has a case
    ("change_case:english_capital", {}, "ALL BIG 1", True),
    ("punctuation:no_comma", {}, ROSES, False),
    ("punctuation:no_comma", {}, "a\u3001b", None),
    ("detectable_content:no_digits", {}, "twenty-two", True),
    (f"{F}title", {}, "<<Roses>>\nThey bloom.", True),
    (f"{F}title", {}, "<<5 > 3>>", None),
    (f"{F}json_format", {}, '```json\n{"a": 1}\n```', True),
    (f"{F}json_format", {}, '{"a": NaN}', None),
    (f"{F}json_format", {}, "42", None),
    (f"{F}json_format", {}, "[" * 100_000, None),  # too deep to read
    (f"{F}json_format", {}, "no", False),
    (f"{F}constrained_response", {}, "My answer is yes.", True),
    (f"{F}constrained_response", {}, "Do not say My answer is yes. Ever.", None),  # IFEval: kept
    (f"{F}constrained_response", {}, "Yes.", False),
    (f"{F}bullet_points", {}, "Items:\n- a", True),
    (f"{F}numbered_list", {}, "1. a\n2. b", True),
    (f"{F}numbered_list", {}, "Step 1: a\nStep 2: b", None),
    (f"{F}numbered_list", {"negated": True}, ROSES, None),  # nothing to number
    (f"{F}numbered_list", {"negated": True}, "Roses\nBees", True),
    ("combination:two_responses", {}, "One.\n******\nTwo.", True),
    ("combination:two_responses", {}, "One.\n******\nOne.", False),
    ("combination:two_responses", {}, "One.\n*******\nTwo.", None),
    ("combination:repeat_prompt", {"prompt_to_repeat": "Say hi."}, "Say hi. Hi.", True),
    ("combination:repeat_prompt", {"prompt_to_repeat": "Say hi."}, "say hi. Hi.", None),
    ("detectable_content:postscript", {"postscript_marker": "P.S."}, "Hi.\n\nP.S. Bye.", True),
    ("detectable_content:postscript", {"postscript_marker": "P.S."}, "P.S. stands first\nbut not last", None),
    ("detectable_content:postscript", {"postscript_marker": "P.P.S"}, "Hi.\nP.S. Bye.", False),
    (
        "language:response_language",
        {"language": "el"},
        "\u03ba\u03b1\u03bb\u03b7\u03bc\u03ad\u03c1\u03b1 \u03c3\u03b5",
        True,
    ),
    ("language:response_language", {"language": "ru"}, "\u043f\u0440\u0438\u0432\u0435\u0442 \u043c\u0438\u0440", None),
    ("language:response_language", {"language": "ru"}, ROSES, False),
    ("language:response_language", {"language": "en"}, ROSES, None),  # or any other in this script
    ("language:response_language", {"language": "hi"}, "42!", None),  # IFEval: kept, for what cannot be detected
]


@pytest.mark.parametrize(("family", "kwargs", "response", "expected"), DECIDED)
def test_a_checker_decides_what_every_reading_agrees_on(
    family: str, kwargs: dict[str, Any], response: str, expected: bool | None
) -> None:
    assert instruction(family, kwargs).check(response) is expected


def test_every_family_is_tried_above() -> None:
    tried = {case[0] for case in DECIDED} | {"punctuation:punctuation_exclamation"}  # the same code as no_comma
    assert tried == set(FAMILIES)


@pytest.mark.parametrize("name", sorted(FAMILIES))
@pytest.mark.parametrize("response", ["", " \n\t"])
def test_of_an_empty_response_nothing_is_known(name: str, response: str) -> None:
    kwargs = {key: {int: 1, str: "at least", list: ["a"]}[kind] for key, kind in FAMILIES[name].needs.items()}
    kwargs |= {"letter": "a"} if "letter" in kwargs else {}
    kwargs |= {"language": "en"} if "language" in kwargs else {}
    assert instruction(name, kwargs).check(response) is None


@pytest.mark.parametrize(
    ("family", "kwargs", "message"),
    [
        ("keywords:nonsense", {}, "no instruction family 'keywords:nonsense'; families: "),
        (
            f"{N}words",
            {"relation": "at least", "num_words": None},
            "needs the argument num_words (int), which is missing",
        ),
        (f"{N}words", {"num_words": 3}, "needs the argument relation (str)"),
        (f"{N}words", {"relation": "around", "num_words": 3}, "expected one of at least, at most, less than, exactly"),
        (f"{N}words", {"relation": "at least", "num_words": True}, "expected a whole number"),
        (
            "keywords:letter_frequency",
            {"letter": "ab", "let_relation": "at least", "let_frequency": 1},
            "one character",
        ),
        ("keywords:existence", {"keywords": "rose"}, "expected a list of texts"),
        ("punctuation:no_comma", {"num_words": 3}, "has no argument 'num_words'; arguments: negated"),
        ("language:response_language", {"language": "xx"}, "expected one of en, es"),
    ],
)
def test_arguments_are_never_made_up(family: str, kwargs: dict[str, Any], message: str) -> None:
    state = random.getstate()
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        instruction(family, kwargs)
    assert "\n" not in str(caught.value)
    assert random.getstate() == state  # IFEvalG draws what is missing from the global generator


def test_a_language_is_told_the_same_way_every_time() -> None:
    mixed = "hello world, \u043f\u0440\u0438\u0432\u0435\u0442 \u043c\u0438\u0440. " * 3  # langdetect: by lot
    checks = [instruction("language:response_language", {"language": code}) for code in ("ru", "en")]
    assert {one.check(mixed) for one in checks * 20} == {None}


def test_conflicts_are_symmetric_and_every_family_conflicts_with_itself() -> None:
    for one in FAMILIES:
        assert conflict(one, one)
        assert [other for other in FAMILIES if conflict(one, other) != conflict(other, one)] == []
    assert not compatible([f"{F}json_format", "change_case:english_lowercase"])
    assert compatible([f"{F}json_format", "keywords:existence"])
    assert compatible([f"{N}words", "punctuation:no_comma", f"{F}title"])


def test_the_recorded_instructions_of_ifeval_are_read_and_their_texts_name_their_arguments() -> None:
    if not DATA.exists():
        pytest.skip("no shared data beside the project")
    rows = [json.loads(line) for line in DATA.read_text(encoding="utf-8").splitlines()]
    found = [one for row in rows for one in read_instructions(row["instruction_id_list"], row["kwargs"])]
    assert len(found) == 427
    assert len({one.family for one in found}) == 25
    for one in found:
        for key, value in one.kwargs.items():
            if isinstance(value, int) or key in ("keyword", "end_phrase", "first_word"):
                assert str(value) in one.text


def test_the_documentation_has_every_family_with_the_very_texts_that_arguments_give() -> None:
    page = (Path(__file__).resolve().parents[3] / "docs/instructions.md").read_text(encoding="utf-8")
    table = page.split("| family | arguments |")[1].split("\n\n")[0].splitlines()[2:]
    rows = [line.strip("| ").split(" | ") for line in table]
    assert {name.strip("`") for name, *_ in rows} == set(FAMILIES)
    for name, kwargs, text, opposite, *_ in rows:
        one = instruction(name.strip("`"), json.loads(kwargs.strip("`")))
        contrary = one.opposite()
        assert (text, opposite) == (one.text, contrary.text if contrary else "\u2013")


texts = st.text(st.sampled_from("abcdEFG ,.!?\n*-1"), min_size=1, max_size=120) | st.just(ROSES) | st.text(max_size=40)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(sorted(FAMILIES)), texts, texts, st.integers(0, 99))
def test_what_is_derived_is_kept_and_broken_as_asked_and_the_opposite_is_its_contrary(
    name: str, met: str, broken: str, seed: int
) -> None:
    for evidence in (
        Evidence((met,), (), ROSES, (broken,)),
        Evidence((), (met,), ROSES, (broken,)),
        Evidence((met,), (broken,), ROSES),
    ):
        kwargs = FAMILIES[name].derive(evidence, Random(seed)) if met.strip() and broken.strip() else None
        if kwargs is None:
            continue
        one = instruction(name, kwargs)
        assert instruction(name, json.loads(one.kwargs_json)).text == one.text
        assert [one.check(text) for text in evidence.met] == [True] * len(evidence.met)
        assert [one.check(text) for text in evidence.broken] == [False] * len(evidence.broken)
        if (opposite := one.opposite()) is not None:
            for text in (met, broken):
                kept = one.check(text)
                assert opposite.check(text) == (None if kept is None else not kept)


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 60), st.integers(0, 99))
def test_derived_bounds_keep_their_distance_from_the_count(n: int, seed: int) -> None:
    text = " ".join(["word"] * n)
    kwargs = FAMILIES[f"{N}words"].derive(Evidence(met=(text,)), Random(seed))
    assert kwargs is not None
    assert abs(kwargs["num_words"] - n) >= max(10, n // 5)
