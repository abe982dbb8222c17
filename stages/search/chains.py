"""The two modes that sample whole roll-outs and merge them into a tree by equal steps: omega and eptree. Pure.

Every roll-out is one event at its end, so Q is the mean outcome of the roll-outs through a node. A prefix that was
probed has `rollouts_n` of its own.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from msgspec.structs import replace

from stages.search.backup import backup
from stages.search.bisection import Bisection
from stages.search.modes import Ask
from stages.search.rules import OmegaRules
from stages.search.tickets import Answer, Child, Ticket
from stages.search.tree import GrowingTree, TreeNode


class _Sampling:
    """Common to both: drawing roll-outs, each request of a node with an attempt of its own."""

    def __init__(self, tree: GrowingTree) -> None:
        self.tree = tree
        self.rules = tree.rules
        self.backup = backup(tree.rules)
        self.attempts: dict[int, int] = {}  # requests so far, by node

    def ask(self, node: TreeNode, n: int) -> Ask:
        """`n` roll-outs of a node."""
        attempt = self.attempts.get(node.node_id, 0)
        self.attempts[node.node_id] = attempt + 1
        return Ask(node, "rollout", n, attempt, finish=True)

    def grow(self, node: TreeNode, ticket: Ticket, answer: Answer) -> list[TreeNode]:
        """Merges the roll-outs below `node`; returns where each ends."""
        branches = [branch for branch in answer.branches if branch]
        self.tree.count(node, [branch[-1].outcome for branch in branches])
        return [self._merge(node, branch, ticket) for branch in branches]

    def _merge(self, node: TreeNode, branch: tuple[Child, ...], ticket: Ticket) -> TreeNode:
        for child in (*branch[:-1], _ended(branch[-1])):
            known = next((c for c in node.children if c.child.token_ids == child.token_ids), None)
            if known is None:
                node = self.tree.attach(node, child, 1.0, ticket.sim, ticket.seed)
            else:
                node, known.multiplicity = known, known.multiplicity + child.multiplicity
            if node.terminal_reason is not None:
                self.backup.created(node)
                break
        return node


def _ended(child: Child) -> Child:
    if child.terminal_reason is not None:
        return child
    return replace(child, terminal_reason="answer" if child.finish_reason == "eos" else "max_tokens")


class EpTree(_Sampling):
    """Whole chains, then `rounds` times new continuations where the least likely steps begin (TreeRL)."""

    def __init__(self, tree: GrowingTree) -> None:
        super().__init__(tree)
        self.queue = [self.ask(tree.root, self.rules.eptree.chains)]
        self.open = 0
        self.round = 0
        self.forked: set[int] = set()

    @property
    def done(self) -> bool:
        """Whether all rounds were asked."""
        return not self.queue and self.round == self.rules.eptree.rounds

    def choose(self) -> Ask | None:
        """The next of this round; a new round once all of the last one were applied."""
        if not self.queue and not self.open and self.round < self.rules.eptree.rounds:
            self.round += 1
            self.queue = [self.ask(node, self.rules.eptree.branches) for node in self._forks()]
        if not self.queue:
            return None
        self.open += 1
        self.tree.sims += 1
        return self.queue.pop(0)

    def _forks(self) -> list[TreeNode]:
        steps = [node for node in self.tree.nodes[1:] if node.node_id not in self.forked]
        steps.sort(key=lambda node: (-surprise(node.child), node.node_id))
        chosen = steps[: self.rules.eptree.forks]
        self.forked.update(node.node_id for node in chosen)
        return [node.parent for node in chosen if node.parent]

    def apply(self, node: TreeNode, ticket: Ticket, answer: Answer) -> None:
        """Merges the continuations."""
        self.open -= 1
        self.grow(node, ticket, answer)


def surprise(child: Child) -> float:
    """Mean negative log-probability of a step's tokens, nats; 0 where the engine gave none."""
    return -(child.logprob_sum or 0.0) / max(1, len(child.token_ids))


