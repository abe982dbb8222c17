"""The wording of rationales: quotes, copies, leaks, and the names of the two responses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.rationales.leaks import decides_by_length, decides_by_order, leak_words
from stages.rationales.quotes import copy_ratio, find_quote
from stages.rationales.references import rewritable, statement, swap_refs

GOLDEN = Path(__file__).resolve().parents[3] / "../shared/spec/golden/judges.json"
PROMPT = "Mia has 3 apples and buys 4. How many has she?"
BAD = "Step 1: 3 + 4 = 8\nAnswer: 8"


@pytest.mark.skipif(not GOLDEN.exists(), reason="the golden values are not at hand")
def test_the_copy_ratio_has_its_golden_value() -> None:
    ratio = copy_ratio("the answer is four because two plus two", ["two plus two equals four so the answer is four"])
    assert ratio == json.loads(GOLDEN.read_text())["rat.copy"]


def test_quotes_are_found_apart_from_blanks_case_and_marks() -> None:
    assert find_quote("step 1:  3 + 4\n= 8", BAD) == (0, 17)
    assert find_quote("“don’t”", "I don't.") == (2, 7)
    assert find_quote('"... Answer: 8 ..."', BAD) == (18, 27)
    assert find_quote("3 − 4", "x 3 - 4") == (2, 7)
    assert find_quote("3", "13 and 34") is None
    assert find_quote("", BAD) is None
    assert find_quote("Answer: 9", BAD) is None


@settings(deadline=None)
@given(st.text(min_size=1, max_size=60), st.integers(0, 59), st.integers(1, 60))
def test_a_verbatim_passage_of_whole_words_is_always_found(text: str, start: int, length: int) -> None:
    words = text.split()
    passage = " ".join(words[start % max(1, len(words)) :][:length]).strip(" \"'…“”„«»‘’‚`\n\r")
    joined = " ".join(words)
    if passage and not passage.startswith("...") and not passage.endswith("...") and passage in joined:
        found = find_quote(passage, joined)
        assert found is None or joined[found[0] : found[1]].casefold() == passage.casefold()
        assert found is not None or not passage.isascii() or passage not in joined.split()


def test_a_word_of_the_task_is_no_leak() -> None:
    assert leak_words("The chosen one has a better score: 5", PROMPT) == ("chosen", "score:")
    assert leak_words("It counts the gold coins rightly.", "He has 3 gold coins.") == ()
    assert leak_words("The steps are right.", PROMPT) == ()


def test_order_and_length_alone_are_no_reasons() -> None:
    assert decides_by_order("Response A is better since it is listed first.")
    assert not decides_by_order("Response A checks the first step, because it matters.")
    assert decides_by_length("Response A is better because it is longer.")
    assert decides_by_length("Response B is shorter. Therefore it is much better.")
    assert not decides_by_length("Response A is longer, and it explains the second step.")
    assert not decides_by_length("Response A is right.")


@pytest.mark.parametrize(
    ("text", "swapped"),
    [
        ("Response A is better than Response B.", "Response B is better than Response A."),
        ("Response A is better than B.", "Response B is better than A."),
        ("step 2 of response b", "step 2 of response a"),
        ("Responses A and B agree", "Responses B and A agree"),
        ("The first answer beats the second one", "The second answer beats the first one"),
        ("The First response, the answer above", "The Second response, the answer below"),
        ("A man buys a book; vitamin B", "A man buys a book; vitamin B"),
        ("In the first step, see above", "In the first step, see above"),
        ("Response A's error", "Response B's error"),
    ],
)
def test_names_change_places_in_fixed_mentions_only(text: str, swapped: str) -> None:
    assert swap_refs(text) == swapped
    assert swap_refs(swapped) == text


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ("Response A adds up while Response B does not.", True),
        ("The first answer is right. A better way would be to add.", True),
        ("Response A buys a book, as a man would. A man is no response.", True),
        ("Response A is better than B, and in the first step it says 7.", True),
        ("Response A adds up while B does not.", False),
        ("Response B is wrong. A has 7 there.", False),
        ("Response A is right, and so A's end is.", False),
        ("It is clear that A wins over Response B.", False),
        ("The latter is wrong.", False),
        ("The first is right.", False),
    ],
)
def test_bare_names_cannot_change_places(text: str, safe: bool) -> None:
    assert rewritable(text, [PROMPT, BAD]) == safe


def test_where_the_texts_have_options_only_responses_are_names() -> None:
    options = "Which is right?\nA) 7\nB) 8"
    assert rewritable("Response A is right, Response B is wrong.", [options, "It is A.", "(B)"])
    assert not rewritable("Response A takes answer B, which is wrong.", [options, "It is A.", "(B)"])
    assert not rewritable("The first answer is right.", [PROMPT, "I choose option A.", "7"])
    assert rewritable("Answer A is right.", [PROMPT, "7", "8"])


@settings(deadline=None)
@given(
    st.lists(
        st.sampled_from(
            [
                "Response",
                "responses",
                "A",
                "B",
                "and",
                "than",
                "first",
                "Second",
                "answer",
                "above",
                "below",
                "a",
                "b",
                ".",
                "one",
                "is",
            ]
        )
    )
)
def test_swapping_twice_changes_nothing(words: list[str]) -> None:
    text = " ".join(words)
    assert swap_refs(swap_refs(text)) == text
    assert len(swap_refs(text).split()) == len(words)


def test_the_canonical_sentence() -> None:
    assert [statement("B", "A", s) for s in (1, 2, 3, None)] == [
        "Response B is slightly better than Response A.", "Response B is better than Response A.",
        "Response B is much better than Response A.", "Response B is better than Response A.",
    ]  # fmt: skip
