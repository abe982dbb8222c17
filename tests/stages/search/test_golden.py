"""The worked examples A to D of spec mcts R8: from the shared file where it is, the decisive numbers typed in here."""

from __future__ import annotations

import json
import math
import random
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from benchmarks.scripted_search import EXAMPLE_A, EXAMPLE_B, drive, named
from pipeline.tree import Node, Tree
from stages.search.bisection import Bisection
from stages.search.chains import suspicion
from stages.search.fields import SearchFields
from stages.search.machine import TreeSearch
from stages.search.rows import rows
from stages.search.rules import OmegaRules, SearchRules
from stages.search.selection import scores
from stages.search.tickets import Child, Ticket, request_seed
from stages.search.tree import TreeNode

GOLDEN = Path(__file__).resolve().parents[4] / "shared" / "spec" / "golden" / "mcts.json"


@pytest.fixture
def golden() -> dict[str, Any]:
    if not GOLDEN.exists():
        pytest.skip(f"no golden file at {GOLDEN}")
    found: dict[str, Any] = json.loads(GOLDEN.read_text(encoding="utf-8"))
    return found


def search_a(**changes: Any) -> tuple[TreeSearch, list[str]]:
    rules = SearchRules(**{"prior": "uniform", "c": 1.25, **changes})
    search = TreeSearch(rules, "t0", 1234)
    asked = drive(search, named(EXAMPLE_A), random.Random(5))
    return search, [name_of(ticket) for ticket in asked]


def name_of(ticket: Ticket) -> str:
    return ticket.prefix_text[-ticket.depth :] if ticket.depth else "root"


def nodes_of(search: TreeSearch) -> dict[str, Node]:
    _, made = rows(search, Tree(prompt_id="p", tree_id="t0", job="search"))
    return {node.step_text or "root": node for node in made}


def search_b(simulations: int) -> TreeSearch:
    rules = SearchFields(engine="policy", preset="mcts_dpo", sims=simulations, reroot_sims=0)
    search = TreeSearch(rules, "t0", 1234)
    drive(search, named(EXAMPLE_B))
    return search


def test_example_a_gives_the_published_totals() -> None:
    search, order = search_a()
    assert (order, search.status, search.tree.sims) == (["root", "a", "b", "ba", "aa"], "exhausted", 5)
    found = {name: (n.own_visits, n.visits, round(n.value_sum, 12), n.mc) for name, n in nodes_of(search).items()}
    assert found == {
        "root": (0, 10, -1.6, 1 / 3), "a": (1, 5, -0.2, 1 / 3), "b": (1, 5, -1.4, 1 / 3), "aa": (1, 3, 0.6, 0.5),
        "ab": (1, 1, -1.0, 0.0), "ba": (1, 3, -2.4, 0.0), "bb": (1, 1, 1.0, 1.0), "baa": (1, 1, -1.0, 0.0),
        "bab": (1, 1, -1.0, 0.0), "aaa": (1, 1, 1.0, 1.0), "aab": (1, 1, -1.0, 0.0),
    }  # fmt: skip


def test_example_a_agrees_with_the_golden_file_digit_by_digit(golden: dict[str, Any]) -> None:
    search, order = search_a()
    nodes = nodes_of(search)
    assert order == [entry["expand"] for entry in golden["A"]["trace"]]
    assert len(nodes) == len(golden["A"]["nodes"])
    for expected in golden["A"]["nodes"]:
        node = nodes[expected["key"]]
        assert (node.node_id, node.visits) == (expected["id"], expected["N"])
        assert node.value_sum == pytest.approx(float(Fraction(expected["W"])), abs=1e-12)
        assert node.q == pytest.approx(float(Fraction(expected["Q"])), abs=1e-12)
        assert node.mc == pytest.approx(float(Fraction(expected["mc"])), abs=1e-12)


