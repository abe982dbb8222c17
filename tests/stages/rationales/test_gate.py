"""The hard checks of the gate (V1–V6): replies read with care, checked one by one."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.rationales.gate import Limits, Shown, gate, implied_label
from stages.rationales.references import swap_refs
from stages.rationales.replies import Reply, parse_reply

PROMPT = "Mia has 3 apples and buys 4. How many has she?"
GOOD, BAD = "Step 1: 3 + 4 = 7\nAnswer: 7", "Step 1: 3 + 4 = 8\nAnswer: 8"
SHOWN = Shown(PROMPT, GOOD, BAD, chosen="A")
ELABORATION = "Response B goes wrong in step 1: 3 + 4 is 7, not 8. Response A gets this step right and ends with 7."


def written(**changes: Any) -> str:
    reply = {
        "evidence": [
            {"side": "B", "quote": "Step 1: 3 + 4 = 8", "point": "3 + 4 is 7, not 8"},
            {"side": "A", "quote": "Answer: 7", "point": "the right answer"},
        ],
        "elaboration": ELABORATION,
        "statement": "Response A is better than Response B.",
        "verdict": {"label": "A", "strength": 2},
    }
    return json.dumps(reply | changes)


def parsed(text: str) -> Reply:
    reply = parse_reply(text)
    assert reply is not None
    return reply


DEFAULTS = Limits()
KEYS = ["verdict", "label", "strength", "evidence", "side", "quote", "point", "elaboration"]


def refused(limits: Limits = DEFAULTS, truncated: bool = False, **changes: Any) -> str | None:
    return gate(parsed(written(**changes)), SHOWN, limits, truncated).reason


def test_a_sound_rationale_passes_and_its_measures_are_kept() -> None:
    found = gate(parsed(written()), SHOWN, Limits(quotes_wanted="both"))
    assert found.reason is None
    assert (found.verify.label_consistent, found.verify.quote_precision, found.verify.position_leak) == (
        True,
        1.0,
        False,
    )
    assert (found.verify.n_claims, found.verify.false_claims) == (2, 0)
    assert [(s.side, s.start, s.end) for s in found.spans] == [("b", 0, 17), ("a", 18, 27)]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"verdict": {"label": "B", "strength": 1}, "statement": ""}, "label_mismatch"),
        ({"verdict": {"label": "tie"}}, "label_mismatch"),
        ({"statement": "Response B is better than Response A."}, "label_mismatch"),
        ({"elaboration": "Good.", "evidence": []}, "too_short"),
        ({"elaboration": ELABORATION * 40}, "too_long"),
        ({"evidence": [{"side": "A", "quote": "Step 1: 3 + 4 = 8", "point": "wrong side"}]}, "quote_precision"),
        ({"elaboration": ELABORATION + " It was chosen by the reward model."}, "leak"),
        ({"elaboration": ELABORATION + " It is better because it comes first."}, "position_or_length"),
        ({"elaboration": ELABORATION + " So 7 + 2 = 10."}, "false_claim"),
    ],
)
def test_each_hard_check_refuses(changes: dict[str, Any], reason: str) -> None:
    assert refused(**changes) == reason


def test_a_cut_answer_is_refused_even_where_it_parses() -> None:
    assert refused(truncated=True) == "truncated"


def test_contrastive_rationales_quote_both_sides() -> None:
    only_b = [{"side": "B", "quote": "Step 1: 3 + 4 = 8", "point": "3 + 4 is 7, not 8"}]
    assert refused(Limits(quotes_wanted="both"), evidence=only_b) == "quotes_missing"
    assert refused(Limits(quotes_wanted="any"), evidence=only_b) is None
    assert refused(Limits(quotes_wanted="any"), evidence=[]) == "quotes_missing"


def test_arms_follow_the_place_they_were_shown_in() -> None:
    swapped = Shown(PROMPT, BAD, GOOD, chosen="B")
    reply = parsed(swap_refs(written()).replace('"side": "B"', '"side": "x"').replace('"side": "A"', '"side": "B"')
                   .replace('"side": "x"', '"side": "A"').replace('"label": "A"', '"label": "B"'))  # fmt: skip
    found = gate(reply, swapped, Limits(quotes_wanted="both"))
    assert found.reason is None
    assert found.verify == gate(parsed(written()), SHOWN, Limits()).verify
    assert [s.side for s in found.spans] == ["b", "a"]
    assert implied_label(reply, "B") == -implied_label(reply, "A") == 1


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("```json\n" + written() + "\n```", "A"), ("Let me {see}.\n" + written() + " done", "A"),
        (written(verdict={"label": "Response B"}), "B"), (written(verdict="A"), "A"),
        (written(verdict={"label": "tie"}), ""),
        ('{"work": "1: 3 + 4 = 7", ' + written()[1:], "A"),
    ],
)  # fmt: skip
def test_replies_are_read_from_the_first_object_with_a_verdict(text: str, label: str) -> None:
    assert parsed(text).label == label


@pytest.mark.parametrize(
    "text",
    ["", "A is better", "{", written()[:-2], written(verdict={"label": "C"}), written(verdict=3),
    written(evidence="x"), "[" * 50_000,
     '{"verdict": ' * 3000, written(elaboration=5), written(evidence=[1]),
     '{"verdict": {"label": "A"}, "x": NaN}', "{" * 19_000,
     '{"n": ' + "9" * 9000 + ', "verdict": "A"}'],
)  # fmt: skip
def test_what_has_another_shape_is_no_reply(text: str) -> None:
    assert parse_reply(text) is None


@settings(deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda x: st.lists(x) | st.dictionaries(st.sampled_from(KEYS), x),
    )
)
def test_any_json_is_a_reply_or_none(value: object) -> None:
    reply = parse_reply(json.dumps(value))
    if reply is not None:
        assert reply.label in ("A", "B", "")
        assert gate(reply, SHOWN, Limits()).verify.false_claims is not None
