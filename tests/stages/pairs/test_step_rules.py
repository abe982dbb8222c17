"""Which steps make a pair: the worked examples of spec mcts R8, and what holds for every tree (R7, P20 to P27)."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from benchmarks.scripted_search import EXAMPLE_A, EXAMPLE_B, drive, named, random_world
from pipeline.pair import Pair
from pipeline.records import Message, Prompt
from pipeline.tables import from_table, to_table
from pipeline.tree import Node, Tree
from stages.pairs.confidence import alpha_visits, p_better
from stages.pairs.finished import FinishedTree, text_of
from stages.pairs.segments import Kept, SegmentRules, keep
from stages.pairs.step_labels import LabelRule, StepLabels, agreed, step_labels, unpaired
from stages.pairs.step_rules import RULES, StepRule, step_pairs
from stages.pairs.trajectories import ListRule, TrajectoryRule, leaves, ranked_list, spread, trajectory_pairs
from stages.pairs.tree_pairs import Labelling, tree_pair
from stages.search.fields import SearchFields
from stages.search.machine import TreeSearch
from stages.search.rows import rows
from stages.search.rules import SearchRules

PROMPT = Prompt("p", "p", (Message("user", "How many?"),))
ANYTHING = SegmentRules(min_edit_chars=0, length_ratio=None, max_per_tree=99)
few = settings(max_examples=15)
seeds = st.integers(0, 10**6)


def finished(search: TreeSearch) -> FinishedTree:
    return FinishedTree(*rows(search, Tree(prompt_id="p", tree_id="t", job="search", prompt_token_ids=(5, 6))))


@pytest.fixture(scope="module")
def example_a() -> FinishedTree:
    search = TreeSearch(SearchRules(prior="uniform"), "t", 1)
    drive(search, named(EXAMPLE_A))
    return finished(search)


@pytest.fixture(scope="module")
def example_b() -> FinishedTree:
    search = TreeSearch(SearchFields(engine="policy", preset="mcts_dpo", sims=8, reroot_sims=0), "t", 1)
    drive(search, named(EXAMPLE_B))
    return finished(search)


def grown(seed: int, **fields: Any) -> FinishedTree:
    rules = SearchRules(**{"max_depth": 5, **fields})
    search = TreeSearch(rules, "t", seed)
    drive(search, random_world(seed, rules))
    return finished(search)


def chosen_over(tree: FinishedTree, **rule: Any) -> dict[str, float]:
    names = [node.step_text for node in tree.nodes]
    found = step_pairs(tree, StepRule(**{"min_samples": 1, **rule}))
    return {f"{names[p.chosen]}>{names[p.rejected]}": round(p.margin, 12) for p in found}


def test_example_a_path_extremes(example_a: FinishedTree) -> None:
    assert chosen_over(example_a, rule="path_extremes") == {"aaa>aab": 2.0, "aa>ab": 1.2, "a>b": 0.24}
    visits = {n.step_text: n.visits for n in example_a.nodes}
    alphas = [alpha_visits(visits[w], visits[b]) for w, b in (("a", "b"), ("aa", "ab"), ("aaa", "aab"))]
    assert alphas == [0.5, 0.25, 0.5]


def test_example_a_topk(example_a: FinishedTree) -> None:
    assert chosen_over(example_a, rule="topk") == {"aaa>aab": 2.0, "bb>ba": 1.8, "aa>ab": 1.2}
    assert chosen_over(example_a, rule="topk", min_margin=0.0)["a>b"] == 0.24
    assert "bb>ba" not in chosen_over(example_a, rule="topk", best_path_only=True)


def test_no_pair_prefers_or_stands_behind_a_step_that_the_search_holds_for_wrong(example_a: FinishedTree) -> None:
    assert set(chosen_over(example_a, rule="topk", sound=0.1)) == {"aaa>aab", "aa>ab"}  # b has the value 0
    assert set(chosen_over(example_a, rule="topk", sound=0.3)) == set()
    assert "a>b" in chosen_over(example_a, rule="topk", min_margin=0.0, sound=0.2)
    assert "a>b" not in chosen_over(example_a, rule="topk", min_margin=0.0, sound=0.25)  # a has the value 0.2
    assert chosen_over(example_a, rule="topk", sound=None) == chosen_over(example_a, rule="topk")


def test_example_a_first_errors(example_a: FinishedTree) -> None:
    assert set(chosen_over(example_a, rule="first_error")) == {"aa>ab", "bb>ba", "aaa>aab"}


def test_example_a_pivots(example_a: FinishedTree) -> None:
    assert set(chosen_over(example_a, rule="pivotal", window=None)) == {"bb>ba", "aaa>aab"}


def test_a_pivot_needs_a_parent_of_middling_difficulty(example_a: FinishedTree) -> None:
    assert set(chosen_over(example_a, rule="pivotal", window=(0.4, 0.6))) == {"aaa>aab"}


def test_an_mc_of_zero_needs_enough_samples_unless_it_is_an_end(example_a: FinishedTree) -> None:
    assert set(chosen_over(example_a, rule="first_error", min_samples=4)) == {"aa>ab", "aaa>aab"}


def test_example_b_path_extremes_after_eight_simulations(example_b: FinishedTree) -> None:
    found = chosen_over(example_b, rule="path_extremes", min_visits=0)
    assert list(found) == ["b>a", "bb>ba"] or list(found) == ["bb>ba", "b>a"]
    visits = {n.step_text: n.visits for n in example_b.nodes}
    assert alpha_visits(visits["b"], visits["a"]) == 0.125
    assert alpha_visits(visits["bb"], visits["ba"]) == 0.0


def test_all_margin_takes_every_pair_far_enough_apart(example_a: FinishedTree) -> None:
    assert chosen_over(example_a, rule="all_margin", min_margin=1.5) == {"aaa>aab": 2.0, "bb>ba": 1.8}


def test_example_a_trajectories(example_a: FinishedTree) -> None:
    means = {leaf.node.step_text: round(leaf.mean, 6) for leaf in leaves(example_a)}
    assert means == {"aaa": 0.386667, "bb": 0.36, "aab": -0.28, "ab": -0.52, "baa": -0.693333, "bab": -0.693333}
    worst = trajectory_pairs(example_a, TrajectoryRule(order="best_worst"))
    hard = trajectory_pairs(example_a, TrajectoryRule(order="hard_negative"))
    assert [s.node.step_text for s in leaves(example_a)][:2] == ["aaa", "bb"]
    assert [(s.chosen[-1].step_text, s.rejected[-1].step_text) for s in worst] == [("aaa", "baa"), ("bb", "bab")]
    assert (hard[0].chosen[-1].step_text, hard[0].rejected[-1].step_text) == ("aaa", "aab")
    drawn = trajectory_pairs(example_a, TrajectoryRule(order="random", max_uses=2))
    assert drawn == trajectory_pairs(example_a, TrajectoryRule(order="random", max_uses=2))
    assert len(drawn) == 4


def test_a_right_leaf_behind_a_step_that_the_search_holds_for_wrong_is_not_chosen(example_a: FinishedTree) -> None:
    doubted = [replace(n, value=-0.3) if n.step_text == "aa" else n for n in example_a.nodes]
    tree = FinishedTree(example_a.tree, doubted)
    assert [s.chosen[-1].step_text for s in trajectory_pairs(tree, TrajectoryRule())] == ["bb"]
    for least in (None, -0.5):
        assert len(trajectory_pairs(tree, TrajectoryRule(sound=least))) == 2


def test_what_stands_on_a_false_equation_is_not_chosen(example_a: FinishedTree) -> None:
    told = [replace(n, step_text="\n3 + 4 = 8\n") if n.step_text == "aa" else n for n in example_a.nodes]
    tree = FinishedTree(example_a.tree, told)
    assert [s.chosen[-1].step_text for s in trajectory_pairs(tree, TrajectoryRule(recompute=True))] == ["bb"]
    assert len(trajectory_pairs(tree, TrajectoryRule())) == 2
    steps = {rule: chosen_over(tree, rule="all_margin", recompute=rule) for rule in (True, False)}
    assert "aaa>aab" in steps[False]
    assert "aaa>aab" not in steps[True]
    assert "bb>ba" in steps[True]


def test_example_a_process_labels(example_a: FinishedTree) -> None:
    labels = {leaf.node.step_text: step_labels(leaf, LabelRule()) for leaf in leaves(example_a)}
    assert labels["aaa"] == StepLabels([1 / 3, 1 / 2, 1], [1, 1, 1])
    assert labels["ab"] == StepLabels([1 / 3, 0], [1, 0])
    assert labels["aab"] == StepLabels([1 / 3, 1 / 2, 0], [1, 1, 0])
    assert labels["baa"] == StepLabels([1 / 3, 0], [1, 0])
    assert (agreed(labels["ab"], 1).consensus, agreed(labels["ab"], 0).consensus) == (True, False)
    assert agreed(labels["aaa"], None).consensus is True
    sure = {leaf.node.step_text: step_labels(leaf, LabelRule(min_samples=3)) for leaf in leaves(example_a)}
    assert sure["ab"] == StepLabels([1 / 3, 0], [1, 0])
    assert sure["aaa"] == StepLabels([1 / 3, None, 1], [1, None, 1])


def test_example_a_ranked_list(example_a: FinishedTree) -> None:
    ranked = ranked_list(example_a, ListRule())
    assert [r.leaf.node.step_text for r in ranked] == ["aaa", "bb", "aab", "ab", "baa", "bab"]
    assert [r.shared for r in ranked] == [3, 0, 2, 1, 0, 0]
    short = ranked_list(example_a, ListRule(max_size=3))
    assert [r.leaf.node.step_text for r in short] == ["aaa", "aab", "bab"]
    assert ranked_list(example_a, ListRule(min_levels=7)) == []
    assert spread(9, 4) == [0, 2, 5, 8]


def test_unpaired_rows_are_far_enough_from_the_middle(example_a: FinishedTree) -> None:
    found = {example_a.nodes[u.node_id].step_text: u.label for u in unpaired(example_a, StepRule())}
    assert found == {
        "b": False, "ab": False, "ba": False, "bb": True, "aaa": True, "aab": False, "baa": False, "bab": False
    }  # fmt: skip


def test_segments_reach_as_far_as_asked(example_a: FinishedTree) -> None:
    proposed = step_pairs(example_a, StepRule(min_margin=0.0))
    whole = keep(example_a, proposed, SegmentRules(form="rollout", min_edit_chars=0), {})
    texts = [(text_of(s.chosen), text_of(s.rejected)) for s in whole.segments]
    assert ("aaaaa", "ab") in texts  # aa → aaa against ab
    assert ("aaaaaa", "bbabaa") in texts  # a → aa → aaa against b → ba → baa
    assert {s.form for s in whole.segments} == {"rollout"}


def reasons(kept: Kept) -> dict[str, int]:
    return Counter(refused.reason for refused in kept.refused)


def test_filters_and_caps_name_what_they_refuse(example_a: FinishedTree) -> None:
    proposed = step_pairs(example_a, StepRule(rule="all_margin", min_margin=0.0))
    assert reasons(keep(example_a, proposed, SegmentRules(min_edit_share=0.9), {})) == {"too_similar": 3}
    assert reasons(keep(example_a, proposed, SegmentRules(form="rollout", length_ratio=2.0), {}))["length_ratio"] == 2
    assert keep(example_a, proposed, ANYTHING.model_copy(update={"max_per_tree": 2}), {}).over_cap == {"per_tree": 2}
    assert keep(example_a, proposed, ANYTHING.model_copy(update={"max_per_depth": 1}), {}).over_cap == {"per_depth": 1}


def test_no_text_is_both_chosen_and_rejected_after_one_prefix() -> None:
    for seed in range(30):
        tree = grown(seed)
        proposed = step_pairs(tree, StepRule(rule="all_margin", min_margin=0.01))
        kept = keep(tree, proposed, ANYTHING, {}).segments
        sides: dict[tuple[int, str], set[bool]] = {}
        for found in kept:
            sides.setdefault((found.pair.parent, text_of(found.chosen)), set()).add(True)
            sides.setdefault((found.pair.parent, text_of(found.rejected)), set()).add(False)
        assert all(len(side) == 1 for side in sides.values())


@pytest.mark.parametrize("name", RULES)
@few
@given(seed=seeds, mode=st.sampled_from([{}, {"mode": "omega"}, {"mode": "eptree"}]))
def test_every_pair_is_a_fork_with_the_better_step_chosen(name: Any, seed: int, mode: dict[str, Any]) -> None:
    tree = grown(seed, **mode)
    rule = StepRule(rule=name, min_samples=1)
    found = step_pairs(tree, rule)
    shuffled = list(tree.nodes)
    random.Random(seed).shuffle(shuffled)
    assert step_pairs(FinishedTree(tree.tree, shuffled), rule) == found
    for pair in found:
        chosen, rejected = tree.nodes[pair.chosen], tree.nodes[pair.rejected]
        assert chosen.parent_id == rejected.parent_id == pair.parent
        assert chosen.step_token_ids != rejected.step_token_ids
        assert pair.margin == chosen.q - rejected.q > 0
        assert pair.margin >= rule.margin - 1e-9
    both = {(p.chosen, p.rejected) for p in found}
    assert not both & {(r, c) for c, r in both}


@pytest.mark.parametrize("name", ["topk", "first_error", "pivotal", "bisect"])
@pytest.mark.parametrize("outcome", [1, -1])
def test_a_tree_of_one_outcome_gives_no_pairs(name: Any, outcome: int) -> None:
    def uniform(node: Node) -> Node:
        decided = node.terminals and node.correct + node.wrong
        changed = replace(
            node, correct=node.terminals if outcome > 0 else 0, wrong=node.terminals if outcome < 0 else 0
        )
        return replace(changed, mc=float(outcome > 0) if decided else None, outcome=node.outcome and outcome)

    for seed in range(10):
        tree = grown(seed)
        one_sided = FinishedTree(tree.tree, [uniform(node) for node in tree.nodes])
        assert step_pairs(one_sided, StepRule(rule=name, min_samples=1, window=None)) == []


@few
@given(seed=seeds, form=st.sampled_from(["step", "chain", "rollout"]))
def test_rows_lie_on_paths_of_their_tree(seed: int, form: Any) -> None:
    tree = grown(seed)
    kept: Kept = keep(tree, step_pairs(tree, StepRule(min_margin=0.01)), ANYTHING.model_copy(update={"form": form}), {})
    pairs = [tree_pair(PROMPT, tree, s, Labelling("topk", "q"), 1) for s in kept.segments]
    assert len({p.pair_id for p in pairs}) == len(pairs)
    texts = {text_of(tree.lineage(node)) for node in tree.nodes}
    ids = {tokens for node in tree.nodes for tokens in [sum((n.step_token_ids for n in tree.lineage(node)), ())]}
    for pair in pairs:
        assert pair.tree is not None
        for message, tokens in zip(
            (*pair.chosen_messages, *pair.rejected_messages),
            (pair.tree.chosen_token_ids, pair.tree.rejected_token_ids),
            strict=True,
        ):
            assert (pair.assistant_prefix or "") + message.content in texts
            assert pair.tree.prompt_token_ids[:2] == (5, 6)
            assert pair.tree.prompt_token_ids[2:] + tokens in ids
        common = pair.tree.lcp_tokens
        assert pair.tree.chosen_token_ids[:common] == pair.tree.rejected_token_ids[:common]
        assert 0 <= (pair.tree.alpha_visits or 0) <= 0.5
        assert pair.chosen_score is not None
        assert pair.rejected_score is not None
        assert pair.score_gap == pair.chosen_score - pair.rejected_score > 0
        if form == "rollout":
            assert pair.level == "segment"
    assert from_table(Pair, to_table(Pair, pairs)) == pairs


def test_an_end_of_sequence_belongs_only_behind_what_really_ended() -> None:
    seen = set()
    for seed in range(20):
        tree = grown(seed)
        for found in keep(tree, step_pairs(tree, StepRule(min_margin=0.01)), ANYTHING, {}).segments:
            pair = tree_pair(PROMPT, tree, found, Labelling("topk", "q"), 2)
            end = found.chosen[-1]
            assert pair.chosen_terminal == (end.is_terminal and end.finish_reason == "eos")
            assert pair.chosen_terminal == (2 in end.step_token_ids and end.finish_reason == "eos")
            assert pair.chosen_tail is None or not end.is_terminal
            assert pair.weight == 0.5
            seen.add(pair.chosen_terminal)
    assert seen == {True, False}


def test_turn_trees_give_multi_turn_prompts() -> None:
    rules = SearchRules(mode="ultra", max_depth=3, width=4, width_root=4)
    deep = []
    for seed in range(20):
        world, search = random_world(seed, rules), TreeSearch(rules, "t", seed)
        drive(search, lambda t, world=world: replace(world(t), observation="Wrong." if t.depth else None))  # type: ignore[misc]
        tree = finished(search)
        kept = keep(tree, step_pairs(tree, StepRule(score="value")), ANYTHING, {}).segments
        deep += [tree_pair(PROMPT, tree, s, Labelling("topk", "value"), 1) for s in kept if s.prefix]
    assert deep
    for pair in deep:
        assert [m.role for m in pair.prompt_messages[:3]] == ["user", "assistant", "user"]
        assert pair.prompt_messages[-1].content == "Wrong."
        assert pair.assistant_prefix is None


def test_confidence_is_the_published_one() -> None:
    assert p_better(3, 4, 1, 4) == 113 / 126
    assert p_better(4, 4, 0, 4) == 251 / 252
    assert p_better(2, 4, 2, 4) == 1 / 2
    assert p_better(8, 8, 4, 8) == 67 / 68
    assert round(p_better(6, 8, 2, 8), 3) == 0.972


@given(st.data())
def test_confidence_is_antisymmetric(data: st.DataObject) -> None:
    n, m = data.draw(st.integers(0, 30)), data.draw(st.integers(0, 30))
    c, d = data.draw(st.integers(0, n)), data.draw(st.integers(0, m))
    assert p_better(c, n, d, m) + p_better(d, m, c, n) == pytest.approx(1.0, abs=1e-12)
    assert 0 <= alpha_visits(n, m) <= 0.5


@few
@given(seed=seeds, size=st.integers(3, 6))
def test_ranked_lists_are_sorted_and_hold_three_levels(seed: int, size: int) -> None:
    ranked = ranked_list(grown(seed), ListRule(max_size=size, min_spread=0.0))
    scores = [r.score for r in ranked]
    assert scores == sorted(scores, reverse=True)
    assert not scores or (len({round(s, 12) for s in scores}) >= 3 and len(scores) <= size)


@few
@given(seed=seeds)
def test_no_step_is_right_after_the_first_wrong_one(seed: int) -> None:
    tree = grown(seed)
    for leaf in leaves(tree):
        labels = step_labels(leaf, LabelRule())
        assert 0 not in labels.hard[:-1]
        assert labels.soft == [node.mc for node in leaf.path][: len(labels.soft)]
        assert len(labels.soft) == len(leaf.path) or labels.hard[-1] == 0