@pytest.mark.parametrize(
    ("fields", "trace"),
    [
        (
            {"select": "puct", "c": 1.25},
            [(0.641942, 0.441942), (0.245833, 0.625), (0.316066, 0.582733), (0.141266,), (0.375275,), (1.141266,)],
        ),
        (
            {"select": "uct", "c": 1.0},
            [(1.032555, 0.832555), (0.613111, 1.17741), (0.706155, 0.972822), (0.648147,), (0.765888,), (1.648147,)],
        ),
    ],
)
def test_example_a_selects_by_the_published_scores(
    fields: dict[str, Any], trace: list[tuple[float, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[float, ...]] = []

    def walk(tree: Any, parent: TreeNode) -> TreeNode | None:
        ready = [child for child in parent.children if child.ready]
        found = scores(parent, ready, tree.rules)
        seen.append(tuple(round(score, 6) for score in found))
        return ready[found.index(max(found))] if ready else None

    monkeypatch.setattr("stages.search.tree.GrowingTree.select", walk)
    search_a(**fields)
    assert seen == trace


@pytest.mark.parametrize("in_flight", [2, 3])
def test_example_a_with_more_in_flight_has_one_order_whatever_comes_back_first(in_flight: int) -> None:
    for select, c in (("puct", 1.25), ("uct", 1.0)):
        search, order = search_a(in_flight=in_flight, select=select, c=c)
        root = search.tree.root
        assert (order, root.visits, round(root.value_sum, 12)) == (["root", "a", "b", "aa", "ba"], 10, -1.6)


def test_example_a_with_revisits_goes_nine_times_to_one_solved_leaf() -> None:
    search, order = search_a(revisit=True, sims=12)
    nodes = nodes_of(search)
    assert (order, search.status) == (["root", "a", "b"], "budget_sims")
    assert (nodes["root"].visits, round(nodes["root"].value_sum, 12)) == (15, 9.4)
    assert (nodes["a"].visits, round(nodes["a"].q, 6)) == (3, -0.066667)
    assert (nodes["b"].visits, round(nodes["b"].q, 12), nodes["bb"].visits) == (12, 0.8, 10)


def test_example_b_after_forty_simulations() -> None:
    nodes = nodes_of(search_b(40))
    assert {name: (n.visits, round(n.value_sum, 6), round(n.q, 6)) for name, n in nodes.items()} == {
        "root": (40, 1.56305, 0.0), "a": (4, 0.368, 0.968), "b": (36, 1.129167, 1.629167), "aa": (4, 0.56, 0.76),
        "ab": (0, 0.0, -1.2), "aaa": (4, 0.0, 1.1), "aab": (0, 0.0, -1.6), "ba": (1, -1.15, -1.35),
        "bb": (35, 0.0, 1.2), "baa": (0, 0.0, -1.2), "bab": (1, 0.0, -1.1),
    }  # fmt: skip


@pytest.mark.parametrize("simulations", [1, 2, 3, 8, 40])
def test_the_preset_mcts_dpo_backs_up_as_published(simulations: int, golden: dict[str, Any]) -> None:
    expected = golden["B"]["after"][str(simulations)]["nodes"]
    nodes = nodes_of(search_b(simulations))
    assert nodes.keys() == expected.keys()
    for name, node in nodes.items():
        assert node.visits == expected[name]["N"]
        assert node.value_sum == pytest.approx(expected[name]["V"], abs=1e-9)
        assert node.q == pytest.approx(expected[name]["Q"], abs=1e-9)


def fork_c() -> tuple[TreeNode, list[TreeNode]]:
    parent = TreeNode(0, None, Child("", ()), visits=10)
    for place, (q, n, prior) in enumerate([(0.6, 5, 0.5), (0.5, 3, 0.3), (0.1, 2, 0.2)]):
        parent.children.append(
            TreeNode(place + 1, parent, Child("", ()), prior=prior, visits=n, q=q, value_sum=q * n)
        )  # fmt: skip
    return parent, parent.children


def four_selections(rules: SearchRules) -> tuple[list[tuple[float, ...]], str]:
    parent, children = fork_c()
    seen, order = [], ""
    for _ in range(4):
        found = scores(parent, children, rules)
        best = found.index(max(found))
        children[best].in_flight += 1
        parent.in_flight += 1
        seen.append(tuple(round(score, 6) for score in found))
        order += "xyz"[best]
    return seen, order


def test_example_c_spreads_requests_in_flight() -> None:
    seen, order = four_selections(SearchRules(select="uct", c=1.0))
    assert order == "yxyx"
    assert seen == [
        (1.278614, 1.376087, 1.172983), (1.292516, 1.274257, 1.194965), (1.243546, 1.288179, 1.214654),
        (1.253828, 1.216233, 1.232464),
    ]  # fmt: skip
    seen, order = four_selections(SearchRules(select="uct", c=1.0, in_flight_rule="virtual_loss"))
    assert (order, seen[2]) == ("yxzx", (0.976879, 0.913179, 1.214654))


@pytest.mark.parametrize(
    ("select", "c", "expected"),
    [
        ("puct", 1.25, (0.929404, 0.796464, 0.363523)),
        ("puct_az", 0.0, (0.929551, 0.796596, 0.363641)),
        ("uct", 2.0, (1.957228, 2.252174, 2.245966)),
        ("uct_sqrt2", 0.5, (1.079853, 1.119487, 0.858714)),
    ],
)
def test_example_c_by_the_other_formulas(select: Any, c: float, expected: tuple[float, ...]) -> None:
    assert tuple(round(s, 6) for s in scores(*fork_c(), SearchRules(select=select, c=c))) == expected


def test_example_d_finds_the_sixth_of_eight_steps_in_three_probes() -> None:
    halving, probes = Bisection(8), []
    while (probe := halving.probe) is not None:
        probes.append(probe)
        halving.tell(probe < 5)
    assert (probes, halving.first_error) == ([3, 5, 4], 5)


def test_bisection_needs_no_more_than_log2_probes() -> None:
    for n in range(1, 40):
        for error in range(n):
            halving, probes = Bisection(n), 0
            while (probe := halving.probe) is not None:
                probes += 1
                halving.tell(probe < error)
            assert halving.first_error == error
            assert probes <= math.ceil(math.log2(n + 1))


def test_example_d_scores_a_wrong_rollout() -> None:
    q, u = suspicion(0.25, 120, 2, 10, OmegaRules())
    assert (round(q, 6), round(u, 6), round(q + u, 6)) == (0.579757, 0.131762, 0.711518)


def test_request_seeds_are_the_published_ones() -> None:
    assert request_seed(1234, "t0", "0", "expand", 0) == 1475037746
    assert request_seed(1234, "t0", "0", "expand", 1) == 988185889
    assert request_seed(1234, "t0", "0.1", "expand", 0) == 933730707
    assert request_seed(1234, "t0", "0.1", "rollout", 0) == 2003341892
    assert request_seed(1235, "t0", "0", "expand", 0) == 1903017947
