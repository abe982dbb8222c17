"""Rationales of the same pair as pairs."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from pipeline.pair import Pair
from pipeline.records import Message, Prompt, Rationale, Verification
from pipeline.stage import Context, Example
from stages.exports.arms import conditional_arms
from stages.exports.wanted import Wanted
from stages.pairs.pair_rationales import PairRationales

ABOUT = Pair(
    prompt_id="p", pair_id="pair", unordered_id="u", base_prompt_id="p", kind="best_worst", level="response",
    prompt_messages=(Message("user", "3 + 4?"),), chosen_messages=(Message("assistant", "It is seven."),),
    rejected_messages=(Message("assistant", "It is eight."),), label_source="verifier",
)  # fmt: skip


def rationale(name: str, reason: str | None = None, **fields: Any) -> Rationale:
    head = ("p", name, "pair", "explain", None, None, fields.pop("kind", "detailed"), "json", False, 0, "m", 0)
    row = Rationale(
        *head, status="rejected" if reason else "ok", reject_reason=reason, text=f"Response A is right, says {name}.",
        statement="Response A is better than Response B.", verify=Verification(label_consistent=reason != "label_mismatch"),
    )  # fmt: skip
    return replace(row, **fields)


async def run(*rationales: Rationale, **fields: Any) -> tuple[list[Pair], dict[str, int]]:
    context = Context("pair_rationales", "run", 7, "f", {})
    example: Example[Pair | Rationale] = Example(
        Prompt("p", "p", ABOUT.prompt_messages), pairs=(ABOUT,), rationales=rationales
    )
    return await PairRationales(**fields).process(example, context), context.counts


async def test_a_kept_rationale_stands_over_a_refused_one_in_the_same_order_of_showing() -> None:
    refused = rationale(
        "no",
        "label_mismatch",
        shown_order=1,
        text="Response A is right.",
        statement="Response A is much better than Response B.",
    )
    [pair], counts = await run(rationale("yes"), refused)
    assert counts == {"kept": 1}
    assert pair.chosen_messages[0].content == "Response A is right, says yes.\nResponse A is better than Response B."
    assert pair.rejected_messages[0].content == "Response B is right.\nResponse B is much better than Response A."
    asked = pair.prompt_messages[0].content
    assert asked.index("Response A:\nIt is seven.") < asked.index("Response B:\nIt is eight.")
    assert (pair.level, pair.kind, pair.label_source, pair.flags) == (
        "rationale", "rationale_kept", "verifier", ("refused:label_mismatch",),
    )  # fmt: skip
    assert conditional_arms(pair, Wanted()).prompt[0].content == asked  # it can be exported
    [other], _ = await run(rationale("yes", shown_order=1), refused)
    assert other.prompt_messages[0].content.index("It is eight.") < other.prompt_messages[0].content.index(
        "It is seven."
    )


@pytest.mark.parametrize(
    ("rule", "kind", "reason", "paired"),
    [
        ("kept", "detailed", "false_claim", True), ("kept", "detailed", "label_mismatch", True),
        ("kept", "detailed", "leak", True), ("kept", "detailed", "low_quality", True),
        ("kept", "detailed", "too_short", False), ("kept", "detailed", "truncated", False),
        ("both_options", "contrastive", "label_mismatch", True), ("both_options", "contrastive", "false_claim", False),
        ("both_options", "detailed", "label_mismatch", False),
        ("selection", "detailed", "quote_precision", True), ("selection", "general", "misattributed", True),
        ("selection", "detailed", "label_mismatch", False), ("selection", "detailed", "leak", False),
        ("kept", "critique", "false_claim", False),
    ],
)  # fmt: skip
async def test_each_rule_takes_its_own_mistakes(rule: str, kind: str, reason: str, paired: bool) -> None:
    pairs, counts = await run(rationale("yes", kind=kind), rationale("no", reason, kind=kind), rule=rule)
    assert [p.kind for p in pairs] == [f"rationale_{rule}"] * paired
    assert counts == ({"kept": 1} if paired else {"no_pair": 1, "kept": 0})


async def test_names_that_cannot_follow_the_order_leave_a_rationale_out() -> None:
    fixed = rationale("no", "leak", verify=Verification(rewritable=False))
    assert len((await run(rationale("yes"), fixed))[0]) == 1
    assert (await run(rationale("yes", shown_order=1), fixed))[0] == []


async def test_no_kept_rationale_no_pair_and_kinds_are_not_mixed() -> None:
    assert (await run(rationale("no", "leak")))[0] == []
    assert (await run(rationale("yes", kind="general"), rationale("no", "leak")))[0] == []
    assert (await run(rationale("yes"), rationale("no", "leak"), rationale("other", pair_id="x")))[1] == {"kept": 1}


async def test_an_author_who_knew_the_label_is_left_out_unless_wanted() -> None:
    rows = rationale("yes", label_visible=True), rationale("no", "leak")
    assert (await run(*rows))[0] == []
    assert len((await run(*rows, blind_only=False))[0]) == 1


async def test_the_clearest_mistakes_come_first_each_text_once() -> None:
    votes = [replace(rationale(f"no{n}", "leak"), verify=Verification(votes_for=n, votes_n=3)) for n in (3, 1, 2)]
    twin = replace(votes[1], rationale_id="twin")
    pairs, _ = await run(rationale("yes"), *votes, twin)
    assert [p.rejected_messages[0].content.split(",")[1][:9] for p in pairs] == [" says no1", " says no2"]
