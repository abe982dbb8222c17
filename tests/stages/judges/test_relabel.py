"""Which labels a second look may turn round: those of answers to the very prompt that was judged, made by no check."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from pipeline import ids
from pipeline.pair import Pair, Rater, Votes
from pipeline.records import Candidate, Message
from pipeline.stage import Context, Example
from stages.pairs.pair_instructions import PairInstructions
from tests.stages.judges.test_aggregate import PROMPT, aggregate, arms, compared, given_pair, signals, verified

FOR_THE_OTHER = [*signals(0.02, 0.02), *compared("c0", "c1", 0.02, job="second")]  # c1 is better, say all
MORE = (*PROMPT.messages[:-1], Message("user", "Which is best? Answer in French."))


@pytest.mark.parametrize("kind", ["mapl_inter", "iopo_quad", "rpo_reverse", "conditionalised"])
@pytest.mark.parametrize("checked", [False, True])
async def test_pairs_under_other_instructions_are_left_as_they_are(kind: str, checked: bool) -> None:
    texts = {"y1": "One tree. One bush. One lawn. All of them are green.", "y2": "- roses\n- bees\n- A BENCH!"}
    pool = [Candidate(PROMPT.prompt_id, who, text, "generate") for who, text in texts.items()]
    stage = PairInstructions.model_validate({"kinds": [kind], "n_instructions": [1, 2]})
    drawn = [await stage.process(Example(PROMPT, pool), Context("p", "run", seed, "f", {})) for seed in (1, 7)]
    pairs = [*{row.pair_id: row for rows in drawn for row in rows if isinstance(row, Pair)}.values()]
    assert {arms(p) for p in pairs} == {("y1", "y2"), ("y2", "y1")}  # one of them is against what is said of the prompt
    said = [*compared("y1", "y2", 0.97), *compared("y1", "y2", 0.97, job="second")]
    said += [verified("y1", True), verified("y2", False)] if checked else []
    new, rejects, counts = await aggregate(said, pool, pairs, relabel=True, second_opinion=["second"])
    assert (new, rejects, counts) == (pairs, [], {"passed": len(pairs)})


@pytest.mark.parametrize(
    "changes",
    [
        {"prompt_messages": MORE},
        {"prompt_messages": (Message("system", "You are a pirate."), *PROMPT.messages), "context_id": "c"},
        {"context_id": "c"},
        {"rater": Rater("r7")},
        {"rejected_prompt_messages": MORE, "level": "joint"},
    ],
)
async def test_what_holds_elsewhere_or_for_one_person_is_not_turned_by_what_holds_here(changes: dict[str, Any]) -> None:
    pair = replace(given_pair("c0"), **changes)
    checks = [verified("c0", False), verified("c1", True)]
    for said in (FOR_THE_OTHER, checks):
        found = await aggregate(said, pairs=[pair], relabel=True, second_opinion=["second"])
        assert found == ([pair], [], {"passed": 1})


@pytest.mark.parametrize("source", ["checker", "verifier"])
async def test_opinions_never_turn_what_a_check_labelled_and_a_check_may(source: str) -> None:
    pair = replace(given_pair("c0"), label_source=source)
    assert (await aggregate(FOR_THE_OTHER, pairs=[pair], relabel=True)) == ([pair], [], {"passed": 1})
    undecided = [*FOR_THE_OTHER, verified("c0", True), verified("c1", True)]
    assert (await aggregate(undecided, pairs=[pair], relabel=True)) == ([pair], [], {"passed": 1})
    checks = [verified("c0", False), verified("c1", True)]
    (turned,), _, _ = await aggregate([*FOR_THE_OTHER, *checks], pairs=[pair], relabel=True)
    assert (arms(turned), turned.label_flipped, turned.label_source) == (("c1", "c0"), True, "verifier")


async def test_a_check_that_turns_a_label_takes_with_it_what_measured_the_old_one() -> None:
    old = replace(
        given_pair("c0"), strength=2.0, strength_std=0.1, strength_bucket="strong", votes=Votes(3, 0), agreement=1.0,
        n_orders_consistent=3.0, position_consistent=True, dominance="strict_pareto", margin_logit=2.0,
    )  # fmt: skip
    (pair,), _, _ = await aggregate([verified("c0", False), verified("c1", True)], pairs=[old], relabel=True)
    assert (arms(pair), pair.dominance, pair.soft_label) == (("c1", "c0"), "checker", 0.98)
    measured = (pair.strength, pair.strength_std, pair.strength_bucket, pair.votes, pair.agreement, pair.margin_logit)
    assert measured == (None,) * 6
    assert (pair.n_orders_consistent, pair.position_consistent) == (None, None)
    (judged,), _, _ = await aggregate(FOR_THE_OTHER, pairs=[old], relabel=True)
    assert judged.strength is not None
    assert judged.strength > 0
    assert (judged.label_flipped, judged.dominance) == (True, None)


async def test_the_id_of_a_turned_pair_follows_from_its_row() -> None:
    (pair,), _, _ = await aggregate(FOR_THE_OTHER, pairs=[given_pair("c0")], relabel=True)
    made = [
        ids.arm(ids.prompt_id(pair.prompt_messages), pair.assistant_prefix, m[-1].content)
        for m in (pair.chosen_messages, pair.rejected_messages)
    ]
    assert pair.pair_id == ids.pair_id(pair.kind, pair.context_id, *made)
