"""The stages that read search trees: pairs of steps and of whole answers, with a ledger of what was refused."""

from __future__ import annotations

import asyncio
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
from tests.stages.exports.example_rows import exported

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
    right, wrong = (2 + 0.386667) / 3, (-2 - 0.28) / 3  # the outcome first, then the mean Q, as in ranked lists
    assert (pair.chosen_score, pair.rejected_score) == pytest.approx(((1 + right) / 2, (1 + wrong) / 2), abs=1e-6)
    assert pair.tree is not None
    assert (pair.tree.chosen_value, pair.tree.rejected_value) == pytest.approx((0.386667, -0.28), abs=1e-6)
    assert (pair.tree.chosen_mc, pair.tree.rejected_mc) == (1.0, 0.0)


def changed(given: Example[Tree | Node], **columns: dict[str, Any]) -> Example[Tree | Node]:
    """The tree with other values; `columns`: of a column by the text of the step."""
    nodes = [
        replace(node, **{name: of[node.step_text] for name, of in columns.items() if node.step_text in of})
        for node in given.nodes
    ]
    return Example(PROMPT, trees=given.trees, nodes=nodes)


def ended(given: Example[Tree | Node], *cut: str) -> Example[Tree | Node]:
    """The tree whose ends the policy set, but for those named."""
    ends = [node.step_text for node in given.nodes if node.is_terminal]
    return changed(given, finish_reason={text: "length" if text in cut else "eos" for text in ends})


def test_a_wrong_answer_by_good_steps_is_thumbs_down_and_a_right_one_by_poor_steps_up() -> None:
    given = changed(ended(example()), q={"a": -0.95, "aa": -0.95, "b": 0.95, "ba": 0.95})
    made = pairs(asyncio.run(PairTrajectories(max_pairs=9, max_uses=9).process(given, context())))
    right, wrong = {"aaaaaa", "bbb"}, {"aaaaab", "aab", "bbabaa", "bbabab"}
    assert {texts(pair) for pair in made} == {(good, bad) for good in right for bad in wrong}
    for pair in made:
        assert pair.chosen_score is not None
        assert pair.rejected_score is not None
        assert pair.score_gap == pair.chosen_score - pair.rejected_score > 0
    rows, _, _ = exported(Example(PROMPT, pairs=made), format="trl-kto")
    labels = {row.completion[0].content: row.label for row in rows}
    assert labels == {**dict.fromkeys(right, True), **dict.fromkeys(wrong, False)}
    rows, rejects, _ = exported(Example(PROMPT, pairs=made), format="ultrafeedback-binarized")
    assert rejects == []
    assert min(row.chosen_avg_rating for row in rows) >= 1 + 4 * 2 / 3
    assert max(row.rejected_avg_rating for row in rows) <= 1 + 4 / 3


@pytest.mark.parametrize("form", ["step", "rollout"])
async def test_arms_that_are_ends_are_scored_by_their_outcome_whatever_their_form(form: str) -> None:
    given = changed(ended(example()), q={"bb": 0.1, "ba": 0.05}, is_finish={"bb": True})
    rule: dict[str, Any] = {"rule": "all_margin", "min_margin": 0.01, "form": form, "sound": None}
    made = [p for p in pairs(await PairSteps(**LOOSE, **rule).process(given, context())) if texts(p)[0] == "bb"]
    scores = {texts(p): (p.chosen_score, p.rejected_score) for p in made}
    if form == "step":  # ba goes on: what is known of it is its Q
        assert scores == {("bb", "ba"): pytest.approx((0.55, 0.525))}
    else:
        assert scores == {("bb", "babaa"): pytest.approx(((1 + 2.1 / 3) / 2, (1 - 1.95 / 3) / 2))}


async def test_a_chain_that_came_out_wrong_is_never_chosen_over_one_that_came_right() -> None:
    given = changed(example(), q={"ab": 0.9, "aa": -0.9})
    alone = [node for node in given.nodes if node.step_text not in ("aab", "ba", "bb", "baa", "bab")]
    nodes = [replace(node, node_id=at) for at, node in enumerate(alone)]
    number = {old.node_id: new.node_id for old, new in zip(alone, nodes, strict=True)}
    nodes = [replace(node, parent_id=number.get(node.parent_id or 0)) if at else node for at, node in enumerate(nodes)]
    ctx = context()
    rule: dict[str, Any] = {"rule": "all_margin", "form": "chain", "sound": None}
    made = await PairSteps(**LOOSE, **rule).process(Example(PROMPT, trees=given.trees, nodes=nodes), ctx)
    assert ctx.counts["refused:wrong_end"] == 1
    assert ("ab", "aaaaa") not in [texts(pair) for pair in pairs(made)]


def test_a_tail_ends_where_the_policy_ended_and_not_where_it_was_cut() -> None:
    [pair] = [p for p in tails(ended(example())) if texts(p) == ("aa", "ab")]
    assert pair.chosen_tail == "aaa"
    [pair] = [p for p in tails(ended(example(), "aaa")) if texts(p) == ("aa", "ab")]
    assert pair.chosen_tail is None  # right, but cut behind its answer
    assert exported(Example(PROMPT, pairs=[pair]), format="trl-dpo").reasons == ["not_terminal"]
    [pair] = [p for p in tails(ended(example(), "baa")) if texts(p) == ("bb", "ba")]
    assert pair.rejected_tail == "bab"  # the other wrong end below it is whole


def tails(given: Example[Tree | Node]) -> list[Pair]:
    return pairs(asyncio.run(PairSteps(**LOOSE).process(given, context())))


async def test_a_rollout_goes_to_an_end_that_the_policy_set_where_there_is_one() -> None:
    async def arms(*cut: str) -> list[tuple[str, str, bool]]:
        made = pairs(await PairSteps(**LOOSE, form="rollout").process(ended(example(), *cut), context()))
        return [(*texts(pair), pair.rejected_terminal) for pair in made if texts(pair)[0] == "bb"]

    assert await arms() == [("bb", "babaa", True)]
    assert await arms("baa") == [("bb", "babab", True)]
    assert await arms("baa", "bab") == [("bb", "babaa", False)]


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


@pytest.mark.parametrize("margin", [0.4, 0.6, 1.0])
async def test_a_step_after_which_little_comes_right_is_thumbs_down_where_the_score_is_its_share_of_right_ends(
    margin: float,
) -> None:
    shares = {"a": 0.75, "b": 0.25, "aa": 0.5, "ba": 0.5, "ab": 0.0}
    given = changed(example(), mc=shares)
    thumbs = {t.text: t for t in await LabelUnpaired(score="mc", min_margin=margin).process(given, context())}
    assert not {"aa", "ba"} & thumbs.keys()
    assert (thumbs["ab"].up, thumbs["ab"].weight) == (False, 1.0)
    assert ("a" in thumbs, "b" in thumbs) == (margin <= 0.5, margin <= 0.5)
    if margin <= 0.5:
        assert [(thumbs[name].up, thumbs[name].weight) for name in "ab"] == [(True, 0.5), (False, 0.5)]
    apart = [node.mc for node in given.nodes[1:] if node.step_text in thumbs and node.mc is not None]
    assert min(v for v in apart if v > 0.5) - max(v for v in apart if v < 0.5) >= margin


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
