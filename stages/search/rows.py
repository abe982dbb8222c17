"""A search as rows of `trees` and `nodes`, and back. Pure; nothing of a finished tree is lost."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from msgspec.structs import replace

from pipeline.tree import Node, Tree
from stages.search.machine import TreeSearch
from stages.search.rules import SearchRules
from stages.search.tickets import Child
from stages.search.tree import GrowingTree, TreeNode
from stages.search.values import counted_outcome


class Ends(NamedTuple):
    """Distinct ends at or below a node; undecided ones are in `all` alone."""

    all: int = 0
    right: int = 0
    wrong: int = 0


def rows(search: TreeSearch, identity: Tree) -> tuple[Tree, list[Node]]:
    """The row of a finished search and the rows of its nodes. `identity`: the tree's row with what the search does not
    know (prompt, job, models, config); its counts are filled in."""
    nodes = node_rows(search.tree, identity)
    grown, root = search.tree, nodes[0]
    tree = replace(
        identity,
        status=search.status or "",
        n_sims=grown.sims,
        n_nodes=len(nodes),
        n_terminal=root.terminals,
        n_correct=root.correct,
        n_wrong=root.wrong,
        n_unknown=root.terminals - root.correct - root.wrong,
        root_mc=root.mc,
        gen_tokens=grown.gen_tokens,
        prompt_tokens=grown.prompt_tokens,
        eval_tokens=grown.eval_tokens,
        error=grown.error,
    )
    return tree, nodes


def node_rows(grown: GrowingTree, identity: Tree) -> list[Node]:
    """The rows of all nodes, in order of creation."""
    ends, best, paths = count_ends(grown), _best_path(grown), [""] * len(grown.nodes)
    made = []
    for node in grown.nodes:
        parent = node.parent
        paths[node.node_id] = f"{paths[parent.node_id]}.{node.index}" if parent else "0"
        made.append(_row(node, identity, grown.rules, ends[node.node_id], node.node_id in best))
    return [replace(row, path=path) for row, path in zip(made, paths, strict=True)]


def _row(node: TreeNode, identity: Tree, rules: SearchRules, ends: Ends, on_best_path: bool) -> Node:
    child, parent = node.child, node.parent
    probed = rules.mode == "omega" and node.rollouts_n > 0
    mc_n = node.rollouts_n if probed else ends.right + ends.wrong
    right = node.rollouts_c if probed else ends.right
    return Node(
        prompt_id=identity.prompt_id, tree_id=identity.tree_id, node_id=node.node_id,
        parent_id=parent.node_id if parent else None, child_index=node.index, depth=node.depth,
        step_text=child.text, step_token_ids=child.token_ids, n_tokens=len(child.token_ids),
        logprob_sum=child.logprob_sum, prior=node.prior, multiplicity=node.multiplicity,
        finish_reason=child.finish_reason, is_terminal=node.terminal_reason is not None,
        terminal_reason=node.terminal_reason, final_answer=child.final_answer, outcome=node.outcome,
        self_eval=child.self_eval, judge_score=child.judge_score, prm_score=child.prm_score,
        mc_rollout=node.rollouts_c / node.rollouts_n if node.rollouts_n else None,
        rollouts_n=node.rollouts_n, rollouts_c=node.rollouts_c, rollouts=node.rollouts, value=node.value,
        own_visits=node.own_visits, visits=node.visits, value_sum=node.value_sum, q=node.q,
        advantage=node.q - parent.q if parent else 0.0,
        terminals=ends.all, correct=ends.right, wrong=ends.wrong, mc=right / mc_n if mc_n else None, mc_n=mc_n,
        expanded=bool(node.children), exhausted=node.exhausted, on_best_path=on_best_path,
        created_sim=node.created_sim, seed=node.seed, source=child.source, is_finish=child.is_finish,
        observation=node.observation, observation_token_ids=node.observation_ids,
    )  # fmt: skip


def count_ends(grown: GrowingTree) -> list[Ends]:
    """The ends at or below each node. An attempt that was answered and gone on from (mode ultra) counts as an end."""
    counts = [[0, 0, 0] for _ in grown.nodes]
    for node in reversed(grown.nodes):
        own = counts[node.node_id]
        if node.terminal_reason is not None or node.outcome is not None:
            outcome = counted_outcome(node.outcome, node.value, grown.rules.values)
            own[0] += 1
            own[1] += outcome > 0
            own[2] += outcome < 0
        if node.parent:
            above = counts[node.parent.node_id]
            for i in range(3):
                above[i] += own[i]
    return [Ends(*own) for own in counts]


def _best_path(grown: GrowingTree) -> set[int]:
    """Nodes reached from the root by the most visits, then the higher Q, then the earlier creation."""
    node, path = grown.root, {0}
    while node.children:
        node = max(node.children, key=lambda c: (c.visits, c.q, -c.node_id))
        path.add(node.node_id)
    return path


def restore(tree: Tree, nodes: Sequence[Node], rules: SearchRules) -> GrowingTree:
    """A finished tree, to be read and not to be searched on; `node_rows` of it gives the same rows.

    Raises ValueError for rows that are not one whole tree.
    """
    grown = GrowingTree(rules, [], tree.n_sims, tree.gen_tokens, tree.prompt_tokens, tree.eval_tokens, tree.error)
    for place, row in enumerate(sorted(nodes, key=lambda row: row.node_id)):
        if row.node_id != place or (row.parent_id is None) != (place == 0) or (row.parent_id or 0) > max(0, place - 1):
            raise ValueError(f"tree {tree.tree_id}: node {row.node_id} stands alone; give all nodes of one tree")
        grown.nodes.append(_node(row, grown.nodes[row.parent_id] if row.parent_id is not None else None))
    return grown


def _node(row: Node, parent: TreeNode | None) -> TreeNode:
    child = Child(
        row.step_text, row.step_token_ids, row.logprob_sum, row.finish_reason, row.final_answer, row.terminal_reason,
        row.outcome, row.multiplicity, row.self_eval, row.judge_score, row.prm_score, row.rollouts, row.source,
        row.is_finish,
    )  # fmt: skip
    above = parent.n_path_tokens + len(parent.observation_ids) if parent else 0
    reward = (parent.reward if parent else 0.0) if row.value is None else row.value
    node = TreeNode(
        row.node_id, parent, child, row.child_index, row.depth, row.prior, above + row.n_tokens, row.multiplicity,
        row.terminal_reason, row.outcome, row.value, reward, row.own_visits, row.visits, row.value_sum, row.q,
        exhausted=row.exhausted, rollouts=row.rollouts, rollouts_n=row.rollouts_n, rollouts_c=row.rollouts_c,
        observation=row.observation, observation_ids=row.observation_token_ids,
        created_sim=row.created_sim, seed=row.seed,
    )  # fmt: skip
    if parent:
        parent.children.append(node)
    return node
