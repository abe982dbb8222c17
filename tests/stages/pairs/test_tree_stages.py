"""The stages that read search trees: pairs of steps and of whole answers, with a ledger of what was refused."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import pytest
from msgspec.structs import replace

from benchmarks.scripted_search import EXAMPLE_A, drive, named
from pipeline.pair import Pair
from pipeline.records import Message, Prompt, Record, Reject
from pipeline.stage import Context, Example, Stage
from pipeline.tables import from_table, to_table
from pipeline.tree import Node, Tree
from stages.pairs.label_steps import LabelSteps
from stages.pairs.label_unpaired import LabelUnpaired
from stages.pairs.pair_steps import PairSteps
from stages.pairs.pair_trajectories import PairTrajectories
from stages.pairs.rank_lists import RankLists
from stages.search.machine import TreeSearch
from stages.search.rows import rows
from stages.search.rules import SearchRules

PROMPT = Prompt("p", "p", (Message("user", "How many?"),))
LOOSE: dict[str, Any] = {"min_edit_chars": 0, "length_ratio": None}


def example(**tree: Any) -> Example[Tree | Node]:
    """The tree of spec mcts R8, example A; `tree`: columns of its row that are to be others."""
    search = TreeSearch(SearchRules(prior="uniform"), "t", 1)
    drive(search, named(EXAMPLE_A))
    row, nodes = rows(search, Tree(prompt_id="p", tree_id="t", job="search", prompt_token_ids=(5, 6)))
    return Example(PROMPT, trees=[replace(row, **tree)], nodes=nodes)


def context() -> Context:
    return Context("pair", "run", 7, "fingerprint", {})


async def steps(given: Example[Tree | Node], ctx: Context, **fields: Any) -> list[str]:
    made = await PairSteps(**{**LOOSE, **fields}).process(given, ctx)
    return [f"{texts(pair)[0]}>{texts(pair)[1]}" for pair in made if isinstance(pair, Pair)]


def pairs(rows: Sequence[Record]) -> list[Pair]:
    return [row for row in rows if isinstance(row, Pair)]


def texts(pair: Pair) -> tuple[str, str]:
    return pair.chosen_messages[0].content, pair.rejected_messages[0].content


async def test_step_pairs_come_widest_first_and_every_proposal_is_counted() -> None:
    ctx = context()
    assert await steps(example(), ctx) == ["aaa>aab", "bb>ba", "aa>ab"]
    assert ctx.counts == {"kept": 3}
    ctx = context()
    assert await steps(example(), ctx, max_per_tree=2) == ["aaa>aab", "bb>ba"]
    assert ctx.counts == {"kept": 2, "over_cap:per_tree": 1}
    ctx = context()
    assert await steps(example(), ctx, min_edit_chars=20, min_edit_share=0.9) == []
    assert ctx.counts == {"kept": 0, "refused:too_similar": 3, "no_pair:all_refused": 1}


async def test_a_refused_pair_leaves_a_row_that_says_why() -> None:
    made = await PairSteps(min_edit_chars=20, min_edit_share=0.9).process(example(), context())
    assert [(r.subject, r.reason, r.subject_id) for r in made if isinstance(r, Reject)] == [
        ("pair", "too_similar", "t/9>10"),
        ("pair", "too_similar", "t/6>5"),
        ("pair", "too_similar", "t/3>4"),
    ]
    assert isinstance(made[0], Reject)
    assert made[0].detail == "node t/9 over t/10; margin 2"
    given = example()
    same = [replace(node, step_text="x") for node in given.nodes]
    ctx = context()
    kept, refused = await PairTrajectories().process(Example(PROMPT, trees=given.trees, nodes=same), ctx)
    assert isinstance(kept, Pair)  # two steps against three
    assert isinstance(refused, Reject)
    assert (refused.reason, refused.subject_id) == ("identical_text", "t/9>10")
    assert ctx.counts == {"kept": 1, "refused:identical_text": 1}


async def test_trees_of_one_prompt_do_not_contradict_each_other() -> None:
    one = example()
    swap = {"aaa": "aab", "aab": "aaa"}
    other = [replace(node, tree_id="u", step_text=swap.get(node.step_text, node.step_text)) for node in one.nodes]
    both: Example[Tree | Node] = Example(
        PROMPT, trees=[*one.trees, replace(one.trees[0], tree_id="u")], nodes=[*one.nodes, *other]
    )
    ctx = context()
    assert await steps(both, ctx) == ["aaa>aab", "bb>ba", "aa>ab", "bb>ba", "aa>ab"]
    assert ctx.counts == {"kept": 5, "refused:contradiction": 1}


async def test_a_row_says_where_it_comes_from_and_how_sure_it_is() -> None:
    [pair, *_] = pairs(await PairSteps(**LOOSE).process(example(), context()))
    assert (pair.level, pair.kind, pair.assistant_prefix, texts(pair)) == ("step", "topk", "aaa", ("aaa", "aab"))
    assert pair.tree is not None
    assert pair.tree.prompt_token_ids == (5, 6, *map(ord, "aaa"))
    assert (pair.tree.chosen_value, pair.tree.rejected_value, pair.tree.lcp_tokens) == (1.0, -1.0, 2)
    assert pair.lineage is not None
    assert (pair.lineage.stage, pair.lineage.config_hash) == ("pair_steps", "fingerprint")
    assert pair.lineage.parent_ids == ("t/9", "t/10")


@pytest.mark.parametrize(
    ("columns", "why"),
    [
        ({"status": "skipped_trivial"}, "skipped_trivial"),
        ({"n_wrong": 0}, "all_right"),
        ({"n_correct": 0}, "all_wrong"),
        ({"n_correct": 0, "n_wrong": 0}, "undecided"),
        ({}, "no_margin"),
    ],
)
async def test_a_tree_without_a_pair_says_why(columns: dict[str, Any], why: str) -> None:
    ctx = context()
    assert await steps(example(**columns), ctx, min_margin=5.0) == []
    assert ctx.counts == {"kept": 0, f"no_pair:{why}": 1}


async def test_right_leaves_stand_against_the_wrong_ones_nearest_to_them() -> None:
    ctx = context()
    made = pairs(await PairTrajectories().process(example(), ctx))
    assert texts(made[0]) == ("aaaaaa", "aaaaab")
    assert {(pair.level, pair.kind, pair.weight) for pair in made} == {("response", "leaves_hard_negative", 0.5)}
    assert ctx.counts == {"kept": 2}


async def test_arms_that_share_steps_are_scored_apart() -> None:
    pair = pairs(await PairTrajectories().process(example(), context()))[0]
    assert (pair.chosen_score, pair.rejected_score) == pytest.approx(((1 + 0.386667) / 2, (1 - 0.28) / 2), abs=1e-6)
    assert pair.tree is not None
    assert (pair.tree.chosen_value, pair.tree.rejected_value) == pytest.approx((0.386667, -0.28), abs=1e-6)
    assert (pair.tree.chosen_mc, pair.tree.rejected_mc) == (1.0, 0.0)


async def test_answers_carry_a_label_for_each_step_up_to_the_first_wrong_one() -> None:
    ctx = context()
    traces = {"".join(t.steps): t for t in await LabelSteps().process(example(), ctx)}
    right, wrong = traces["aaaaaa"], traces["aab"]
    assert (right.soft, right.hard, right.outcome, right.first_error) == ((1 / 3, 1 / 2, 1.0), (1, 1, 1), 1, None)
    assert (wrong.soft, wrong.hard, wrong.outcome, wrong.first_error) == ((1 / 3, 0.0), (1, 0), -1, 1)
    assert (traces["bbabaa"].hard, traces["bbabaa"].steps) == ((1, 0), ("b", "ba", "baa"))
    assert ctx.counts["labelled"] == 6
    assert (await LabelSteps(min_samples=10**7).process(example(), context())) == []


@pytest.mark.parametrize(
    ("scores", "consensus"),
    [
        ({"b": 0.5, "ba": -0.5}, True),
        ({"b": -0.1, "ba": -0.5}, False),
        ({"b": 0.5, "ba": 0.5}, False),
        ({"b": None, "ba": -0.5}, None),
    ],
)
async def test_the_flag_says_whether_the_critic_found_the_same_first_error(
    scores: dict[str, float | None], consensus: bool | None
) -> None:
    given = example()
    nodes = [replace(n, judge_score=scores.get(n.step_text)) for n in given.nodes]
    traces = await LabelSteps().process(Example(PROMPT, trees=given.trees, nodes=nodes), context())
    assert {t.consensus for t in traces if t.steps[:2] == ("b", "ba")} == {consensus}


async def test_a_list_holds_the_answers_best_first_with_their_margins() -> None:
    ctx = context()
    [ranking] = await RankLists().process(example(), ctx)
    assert [a.steps[-1] for a in ranking.answers] == ["aaa", "bb", "aab", "ab", "baa", "bab"]
    assert [a.outcome for a in ranking.answers] == [1, 1, -1, -1, -1, -1]
    first, second, *_, last = ranking.answers
    assert first.margin == first.score - second.score
    assert last.margin is None
    assert ctx.counts == {"kept": 1, "no_list": 0}
    assert await RankLists(min_levels=7).process(example(), ctx) == []
    assert ctx.counts == {"kept": 1, "no_list": 1}


async def test_single_steps_are_up_or_down_and_keep_their_prefix() -> None:
    ctx = context()
    thumbs = {t.text: t for t in await LabelUnpaired().process(example(), ctx)}
    assert {text for text, thumb in thumbs.items() if thumb.up} == {"bb", "aaa"}
    assert (thumbs["aaa"].prefix, thumbs["aaa"].prompt_token_ids) == ("aaa", (5, 6, *map(ord, "aaa")))
    assert ctx.counts == {"up": 2, "down": 6, "undecided": 2}


STAGES: tuple[Stage, ...] = (PairSteps(**LOOSE), PairTrajectories(), LabelSteps(), RankLists(), LabelUnpaired())


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: type(stage).__name__)
async def test_the_order_of_the_node_rows_does_not_matter(stage: Stage) -> None:
    given = example()
    shuffled = random.Random(3).sample(list(given.nodes), len(given.nodes))
    rows_of = await stage.process(Example(PROMPT, trees=given.trees, nodes=shuffled), context())
    assert rows_of == await stage.process(given, context())
    assert rows_of


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: type(stage).__name__)
async def test_rows_survive_the_disk(stage: Stage) -> None:
    made = list(await stage.process(example(), context()))
    assert from_table(type(made[0]), to_table(type(made[0]), made)) == made
