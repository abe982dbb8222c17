"""Recorded search trees become trees and nodes: what the format tells is kept, what it leaves out stays unknown."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from pipeline.errors import Rejected
from pipeline.pair import Pair
from pipeline.records import Message, Prompt, Record, Reject
from pipeline.stage import Context, Example, Slice, Stage
from pipeline.tree import Node, Trace, Tree
from stages.pairs.finished import FinishedTree
from stages.pairs.label_steps import LabelSteps
from stages.pairs.label_unpaired import LabelUnpaired
from stages.pairs.pair_steps import PairSteps
from stages.pairs.pair_trajectories import PairTrajectories
from stages.pairs.rank_lists import RankLists
from stages.sources.prompts import Prompts
from stages.sources.recorded import recorded_tree

HERE = Path(__file__).resolve().parent
ROW = json.loads((HERE / "recorded_trees.jsonl").read_text(encoding="utf-8"))
DATA = HERE.parents[2] / "../shared/data"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="the shared data folder is not here")
COLUMNS = {"prompt": "question", "reference": "final_answer", "tree": "reasoning_steps"}
PROMPT = Prompt("p", "p", (Message("user", "What is 3 + 4, doubled?"),), "14")


def rows(value: Any = ROW["reasoning_steps"], prompt: Prompt = PROMPT) -> tuple[Tree, dict[str, Node]]:
    """The tree, and its nodes by the text of their step."""
    tree, *nodes = recorded_tree(value, prompt, "prompts", "\n\n")
    assert isinstance(tree, Tree)
    found = [node for node in nodes if isinstance(node, Node)]
    assert FinishedTree(tree, found).nodes == found
    return tree, {node.step_text.strip(): node for node in found}


def probe(text: str, mc: Any, *children: Any) -> dict[str, Any]:
    return {"text": text, "mc_value": mc, "children": list(children)}


def test_the_number_of_rollouts_is_read_off_the_right_ones() -> None:
    _, nodes = rows()
    root, first, wrong = nodes[""], nodes["First, 3 + 4 = 7."], nodes["Doubled, that is 2 x 7 = 15."]
    assert [(n.mc, n.mc_n, n.rollouts_c, n.visits) for n in (root, first)] == [(0.5, 4, 2, 4), (0.75, 4, 3, 4)]
    assert (wrong.mc, wrong.mc_n, wrong.q, wrong.is_terminal) == (0.0, 4, -1.0, False)
    assert (first.q, first.advantage, first.finish_reason, first.step_token_ids) == (0.5, 0.5, "stop", ())
    assert {nodes[""].step_text, first.step_text[-2:]} == {"", "\n\n"}


def test_equal_siblings_are_one_step_whose_samples_are_pooled() -> None:
    _, nodes = rows()
    end = nodes["Twice 7 is \\boxed{14}."]
    assert (end.multiplicity, end.outcome, end.value, end.mc_n) == (2, 1, 1.0, 1)
    assert (end.is_terminal, end.finish_reason, end.final_answer) == (True, "eos", "14")
    twice = probe("q", 0.5, probe("a", 0.25, probe("x", 1)), probe("a", 0.0), probe("y", 1), probe("z", 1))
    _, nodes = rows(twice)
    assert (nodes["a"].mc, nodes["a"].mc_n, nodes["a"].multiplicity) == (0.125, 8, 2)


def test_an_end_is_wrong_by_its_answer_and_undecided_where_record_and_answer_differ() -> None:
    tree, nodes = rows()
    wrong, odd = nodes["So it is \\boxed{15}."], nodes["So it is: \\boxed{14}"]
    assert (wrong.outcome, wrong.final_answer, wrong.is_terminal) == (-1, "15", True)
    assert (odd.outcome, odd.mc, odd.visits, odd.final_answer) == (None, None, 0, "14")
    assert (tree.n_correct, tree.n_unknown, tree.status, tree.root_mc) == (3, 1, "recorded", 0.5)


def test_counts_of_ends_add_up_and_no_number_is_made_up() -> None:
    tree, nodes = rows(probe("q", None, probe("a", 0.3), probe("b", None, probe("c", 1.0))))
    unknown = nodes["a"]
    assert (unknown.mc, unknown.mc_n, unknown.rollouts_n, unknown.visits) == (0.3, 0, 0, 1)
    assert (nodes["b"].mc, nodes["b"].visits, nodes["b"].correct) == (None, 0, 1)
    assert (tree.n_terminal, tree.n_correct, tree.n_wrong) == (1, 1, 0)


def test_a_list_of_prefixes_is_the_same_tree() -> None:
    def prefixes(item: dict[str, Any], before: str = "") -> Iterator[dict[str, Any]]:
        text = f"{before}\n\n{item['text']}" if before else item["text"]
        yield {"solution_prefix": text, "mc_value": item["mc_value"]}
        for child in item["children"]:
            yield from prefixes(child, text)

    nested, flat = rows()[1], rows(list(prefixes(ROW["reasoning_steps"])))[1]
    numbered = ("node_id", "tree_id", "parent_id", "path", "child_index", "on_best_path")

    def facts(node: Node) -> dict[str, Any]:
        return {name: getattr(node, name) for name in Node.__struct_fields__ if name not in numbered}

    assert {text: facts(node) for text, node in flat.items()} == {text: facts(node) for text, node in nested.items()}


@pytest.mark.parametrize(
    ("value", "detail"),
    [
        (None, "0: no object with the text 'text'"),
        ({"text": 3}, "0: no object with the text 'text'"),
        (probe("q", 7), "0: mc_value 7 is not in [0, 1]"),
        (probe("q", 1, probe("a", 1), "b"), "0.1: no object with the text 'text'"),
        ({"text": "q", "mc_value": 1, "children": "ab"}, "0: children is str, not a list"),
        ([], "the list of prefixes is empty"),
        ([{"solution_prefix": "q"}, {"solution_prefix": "other"}], "the prefix 'other' does not begin with 'q'"),
    ],
)
def test_what_is_no_tree_is_a_reject_that_says_where(value: Any, detail: str) -> None:
    with pytest.raises(Rejected) as why:
        rows(value)
    assert (why.value.reason, why.value.detail) == ("broken_tree", detail)


trees = st.recursive(
    st.builds(probe, st.sampled_from("abc"), st.sampled_from([None, 0, 0.5, 1])),
    lambda below: st.builds(probe, st.sampled_from("abc"), st.sampled_from([None, 0, 0.25, 0.5, 1]), below, below),
    max_leaves=12,
)


@given(trees)
def test_any_tree_of_the_format_keeps_the_invariants_of_ours(value: dict[str, Any]) -> None:
    tree, *found = recorded_tree(value, PROMPT, "prompts", "\n\n")
    nodes = [node for node in found if isinstance(node, Node)]
    assert isinstance(tree, Tree)
    assert nodes == FinishedTree(tree, nodes).nodes
    for node in nodes[1:]:
        assert node.parent_id is not None
        parent = nodes[node.parent_id]
        assert (node.depth, node.path) == (parent.depth + 1, f"{parent.path}.{node.child_index}")
        assert node.correct <= parent.correct
        assert node.wrong <= parent.wrong
        assert len({n.step_text for n in nodes if n.parent_id == node.parent_id}) == len(
            [n for n in nodes if n.parent_id == node.parent_id]
        )
    for node in nodes:
        assert node.terminals >= node.correct + node.wrong
        assert node.rollouts_c <= node.rollouts_n


def test_a_tree_comes_in_with_its_prompt_and_a_broken_one_is_told(tmp_path: Path) -> None:
    path = tmp_path / "trees.jsonl"
    broken = {**ROW, "question": "Another?", "reasoning_steps": 3}
    path.write_text("\n".join(map(json.dumps, (ROW, broken))), encoding="utf-8")
    source = Prompts.model_validate({"path": str(path), "columns": {**COLUMNS, "tree_separator": " "}})
    assert source.makes() == (Prompt, Tree, Node)
    index = source.index(8)
    made = [r for part in index.slices for r in source.read(Slice(*part), index.duplicates, "prompts")]
    kinds = [type(record) for record in made]
    assert kinds == [Prompt, Tree, *[Node] * 9, Reject]
    assert [r.step_text[-2:] for r in made if isinstance(r, Node) and r.expanded] == ["", ". "]
    assert isinstance(made[-1], Reject)
    assert (made[-1].reason, made[-1].detail) == ("broken_tree", "trees.jsonl:2: 0: no object with the text 'text'")


def test_a_tree_and_a_ready_pair_do_not_go_together() -> None:
    with pytest.raises(ValidationError, match="map a tree, or chosen and rejected, not both"):
        Prompts.model_validate({"path": "x", "columns": {**COLUMNS, "chosen": "a", "rejected": "b"}})


async def made_by(stage: Stage, source: list[Record]) -> list[Record]:
    prompts = [record for record in source if isinstance(record, Prompt)]
    made: list[Record] = []
    for prompt in prompts:
        own = [record for record in source if record.prompt_id == prompt.prompt_id]
        given_trees = [r for r in own if isinstance(r, Tree)]
        example: Example[Any] = Example(prompt, trees=given_trees, nodes=[r for r in own if isinstance(r, Node)])
        made += await stage.process(example, Context("job", "run", 7, "fingerprint", {}))
    return made


LOOSE: dict[str, Any] = {"min_edit_chars": 0, "length_ratio": None}


async def test_steps_of_a_recorded_tree_make_pairs_whose_rows_say_what_is_not_known() -> None:
    tree, nodes = rows()
    source: list[Record] = [PROMPT, tree, *nodes.values()]
    pairs = await made_by(PairSteps(rule="first_error", score="mc", **LOOSE), source)
    told = [(p.chosen_messages[0].content, p.rejected_messages[0].content) for p in pairs if isinstance(p, Pair)]
    assert (
        "First, 3 + 4 = 7.\n\n",
        "First, 3 + 4 = 8.\n\n",
    ) not in told  # the sibling with the highest share is chosen
    assert ("3 + 4 = 7 and twice that is \\boxed{14}.", "First, 3 + 4 = 8.\n\n") in told
    [pair] = [p for p in pairs if isinstance(p, Pair) and p.assistant_prefix is None]
    assert pair.tree is not None
    assert pair.chosen_gen is not None
    assert (pair.tree.chosen_token_ids, pair.tree.prompt_token_ids, pair.chosen_gen.n_tokens) == ((), (), None)
    assert (pair.tree.rejected_mc, pair.tree.rejected_mc_n, pair.tree.chosen_logp) == (0.0, 4, None)
    assert (pair.chosen_terminal, pair.rejected_terminal) == (True, False)
    whole = await made_by(PairTrajectories(), source)
    assert [p.rejected_messages[0].content for p in whole if isinstance(p, Pair)] == [
        "First, 3 + 4 = 7.\n\nSo it is \\boxed{15}."
    ]


async def test_a_prefix_that_never_came_right_is_labelled_as_the_first_error() -> None:
    tree, nodes = rows()
    traces = [t for t in await made_by(LabelSteps(), [PROMPT, tree, *nodes.values()]) if isinstance(t, Trace)]
    labels = {t.steps[-1].strip(): (t.soft, t.hard, t.first_error, t.outcome) for t in traces}
    assert labels["Doubled, that is 2 x 7 = 15."] == ((0.75, 0.0), (1, 0), 1, -1)
    assert labels["First, 3 + 4 = 8."] == ((0.0,), (0,), 0, -1)
    assert labels["Twice 7 is \\boxed{14}."] == ((0.75, 1.0), (1, 1), None, 1)


@needs_data
@pytest.mark.parametrize("name", ["steps_math-aps-tree.jsonl", "steps_math-aps.jsonl"])
async def test_trees_recorded_by_others_give_rows_of_every_kind(name: str) -> None:
    source = Prompts.model_validate({"path": str(DATA / name), "columns": COLUMNS})
    index = source.index(8)
    records = [r for part in index.slices for r in source.read(Slice(*part), index.duplicates, "prompts")]
    assert len([r for r in records if isinstance(r, Tree)]) == 3
    probed = [r for r in records if isinstance(r, Node) and r.rollouts_n]
    assert {node.rollouts_n // node.multiplicity for node in probed} == {16, 32}
    for rule in ("path_extremes", "topk", "all_margin", "first_error", "pivotal", "bisect"):
        assert await made_by(PairSteps.model_validate({"rule": rule, "window": None, **LOOSE}), records), rule
    for stage in (LabelSteps(), LabelUnpaired(), RankLists(min_spread=0.1, min_levels=2)):
        assert await made_by(stage, records), stage
