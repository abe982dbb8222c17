"""What each mode is for: bisection finds the first wrong step, forks go to the unsure steps, turns answer the wrong."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.scripted_search import drive, random_world
from pipeline.tables import from_table, table_name, to_table
from pipeline.tree import Node, Tree
from stages.pairs.finished import FinishedTree
from stages.pairs.step_rules import StepRule, step_pairs
from stages.search.backup import event
from stages.search.fields import SearchFields
from stages.search.machine import TreeSearch
from stages.search.rows import rows
from stages.search.rules import SearchRules
from stages.search.tickets import Answer, Child, Ticket, Turn
from stages.search.tree import GrowingTree

SLIP = 99


def slipping(ticket: Ticket) -> Answer:
    """Roll-outs of six steps; a step with the token SLIP loses the solution for good, everything else keeps it."""
    draw = random.Random(ticket.seed)
    branches = []
    for _ in range(ticket.n):
        ids = [(draw.randrange(10, 14), SLIP if draw.random() < 0.12 else 1) for _ in range(6 - ticket.depth)]
        lost = SLIP in ticket.prefix_ids or any(SLIP in step for step in ids)
        steps = [Child(f"w{step[0]}{step[1]} ", step) for step in ids]
        steps[-1] = Child("end", (*ids[-1], 2), finish_reason="eos", outcome=-1 if lost else 1)
        branches.append(tuple(steps))
    return Answer(tuple(branches))


def test_omega_finds_the_steps_that_lose_the_solution() -> None:
    rules = SearchRules(mode="omega", sims=20)
    found = 0
    for seed in range(10):
        search = TreeSearch(rules, "t", seed)
        asked = drive(search, slipping)
        assert sum(ticket.n for ticket in asked) <= rules.omega.max_rollouts
        tree = FinishedTree(*rows(search, Tree(prompt_id="p", tree_id="t", job="search")))
        for pair in step_pairs(tree, StepRule(rule="bisect", min_samples=16)):
            prefix = [token for node in tree.lineage(tree.nodes[pair.parent]) for token in node.step_token_ids]
            assert SLIP not in prefix
            assert SLIP in tree.nodes[pair.rejected].step_token_ids
            assert SLIP not in tree.nodes[pair.chosen].step_token_ids
            found += 1
    assert found >= 20


def test_omega_gives_up_on_rollouts_that_nobody_can_judge() -> None:
    search = TreeSearch(SearchRules(mode="omega"), "t", 0)
    undecided = Child("end", (1, 2), finish_reason="eos")
    asked = drive(search, lambda ticket: Answer(((undecided,),)))
    assert (len(asked), search.status) == (1, "exhausted")


def test_eptree_forks_where_the_policy_was_least_sure() -> None:
    rules = SearchRules(mode="eptree", eptree={"chains": 2, "forks": 1, "branches": 2, "rounds": 1})
    unsure = Child("b", (2,), -4.0)
    chains: list[tuple[Child, ...]] = [(Child("a", (1,), -0.1), unsure, Child("c", (3, 2), -0.1, "eos", outcome=1))]
    chains.append((Child("d", (4,), -1.0), Child("e", (5, 2), -0.1, "eos", outcome=-1)))
    search = TreeSearch(rules, "t", 0)
    asked = drive(search, lambda ticket: Answer(tuple(chains) if ticket.depth == 0 else ()))
    assert [(t.kind, t.prefix_text, t.n) for t in asked] == [("rollout", "", 2), ("rollout", "a", 2)]
    assert (search.status, search.tree.root.visits, search.tree.root.q) == ("exhausted", 2, 0.0)


def test_ultra_answers_the_first_wrong_attempt_and_goes_on_from_there() -> None:
    rules = SearchRules(mode="ultra", max_depth=3, width_root=3, width=3, sims=9)

    def respond(ticket: Ticket) -> Answer:
        outcomes = (1, -1, -1) if ticket.depth < 2 else (-1, -1, 1)
        attempts = [
            Child(f"t{ticket.depth}{i}", (ticket.depth, i, 2), finish_reason="eos", terminal_reason="answer", outcome=o)
            for i, o in enumerate(outcomes)
        ]
        heard = ("Wrong.", (7,)) if ticket.depth else (None, ())
        return Answer(tuple((a,) for a in attempts), observation=heard[0], observation_ids=heard[1])

    search = TreeSearch(rules, "t", 0)
    asked = drive(search, respond)
    assert [t.turns for t in asked] == [(), (Turn("t01"),), (Turn("t01", None, "Wrong."), Turn("t11"))]
    assert asked[2].prefix_ids == (0, 1, 2, 7, 1, 1, 2)
    assert all(t.finish for t in asked)
    assert search.status == "exhausted"
    open_ones = [n.child.text for n in search.tree.nodes[1:] if n.terminal_reason is None]
    assert open_ones == ["t01", "t11"]


def test_trajectories_go_down_to_an_end_in_every_simulation() -> None:
    rules = SearchRules(mode="trajectory", sims=1, max_depth=4)
    search = TreeSearch(rules, "t", 5)
    asked = drive(search, random_world(5, rules))
    depths = [ticket.depth for ticket in asked if not ticket.attempt]
    assert depths == list(range(len(depths)))
    assert len(depths) > 1


def unending(ticket: Ticket) -> Answer:
    """Two steps, of which the second is better; only who is asked to finish gives an answer."""
    end, reason = ("eos", "answer") if ticket.finish else ("stop", None)
    return Answer(tuple([(Child(f"{i}", (i,), -1.0, end, None, reason, self_eval=0.2 + 0.6 * i),) for i in range(2)]))


def test_a_rerooted_search_goes_on_from_the_chosen_step_until_the_answer_is_whole() -> None:
    fields: dict[str, Any] = {"preset": "mcts_dpo", "engine": "policy", "width": 2, "sims": 8, "reroot_sims": 3}
    search = TreeSearch(SearchFields(**fields, max_depth=2), "t", 0)
    assert [(t.path, t.finish) for t in drive(search, unending)] == [("0", False), ("0.1", True), ("0.0", True)]
    assert (search.status, search.tree.sims) == ("exhausted", 8 + 3)
    assert [node.visits for node in search.tree.nodes[:3]] == [11, 7, 4]  # 4 and 4, then three more from the chosen one


def test_the_depth_limit_counts_from_the_chosen_step() -> None:
    fields: dict[str, Any] = {"preset": "mcts_dpo", "engine": "policy", "c": 50.0, "sims": 1, "reroot_sims": 4}
    search = TreeSearch(SearchFields(**fields, max_depth=3), "t", 0)
    asked = drive(search, unending)
    assert [t.depth for t in asked if t.sim == 1] == [0, 1, 2]
    assert max(t.depth for t in asked if t.finish) == 3
    assert search.status == "exhausted"


@pytest.mark.parametrize("stays", [False, True])
def test_an_end_without_an_answer_counts_as_wrong_and_as_far_up_as_wanted(stays: bool) -> None:
    rules = SearchRules(count_invalid_as_wrong=True, invalid_stays=stays, sims=1)
    search = TreeSearch(rules, "t", 0)
    lost = Child("lost", (1,), finish_reason="length", terminal_reason="max_tokens")
    right = Child("4", (2,), finish_reason="eos", terminal_reason="answer", final_answer="4", outcome=1)
    drive(search, lambda ticket: Answer(((lost,), (right,))))
    root, first, second = search.tree.nodes
    assert (first.outcome, first.q, second.q) == (-1, -1.0, 1.0)
    assert (root.visits, root.q) == ((1, 1.0) if stays else (2, 0.0))


@pytest.mark.parametrize("best", [False, True])
@given(values=st.lists(st.floats(-1, 1), min_size=4, max_size=4), more=st.floats(0, 1), seed=st.integers(0, 99))
def test_a_better_leaf_never_makes_its_ancestors_worse(best: bool, values: list[float], more: float, seed: int) -> None:
    """P19, for a fixed order of events."""

    def root_and_middle(found: list[float]) -> list[float]:
        tree = GrowingTree(SearchRules())
        middle = [tree.attach(tree.root, Child(str(i), (i,)), 1.0, 0, 0) for i in range(2)]
        leaves = [tree.attach(m, Child(str(i), (i,)), 1.0, 0, 0) for m in middle for i in range(2)]
        order = list(zip(leaves, found, strict=True))
        random.Random(seed).shuffle(order)
        for leaf, value in order:
            leaf.value = value
            event(leaf, value, best=best)
        return [node.q for node in (tree.root, *middle)]

    raised = [min(1.0, values[0] + more), *values[1:]]
    assert all(b >= a - 1e-12 for a, b in zip(root_and_middle(values), root_and_middle(raised), strict=True))


def test_trees_and_nodes_are_tables() -> None:
    rules = SearchRules(prefilter={"rollouts": 4, "low": 0.0, "high": 1.0})
    search = TreeSearch(rules, "t", 5)
    drive(search, random_world(5, rules))
    tree, nodes = rows(search, Tree(prompt_id="p", tree_id="t", job="search", prompt_token_ids=(1, 2)))
    assert (table_name(Tree), table_name(Node)) == ("trees", "nodes")
    assert from_table(Tree, to_table(Tree, [tree])) == [tree]
    assert from_table(Node, to_table(Node, nodes)) == nodes
    assert len(nodes[0].rollouts) == 4
