"""What holds for every search, whatever the model says and whatever comes back first (spec mcts R7)."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from benchmarks.scripted_search import drive, random_world
from pipeline.tree import Node, Tree
from stages.search.machine import TreeSearch
from stages.search.rows import node_rows, restore, rows
from stages.search.rules import Prefilter, SearchRules
from stages.search.tickets import Answer, Ticket
from stages.search.tree import TreeNode

STEPWISE = (
    {"mode": "frontier"},
    {"mode": "frontier", "in_flight": 3},
    {"mode": "frontier", "select": "uct", "in_flight": 4, "in_flight_rule": "virtual_loss"},
    {"mode": "frontier", "select": "uct_sqrt2", "backup": "max"},
    {"mode": "frontier", "select": "puct_az", "backup": "discounted", "gamma": 0.9, "count_invalid_as_wrong": True},
    {"mode": "frontier", "revisit": True, "in_flight": 2},
    {"mode": "trajectory", "select": "uct", "fpu": "zero"},
    {"mode": "trajectory", "backup": "advantage", "revisit": True, "values": {"form": "additive"}},
    {"mode": "trajectory", "backup": "advantage", "revisit": True, "values": {"form": "additive"}, "reroot_sims": 4},
    {"mode": "ultra", "max_depth": 4},
)
BY_ROLLOUTS = (
    {"mode": "omega", "omega": {"rollouts": 4, "max_rollouts": 60, "confirm": True}},
    {"mode": "eptree", "in_flight": 4, "eptree": {"rounds": 2}},
)
IDENTITY = Tree(prompt_id="p", tree_id="t", job="search")
seeds = st.integers(0, 10**6)
few = settings(max_examples=8)  # of each of the modes


def rules_of(fields: dict[str, Any], **changes: Any) -> SearchRules:
    return SearchRules(**{"sims": 12, "max_depth": 5, **fields, **changes})


def run(rules: SearchRules, seed: int, order: int | None = None) -> tuple[TreeSearch, list[Ticket]]:
    search = TreeSearch(rules, "t", seed)
    shuffle = None if order is None else random.Random(order)
    return search, drive(search, random_world(seed, rules), shuffle)


def table(search: TreeSearch) -> tuple[Tree, list[Node]]:
    return rows(search, IDENTITY)


@pytest.mark.parametrize("fields", [*STEPWISE, *BY_ROLLOUTS])
@few
@given(seed=seeds, orders=st.tuples(seeds, seeds))
def test_the_order_of_completion_changes_nothing(fields: dict[str, Any], seed: int, orders: tuple[int, int]) -> None:
    rules = rules_of(fields)
    (one, asked), (other, asked_other) = (run(rules, seed, order) for order in orders)
    assert table(one) == table(other)
    assert sorted(asked, key=lambda t: (t.number, t.attempt)) == sorted(
        asked_other, key=lambda t: (t.number, t.attempt)
    )


@pytest.mark.parametrize("fields", [*STEPWISE, *BY_ROLLOUTS])
@few
@given(seed=seeds)
def test_a_tree_is_well_formed(fields: dict[str, Any], seed: int) -> None:
    rules = rules_of(fields)
    search, _ = run(rules, seed)
    tree, nodes = table(search)
    assert search.status == tree.status is not None
    children: dict[int, list[Node]] = {}
    for place, node in enumerate(nodes):
        assert node.node_id == place
        if node.parent_id is None:
            assert (place, node.depth, node.path) == (0, 0, "0")
            continue
        parent = nodes[node.parent_id]
        assert node.parent_id < node.node_id
        assert (node.depth, node.path) == (parent.depth + 1, f"{parent.path}.{node.child_index}")
        assert not parent.is_terminal
        children.setdefault(node.parent_id, []).append(node)
        if fields["mode"] not in ("omega", "eptree") and "reroot_sims" not in fields:
            assert node.depth <= rules.max_depth
    for node in nodes:
        below = children.get(node.node_id, [])
        assert node.expanded == bool(below)
        assert len({child.step_token_ids for child in below}) == len(below)
        assert [child.child_index for child in below] == list(range(len(below)))
        unknown = node.terminals - node.correct - node.wrong
        assert unknown >= 0
        ended = node.is_terminal or node.outcome is not None
        assert node.terminals == ended + sum(child.terminals for child in below)
        assert node.mc is None or 0 <= node.mc <= 1
        known = [c.mc for c in below if c.mc is not None]
        if known and not ended and fields["mode"] != "omega" and node.mc is not None:
            assert min(known) <= node.mc <= max(known)


@pytest.mark.parametrize("fields", STEPWISE)
@few
@given(seed=seeds)
def test_siblings_are_neighbours_and_no_more_than_asked_for(fields: dict[str, Any], seed: int) -> None:
    rules = rules_of(fields)
    search, asked = run(rules, seed)
    for node in search.tree.nodes:
        ids = [child.node_id for child in node.children]
        assert not ids or ids == list(range(ids[0], ids[0] + len(ids)))
        assert len(ids) <= (rules.width if node.parent else rules.width_root)
    answered = [t.node_id for t in asked]
    retried = [t.node_id for t in asked if t.attempt]
    assert len(answered) - len(retried) == len(set(answered))  # no node is expanded twice
    assert all(t.attempt <= rules.retries for t in asked)


@pytest.mark.parametrize("fields", [*STEPWISE, *BY_ROLLOUTS])
@few
@given(seed=seeds)
def test_requests_continue_the_path_of_their_node(fields: dict[str, Any], seed: int) -> None:
    search, asked = run(rules_of(fields), seed)
    for ticket in asked:
        path: list[int] = []
        node: TreeNode | None = search.tree.nodes[ticket.node_id]
        while node is not None:
            path[:0] = node.child.token_ids
            node = node.parent
        assert ticket.prefix_ids == tuple(path)
        assert ticket.max_tokens >= 1
    assert len({ticket.seed for ticket in asked}) == len(asked)


@pytest.mark.parametrize("fields", [f for f in STEPWISE if f.get("backup", "mean") == "mean"])
@few
@given(seed=seeds)
def test_visits_and_value_sums_are_sums_of_events(fields: dict[str, Any], seed: int) -> None:
    search, _ = run(rules_of(fields), seed)
    for node in search.tree.nodes:
        assert node.visits == node.own_visits + sum(child.visits for child in node.children)
        own = node.own_visits * (node.value or 0.0)
        assert node.value_sum == pytest.approx(own + sum(child.value_sum for child in node.children))
        assert -1 <= node.q <= 1
        assert node.own_visits <= 1 or fields.get("revisit")
        values = [n.value for n in search.tree.nodes if n.own_visits and n.value is not None and node in lineage(n)]
        if values and not fields.get("revisit"):
            assert min(values) - 1e-12 <= node.q <= max(values) + 1e-12
    assert search.tree.root.visits == sum(node.own_visits for node in search.tree.nodes)


def lineage(node: TreeNode) -> list[TreeNode]:
    return [node, *lineage(node.parent)] if node.parent else [node]


@few
@given(seed=seeds, in_flight=st.integers(1, 5))
def test_requests_in_flight_are_counted_on_their_whole_path(seed: int, in_flight: int) -> None:
    rules = rules_of({"mode": "frontier"}, in_flight=in_flight)
    search, respond, draw = TreeSearch(rules, "t", seed), random_world(seed, rules), random.Random(seed)
    waiting = search.next_tickets()
    unanswered = {ticket.number for ticket in waiting}
    while waiting:
        ticket = waiting.pop(draw.randrange(len(waiting)))
        assert search.tree.root.in_flight <= in_flight
        for node in search.tree.nodes:
            assert node.in_flight >= sum(child.in_flight for child in node.children) >= 0
        assert not search.tree.nodes[ticket.node_id].exhausted
        search.deliver(ticket, respond(ticket))
        unanswered.discard(ticket.number)
        waiting += (fresh := search.next_tickets())
        unanswered |= {t.number for t in fresh}
    assert not unanswered
    assert all(node.in_flight == 0 for node in search.tree.nodes)


@few
@given(seed=seeds)
def test_advantage_backup_telescopes_to_the_rewards_of_the_leaves(seed: int) -> None:
    """P11, P12: with gamma 1, F(k) = Q(k) + R(parent) is the visit-weighted mean of F over the children."""
    search, _ = run(rules_of(STEPWISE[7]), seed)
    for node in search.tree.nodes:
        if node.visits and node.parent:
            below = node.children
            weights = [max(1, child.visits) for child in below]
            means = [w * (child.q + node.reward) for w, child in zip(weights, below, strict=True)]
            mean = sum(means) / sum(weights) if below else node.reward
            assert node.q + node.parent.reward == pytest.approx(mean)
            assert node.parent.visits >= node.visits


@pytest.mark.parametrize("fields", [*STEPWISE, *BY_ROLLOUTS])
@few
@given(seed=seeds, crash=st.integers(0, 40))
def test_a_journal_replays_and_a_crash_costs_nothing(fields: dict[str, Any], seed: int, crash: int) -> None:
    rules = rules_of(fields)
    world = random_world(seed, rules)
    journal: dict[tuple[int, int], Answer] = {}

    def recorded(ticket: Ticket) -> Answer:
        return journal.setdefault((ticket.number, ticket.attempt), world(ticket))

    original = TreeSearch(rules, "t", seed)
    drive(original, recorded, random.Random(seed))
    kept = dict(list(journal.items())[:crash])
    resumed = TreeSearch(rules, "t", seed)
    drive(resumed, lambda t: kept.get((t.number, t.attempt)) or world(t), random.Random(seed + 1))
    assert table(resumed) == table(original)


@few
@given(seed=seeds, formulas=st.lists(st.sampled_from(STEPWISE[:4]), min_size=2, max_size=2), c=st.floats(0, 4))
def test_an_exhaustive_search_does_not_depend_on_how_it_selects(
    seed: int, formulas: list[dict[str, Any]], c: float
) -> None:
    """P16: every node is evaluated at most once, and the totals of the same node are the same."""
    totals = []
    for fields in formulas:
        rules = rules_of(fields, sims=10_000, max_depth=3, backup="mean", c=c)
        search = TreeSearch(rules, "t", seed)

        def by_path(ticket: Ticket, rules: SearchRules = rules) -> Answer:
            return random_world(seed, rules)(replace(ticket, node_id=0))

        drive(search, by_path, random.Random(1))
        assert search.status in ("exhausted", "failed")
        paths = (search.tree.path(node) for node in search.tree.nodes)
        totals.append(
            {path: (n.visits, round(n.value_sum, 9)) for path, n in zip(paths, search.tree.nodes, strict=True)}
        )
    assert totals[0] == totals[1]


@few
@given(seed=seeds)
def test_without_exploration_the_highest_value_is_followed(seed: int) -> None:
    rules = rules_of({"mode": "frontier"}, c=0.0)
    search, respond = TreeSearch(rules, "t", seed), random_world(seed, rules)
    waiting = search.next_tickets()
    while waiting:
        (ticket,) = waiting
        node = search.tree.nodes[ticket.node_id]
        if not ticket.attempt:
            for step in lineage(node)[:-1]:
                assert step.parent is not None
                rivals = [c for c in step.parent.children if not c.exhausted]
                assert step is max(rivals, key=lambda c: (c.q, -c.node_id))
        search.deliver(ticket, respond(ticket))
        waiting = search.next_tickets()


@pytest.mark.parametrize("fields", [f for f in STEPWISE if f["mode"] != "ultra" and "reroot_sims" not in f])
@few
@given(seed=seeds, less=st.integers(1, 11))
def test_a_smaller_budget_gives_the_beginning_of_the_same_tree(fields: dict[str, Any], seed: int, less: int) -> None:
    small, asked_small = run(rules_of(fields, sims=less), seed)
    large, asked_large = run(rules_of(fields), seed)
    assert [n.child for n in small.tree.nodes] == [n.child for n in large.tree.nodes][: len(small.tree.nodes)]
    first = [t for t in sorted(asked_large, key=lambda t: (t.number, t.attempt)) if t.sim <= less]
    if fields.get("in_flight", 1) == 1:
        assert asked_small == first


@pytest.mark.parametrize("fields", [*STEPWISE, *BY_ROLLOUTS])
@few
@given(seed=seeds)
def test_rows_give_the_tree_back(fields: dict[str, Any], seed: int) -> None:
    rules = rules_of(fields)
    tree, nodes = table(run(rules, seed)[0])
    assert node_rows(restore(tree, nodes[::-1], rules), tree) == nodes


def test_rows_of_another_tree_are_refused() -> None:
    tree, nodes = table(run(rules_of(STEPWISE[0]), 3)[0])
    with pytest.raises(ValueError, match="stands alone"):
        restore(tree, nodes[:2] + nodes[3:], rules_of(STEPWISE[0]))


@pytest.mark.parametrize(
    ("limits", "status"),
    [({"max_nodes": 9}, "budget_nodes"), ({"max_gen_tokens": 20}, "budget_tokens"), ({"sims": 3}, "budget_sims")],
)
def test_a_budget_ends_the_search_within_one_expansion(limits: dict[str, int], status: str) -> None:
    search, _ = run(SearchRules(**{"sims": 50, **limits}), 11)
    assert search.status == status
    spent = {
        "budget_nodes": len(search.tree.nodes),
        "budget_tokens": search.tree.gen_tokens,
        "budget_sims": search.tree.sims,
    }
    (limit,) = limits.values()
    assert limit <= spent[status] <= limit + (0 if status == "budget_sims" else 4 * 4)


def test_a_deadline_lets_what_is_in_flight_come_home() -> None:
    rules = SearchRules(in_flight=3)
    search, respond = TreeSearch(rules, "t", 0), random_world(0, rules)
    (ticket,) = search.next_tickets()
    search.deliver(ticket, respond(ticket))
    search.stop("budget_time")
    assert search.status is None
    for late in search.next_tickets()[::-1]:
        search.deliver(late, respond(late))
    assert search.next_tickets() == []
    assert search.tree.root.in_flight == 0
    assert table(search)[0].status == "budget_time"


def test_an_empty_answer_after_the_deadline_leaves_its_node_open() -> None:
    search, respond = TreeSearch(SearchRules(), "t", 0), random_world(0, SearchRules())
    (first,) = search.next_tickets()
    search.deliver(first, respond(first))
    (second,) = search.next_tickets()
    search.stop("budget_time")
    search.deliver(second, Answer())
    node = search.tree.nodes[second.node_id]
    assert (search.status, node.terminal_reason, node.ready) == ("budget_time", None, True)


def test_enough_separated_pairs_end_the_search() -> None:
    search, _ = run(SearchRules(enough_pairs=1, enough_margin=0.5, sims=200), 2)
    assert search.status == "solved_enough"


def test_a_ticket_is_answered_once() -> None:
    search = TreeSearch(SearchRules(), "t", 0)
    (ticket,) = search.next_tickets()
    search.deliver(ticket, Answer())
    with pytest.raises(ValueError, match="ticket 0 is not open"):
        search.deliver(ticket, Answer())


def test_an_expansion_without_children_is_tried_again_with_another_seed_and_then_ends() -> None:
    search = TreeSearch(SearchRules(retries=2), "t", 0)
    asked = drive(search, lambda ticket: Answer())
    assert [t.attempt for t in asked] == [0, 1, 2]
    assert len({t.seed for t in asked}) == 3
    assert (search.status, search.tree.root.terminal_reason, search.tree.sims) == ("failed", "no_valid_child", 1)


@pytest.mark.parametrize(("error", "reason"), [("context_overflow", "max_tokens"), ("invalid_request", "error")])
def test_a_request_that_can_never_be_answered_ends_its_node_at_once(error: str, reason: str) -> None:
    search = TreeSearch(SearchRules(), "t", 0)
    asked = drive(search, lambda ticket: Answer(error=error))
    assert (len(asked), search.status, search.tree.error) == (1, "failed", error)
    assert search.tree.root.terminal_reason == reason


@pytest.mark.parametrize("fields", [{"mode": "frontier", "in_flight": 3}, {"mode": "omega"}, {"mode": "eptree"}])
def test_a_trivial_prompt_is_skipped_after_its_rollouts(fields: dict[str, Any]) -> None:
    rules = SearchRules(**fields, prefilter=Prefilter(rollouts=4, low=1.0, high=1.0))
    search = TreeSearch(rules, "t", 1)
    asked = drive(search, random_world(1, rules))
    assert [(t.kind, t.node_id) for t in asked] == [("rollout", 0)]
    assert search.status == "skipped_trivial"


def test_a_prompt_of_middling_difficulty_is_searched_after_its_rollouts() -> None:
    rules = SearchRules(prefilter=Prefilter(rollouts=16, low=0.05, high=0.95), sims=3)
    search = TreeSearch(rules, "t", 1)
    asked = drive(search, random_world(1, rules))
    root = table(search)[1][0]
    assert [t.kind for t in asked] == ["rollout", "expand", "expand", "expand"]
    assert len(root.rollouts) == 16
    assert root.rollouts_n == sum(r.outcome is not None for r in root.rollouts)


@few
@given(seed=seeds)
def test_undecided_ends_never_count_as_wrong(seed: int) -> None:
    """P26: a verifier's time-out is an outcome of None, and stays one."""
    search, _ = run(rules_of(STEPWISE[0]), seed)
    for node in search.tree.nodes:
        if node.terminal_reason and node.child.outcome is None:
            assert node.outcome is None
            assert node.value is None
            assert node.own_visits <= 1 if node.terminal_reason == "no_valid_child" else node.own_visits == 0


def test_rules_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(ValueError, match="in_flight must be 1 in mode trajectory"):
        SearchRules(mode="trajectory", in_flight=2)
    with pytest.raises(ValueError, match="it needs mode trajectory"):
        SearchRules(backup="advantage")
    with pytest.raises(ValueError, match="needs backup advantage"):
        SearchRules(values={"form": "additive"})