class Suspect(NamedTuple):
    """A wrong roll-out from a state, waiting to be searched."""

    state: TreeNode
    end: TreeNode
    words: int


def suspicion(mc: float, words: int, searched: int, total: int, rules: OmegaRules) -> tuple[float, float]:
    """(Q, U) of a wrong roll-out: alpha^(1 - mc) beta^(words / L), c sqrt(total) / (1 + searched) (OmegaPRM)."""
    q = rules.alpha ** (1.0 - mc) * rules.beta ** (words / rules.length)
    return q, rules.c * math.sqrt(total) / (1 + searched)


class Omega(_Sampling):
    """A pool of wrong roll-outs; each simulation bisects one for its first wrong step (OmegaPRM, arXiv 2406.06592)."""

    def __init__(self, tree: GrowingTree) -> None:
        super().__init__(tree)
        self.pool: list[Suspect] = []
        self.searches: dict[int, int] = {}  # by state
        self.seen: set[tuple[int, int]] = set()  # (state, end) that are or were in the pool
        self.drawn = 0
        self.done = False
        self.suspect: Suspect | None = None
        self.halving = Bisection(1)
        self.recheck: list[TreeNode] = []

    def choose(self) -> Ask | None:
        """The next prefix to probe."""
        if not self.attempts:
            return self._probe(self.tree.root)
        while True:
            if self.recheck:
                return self._probe(self.recheck.pop(0))
            if self.suspect is None and not self._next_suspect():
                return None
            assert self.suspect is not None
            path = self._steps(self.suspect)
            if (index := self.halving.probe) is None:
                self._close(path)
            elif path[index].rollouts_n:
                self.halving.tell(path[index].rollouts_c > 0)
            elif path[index].node_id in self.attempts:
                self.suspect = None  # its roll-outs could not be judged
            else:
                return self._probe(path[index])

    def _probe(self, node: TreeNode) -> Ask | None:
        left = self.rules.omega.max_rollouts - self.drawn
        if left < self.rules.omega.rollouts:
            return None
        self.drawn += self.rules.omega.rollouts
        return self.ask(node, self.rules.omega.rollouts)

    def _next_suspect(self) -> bool:
        open_ones = [s for s in self.pool if 0 < s.state.rollouts_c < s.state.rollouts_n]
        self.done = not open_ones
        if self.done or self.tree.sims >= self.rules.sims:
            return False
        total = sum(self.searches.values())
        chosen = max(open_ones, key=lambda s: (self._score(s, total), -s.end.node_id))
        self.pool.remove(chosen)
        self.searches[chosen.state.node_id] = self.searches.get(chosen.state.node_id, 0) + 1
        self.tree.sims += 1
        self.suspect, self.halving = chosen, Bisection(len(self._steps(chosen)))
        return True

    def _score(self, suspect: Suspect, total: int) -> float:
        state = suspect.state
        mc = state.rollouts_c / state.rollouts_n
        return sum(
            suspicion(mc, suspect.words, self.searches.get(state.node_id, 0), total, self.rules.omega)
        )  # fmt: skip

    def _steps(self, suspect: Suspect) -> list[TreeNode]:
        return self.tree.lineage(suspect.end)[suspect.state.depth :]

    def _close(self, path: list[TreeNode]) -> None:
        if self.rules.omega.confirm and self.suspect is not None:
            first = self.halving.first_error
            before = path[first - 1] if first else self.suspect.state
            self.recheck = [node for node in (before, path[first]) if node.terminal_reason is None]
        self.suspect = None

    def apply(self, node: TreeNode, ticket: Ticket, answer: Answer) -> None:
        """Merges the roll-outs; the wrong ones join the pool."""
        for end in dict.fromkeys(self.grow(node, ticket, answer)):
            name = node.node_id, end.node_id
            if end.outcome == -1 and end is not node and name not in self.seen:
                self.seen.add(name)
                words = sum(len(step.child.text.split()) for step in self.tree.lineage(end)[node.depth :])
                self.pool.append(Suspect(node, end, words))
