"""Verdicts hidden, words replaced, and the numbers of V8 to V10."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.records import Verification
from stages.rationales.measures import both_orders, hide_verdict, logit, measured, perturb, weakest
from stages.rationales.references import rewritable

SHARED = Path(__file__).resolve().parents[3] / "../shared"
GOLDEN, PANDALM = SHARED / "spec/golden/judges.json", SHARED / "data/pandalm_gpt35_verdicts.jsonl"


@pytest.mark.skipif(not GOLDEN.exists(), reason="the golden values are not at hand")
def test_utility_and_sensitivity_have_their_golden_values() -> None:
    golden = json.loads(GOLDEN.read_text())
    found = measured(Verification(), given=0.86, without=0.60, perturbed=0.55)
    assert found.utility == pytest.approx(golden["rat.utility_logit"], abs=1e-6)
    assert found.sensitivity == pytest.approx(golden["rat.sens"], abs=1e-6)
    assert found.p_label is not None
    assert found.p_label_without is not None
    assert found.p_label - found.p_label_without == pytest.approx(golden["rat.utility_prob"], abs=1e-6)


def test_a_probability_that_is_missing_leaves_its_measure_open() -> None:
    assert measured(Verification(), 0.9, None, 0.5).utility is None
    assert measured(Verification(), 0.9, 0.5, None).sensitivity is None
    assert measured(Verification(), None, 0.5, 0.5) == Verification(p_label_without=0.5, p_label_perturbed=0.5)
    assert both_orders([0.9, 0.5]) == pytest.approx(0.7)
    assert [both_orders([0.9, None]), both_orders([0.9]), both_orders([])] == [None] * 3
    assert (weakest([0.9, 0.2]), weakest([0.2, None]), weakest([])) == (0.2, None, None)
    assert [logit(1.0), logit(0.0)] == pytest.approx([9.21024, -9.21024], abs=1e-5)


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("Response A is better because it has 3 + 4 = 7.", "Response A […] because it has 3 + 4 = 7."),
        ("So I prefer Response B over Response A.", "So […]."),
        ("The better response is A.", "[…]."),
        ("Response B errs in step 2, which makes it much worse than Response A.",
         "Response B errs in step 2, which makes it much […]."),
        ("The first one is superior to the second, as it cites.", "The first one […], as it cites."),
        ("A clearly wins. Verdict: B", "A […]. […]"),
        ("Step 1 of response B is wrong: it should be 7.", "Step 1 of response B is wrong: it should be 7."),
        ("I prefer a clear answer; a better way is to add.", "I prefer a clear answer; a better way is to add."),
    ],
)  # fmt: skip
def test_the_verdict_is_hidden_and_its_reasons_stay(text: str, left: str) -> None:
    assert hide_verdict(text) == left


@given(st.sampled_from(["better", "worse", "superior", "preferable", "the winner"]), st.sampled_from("AB"),
       st.sampled_from(["", "slightly ", "clearly ", "much "]), st.text("xyz ,.", max_size=20))  # fmt: skip
def test_no_statement_of_the_closed_form_survives(degree: str, side: str, how: str, rest: str) -> None:
    hidden = hide_verdict(f"{rest} Response {side} is {how}{degree} than Response {'AB'[side == 'A']}. {rest}")
    assert not re.search(rf"is {how}{degree}", hidden)
    assert hide_verdict(hidden) == hidden


@given(st.lists(st.text("abcdefg", min_size=1, max_size=5), min_size=1, max_size=40), st.floats(0.05, 1), st.integers())
def test_a_share_of_the_words_is_replaced_and_nothing_else(words: list[str], share: float, seed: int) -> None:
    text = ", ".join(words) + "."
    changed = perturb(text, ("one two three",), random.Random(seed), share)
    after = re.findall(r"\w+", changed)
    assert len(after) == len(words)
    assert sum(a != b for a, b in zip(after, words, strict=True)) == max(1, round(share * len(words)))
    assert re.sub(r"\w+", "", changed) == re.sub(r"\w+", "", text)
    assert changed == perturb(text, ("one two three",), random.Random(seed), share)


def test_where_there_is_no_other_word_nothing_is_replaced() -> None:
    assert perturb("one", (), random.Random(0)) == "one"
    assert perturb("", ("a b c",), random.Random(0)) == ""


@pytest.mark.skipif(not PANDALM.exists(), reason="the recorded verdicts are not at hand")
def test_verdicts_are_hidden_in_reasons_that_a_judge_really_wrote() -> None:
    reasons = [json.loads(line)["gpt_reason"] or "" for line in PANDALM.read_text().splitlines()]
    named = [
        re.sub(r"(?i)(\bresponses?|than|and) ([12])\b", lambda m: f"{m[1]} {'AB'[int(m[2]) - 1]}", r) for r in reasons
    ]
    said = re.compile(r"Response [AB] is (?:\w+ )?(?:better|worse|preferable|the better)")
    verdicts = [reason for reason in named if said.search(reason)]
    assert len(verdicts) > 200
    assert not [reason for reason in verdicts if said.search(hide_verdict(reason))]
    untouched = [reason for reason in named if reason and not re.search(r"better|worse|best|prefer|superior", reason)]
    changed = [reason for reason in untouched if hide_verdict(reason) != reason]
    assert len(changed) <= 0.02 * len(untouched), changed[:5]
    assert all(rewritable(reason, []) for reason in named)
