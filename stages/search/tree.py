"""The tree of one search while it grows: nodes, what is open, what is in flight. No mode, no request, no I/O.

A node is *exhausted* when it is an end or all its children are; *ready* when a walk may go through it to a node that
can still be expanded (or revisited); what is neither is blocked by a ticket in flight. Both are kept up to date from the
changed node upwards, so that a walk never searches.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from pipeline.tree import Rollout
from stages.search.rules import SearchRules
from stages.search.selection import scores
from stages.search.tickets import Child, Turn
from stages.search.values import child_value

DEAD_ENDS = ("no_valid_child", "error")  # ends that are never revisited


@dataclass(slots=True, eq=False)
class TreeNode:
    """A node of a growing tree; fields as in the `nodes` table. `reward`: R of the advantage back-up."""

    node_id: int
    parent: TreeNode | None
    child: Child
    index: int = 0
    depth: int = 0
    prior: float = 1.0
    n_path_tokens: int = 0  # tokens from the root to the end of this step
    multiplicity: int = 1
    terminal_reason: str | None = None
    outcome: int | None = None
    value: float | None = None
    reward: float = 0.0
    own_visits: int = 0
    visits: int = 0
    value_sum: float = 0.0
    q: float = 0.0
    in_flight: int = 0
    exhausted: bool = False
    ready: bool = True
    ready_children: int = 0
    open_children: int = 0
    rollouts: tuple[Rollout, ...] = ()
    rollouts_n: int = 0
    rollouts_c: int = 0
    observation: str | None = None
    observation_ids: tuple[int, ...] = ()
    created_sim: int = 0
    seed: int = 0
    children: list[TreeNode] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class GrowingTree:
    """All nodes in order of creation, and the counters of the search."""

    rules: SearchRules
    nodes: list[TreeNode] = field(default_factory=lambda: [TreeNode(0, None, Child("", ()))])
    sims: int = 0
    gen_tokens: int = 0
    prompt_tokens: int = 0
    eval_tokens: int = 0
    error: str | None = None

    @property
    def root(self) -> TreeNode:
        """The prompt."""
        return self.nodes[0]

    def attach(self, parent: TreeNode, child: Child, prior: float, sim: int, seed: int) -> TreeNode:
        """A new last child of `parent`; an end is exhausted at once. Raises ValueError for a score off its scale."""
        node = TreeNode(len(self.nodes), parent, child, len(parent.children), parent.depth + 1, prior)
        node.n_path_tokens = parent.n_path_tokens + len(parent.observation_ids) + len(child.token_ids)
        node.multiplicity, node.terminal_reason, node.outcome = child.multiplicity, child.terminal_reason, child.outcome
        if child.rollouts:
            self.count(node, [r.outcome for r in child.rollouts])
            node.rollouts = child.rollouts
        node.created_sim, node.seed = sim, seed
        mc = node.rollouts_c / node.rollouts_n if node.rollouts_n else None
        node.value = child_value(child, mc, parent.depth, parent.reward, self.rules.values)
        node.reward = parent.reward if node.value is None else node.value
        parent.children.append(node)
        parent.open_children += 1
        self.nodes.append(node)
        if node.terminal_reason is not None:
            node.exhausted = True
            node.ready = self.rules.revisit
            parent.open_children -= 1
        parent.ready_children += node.ready
        return node

    def count(self, node: TreeNode, outcomes: Sequence[int | None]) -> None:
        """Adds roll-outs from the node; undecided ones do not count."""
        node.rollouts_n += sum(outcome is not None for outcome in outcomes)
        node.rollouts_c += sum(outcome == 1 for outcome in outcomes)

    def keep_rollouts(self, node: TreeNode, branches: Sequence[tuple[Child, ...]]) -> None:
        """Roll-outs that become no nodes of their own, kept beside the node."""
        kept = tuple([_rollout(branch) for branch in branches if branch])
        self.count(node, [rollout.outcome for rollout in kept])
        node.rollouts += kept

    def select(self, parent: TreeNode) -> TreeNode | None:
        """The ready child with the highest score, or None."""
        ready = [child for child in parent.children if child.ready]
        if len(ready) < 2:
            return ready[0] if ready else None
        found = scores(parent, ready, self.rules)
        return ready[found.index(max(found))]

    def depart(self, node: TreeNode) -> None:
        """A ticket for the node leaves: the path is in flight and the node is closed to other walks."""
        self._set_ready(node, False)
        above: TreeNode | None = node
        while above is not None:
            above.in_flight += 1
            above = above.parent

    def arrive(self, node: TreeNode) -> None:
        """The ticket is back and its children, if any, are attached."""
        above: TreeNode | None = node
        while above is not None:
            above.in_flight -= 1
            above = above.parent
        self._set_ready(node, node.ready_children > 0 or not (node.children or node.exhausted))

    def end(self, node: TreeNode, reason: str) -> None:
        """A node without children becomes an end."""
        node.terminal_reason = reason
        self.exhaust(node)

    def exhaust(self, node: TreeNode) -> None:
        """Nothing is left to expand below the node; the same may now hold above it."""
        open_node: TreeNode | None = node
        while open_node is not None and not open_node.exhausted:
            open_node.exhausted = True
            revisited = self.rules.revisit and open_node.terminal_reason not in DEAD_ENDS
            self._set_ready(open_node, revisited and (open_node.ready_children > 0 or not open_node.children))
            open_node = open_node.parent
            if open_node is not None:
                open_node.open_children -= 1
                if open_node.open_children:
                    return

    @staticmethod
    def _set_ready(node: TreeNode, ready: bool) -> None:
        while node.ready != ready:
            node.ready = ready
            parent = node.parent
            if parent is None:
                return
            parent.ready_children += 1 if ready else -1
            if not ready and parent.ready_children:
                return
            node = parent

    @staticmethod
    def lineage(node: TreeNode) -> list[TreeNode]:
        """The nodes from the first step to `node`; empty for the root."""
        path = []
        while node.parent is not None:
            path.append(node)
            node = node.parent
        return path[::-1]

    def prefix(self, node: TreeNode) -> tuple[tuple[int, ...], str]:
        """Token ids and text from the end of the prompt to the end of `node`, observations included."""
        ids: list[int] = list(self.root.observation_ids)
        texts = [self.root.observation or ""]
        for step in self.lineage(node):
            ids += step.child.token_ids
            ids += step.observation_ids
            texts += (step.child.text, step.observation or "")
        return tuple(ids), "".join(texts)

    def turns(self, node: TreeNode) -> tuple[Turn, ...]:
        """The attempts from the first to `node`, each but the last with what was said to it (mode ultra)."""
        return tuple([Turn(n.child.text, n.child.final_answer, n.observation) for n in self.lineage(node)])

    def path(self, node: TreeNode) -> str:
        """Child indices from the root, as `0.2.1`."""
        return ".".join(["0", *(str(step.index) for step in self.lineage(node))])


def _rollout(branch: tuple[Child, ...]) -> Rollout:
    sums = [child.logprob_sum for child in branch if child.logprob_sum is not None]
    end = branch[-1]
    return Rollout(
        text="".join([child.text for child in branch]),
        token_ids=tuple([token for child in branch for token in child.token_ids]),
        outcome=end.outcome,
        final_answer=end.final_answer,
        finish_reason=end.finish_reason,
        logprob_sum=sum(sums) if len(sums) == len(branch) else None,
    )
