"""What a mode must offer, and the three that grow a tree step by step: frontier, trajectory, ultra. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple, Protocol

from msgspec.structs import replace

from stages.search.backup import backup
from stages.search.priors import priors
from stages.search.tickets import Answer, Child, Ticket
from stages.search.tree import GrowingTree, TreeNode

ENDS = {"context_overflow": "max_tokens"}  # why an engine refused -> terminal reason; any other: error


class Ask(NamedTuple):
    """A request a mode wants: `n` steps or roll-outs of a node; `finish`: to the end, without step stops."""

    node: TreeNode
    kind: Literal["expand", "rollout"]
    n: int
    attempt: int = 0
    finish: bool = False


class Mode(Protocol):
    """Chooses what to ask next from what was applied so far, and applies answers."""

    @property
    def done(self) -> bool:
        """Whether nothing is left to search, whatever the budget."""
        ...

    def choose(self) -> Ask | None:
        """The next request; None while nothing can be asked."""
        ...

    def apply(self, node: TreeNode, ticket: Ticket, answer: Answer) -> None:
        """Grows the tree by one answer."""
        ...


class _Expanding:
    """Common to the modes that sample next steps: expansion and dead ends."""

    def __init__(self, tree: GrowingTree) -> None:
        self.tree = tree
        self.rules = tree.rules
        self.backup = backup(tree.rules)
        self.start = tree.root  # of simulations; depths are counted from here

    @property
    def done(self) -> bool:
        """Whether every node is expanded or an end."""
        return self.tree.root.exhausted

    def ask(self, node: TreeNode) -> Ask:
        """The expansion of a node; its children at the depth limit are whole remainders."""
        width = self.rules.width if node.parent else self.rules.width_root
        return Ask(node, "expand", width, finish=node.depth + 1 >= self.start.depth + self.rules.max_depth)

    def apply(self, node: TreeNode, ticket: Ticket, answer: Answer) -> None:
        """Attaches and backs up the children; none of them is a dead end."""
        found = [branch[0] for branch in answer.branches]
        if found:
            self.attach(node, found, ticket)
        else:
            self._dead_end(node, "no_valid_child" if answer.error is None else ENDS.get(answer.error, "error"))

    def attach(self, node: TreeNode, found: Sequence[Child], ticket: Ticket) -> list[TreeNode]:
        """The new children, each backed up in order."""
        made = []
        for child, prior in zip(found, priors(found, self.rules), strict=True):
            if child.terminal_reason not in (None, "answer") and child.outcome is None:
                child = replace(child, outcome=self._invalid)
            made.append(self.tree.attach(node, child, prior, ticket.sim, ticket.seed))
        for new in made:
            self.backup.created(new)
        if not node.open_children:
            self.tree.exhaust(node)
        return made

    @property
    def _invalid(self) -> int | None:
        return -1 if self.rules.count_invalid_as_wrong else None

    def _dead_end(self, node: TreeNode, reason: str) -> None:
        self.tree.end(node, reason)
        undecided = node.parent is not None and node.outcome is None
        if reason == "no_valid_child" and self.rules.count_invalid_as_wrong and undecided:
            node.outcome, node.value = -1, -1.0
            self.backup.created(node)


class Frontier(_Expanding):
    """One expansion for each simulation; with `revisit` a walk may end in an end, which is backed up again."""

    def choose(self) -> Ask | None:
        """Walks from the root to a node that can be expanded."""
        tree = self.tree
        while tree.sims < self.rules.sims and tree.root.ready:
            tree.sims += 1
            node = tree.root
            while node.children and (following := tree.select(node)):
                node = following
            if node.terminal_reason is None:
                return self.ask(node)
            self.backup.reached(node)
        return None


class Trajectory(_Expanding):
    """Each simulation expands all the way down to an end, then backs up once (MCTS-DPO, rStar-Math).

    With `reroot_sims` a step is then chosen and the search goes on from there, until the chosen answer is whole.
    """

    at: TreeNode | None = None  # where the simulation in progress stands
    spent = 0  # simulations from `start`

    @property
    def done(self) -> bool:
        """Whether the chosen answer is whole, or every node is expanded or an end."""
        return super().done or self.start.terminal_reason is not None

    def choose(self) -> Ask | None:
        """Walks on from where the last answer was applied."""
        tree = self.tree
        while True:
            if self.at is None:
                if not self._may_start():
                    return None
                tree.sims += 1
                self.spent += 1
                self.at = self.start
            while self.at.children and (following := tree.select(self.at)):
                self.at = following
            if not self.at.children and self.at.terminal_reason is None:
                return self.ask(self.at)
            self.backup.reached(self.at)
            self.at = None

    def _may_start(self) -> bool:
        while not self.start.ready or self.spent >= (self.rules.reroot_sims if self.start.parent else self.rules.sims):
            if not (self.rules.reroot_sims and self.start.children):
                return False
            self.start, self.spent = max(self.start.children, key=_settled), 0
        return self.start.terminal_reason is None


def _settled(child: TreeNode) -> tuple[float, float, float, int]:
    """By what MCTS-DPO chooses a step: visits, more so where the child itself told its children apart; then Q, V."""
    visits = [grandchild.visits for grandchild in child.children]
    gap = max(visits) - min(visits) if visits else 0
    return child.visits * (gap + 1), child.q, child.value_sum, -child.node_id


class Ultra(_Expanding):
    """A tree of turns (UltraInteract): right attempts end it, the first wrong one is answered and tried once more."""

    def __init__(self, tree: GrowingTree) -> None:
        super().__init__(tree)
        self.at: TreeNode | None = tree.root

    @property
    def done(self) -> bool:
        """Whether the last turn was taken."""
        return self.at is None

    def choose(self) -> Ask | None:
        """The next turn."""
        if self.at is None or not self.at.ready or self.tree.sims >= self.rules.sims:
            return None
        self.tree.sims += 1
        return self.ask(self.at)._replace(finish=True)

    def attach(self, node: TreeNode, found: Sequence[Child], ticket: Ticket) -> list[TreeNode]:
        """Children as ends, but for the wrong attempt that the next turn goes on from."""
        wrong = next((i for i, child in enumerate(found) if child.outcome == -1), None)
        if node.depth + 1 >= self.rules.max_depth:
            wrong = None
        found = [replace(child, terminal_reason=None) if i == wrong else child for i, child in enumerate(found)]
        made = super().attach(node, found, ticket)
        self.at = None if wrong is None else made[wrong]
        return made

    def apply(self, node: TreeNode, ticket: Ticket, answer: Answer) -> None:
        """Keeps what the environment said to the attempt, then the attempts that follow."""
        node.observation, node.observation_ids = answer.observation, answer.observation_ids
        super().apply(node, ticket, answer)
        if node.terminal_reason is not None:
            self.at = None
