"""One search as a state machine: tickets out, answers in (spec mcts R0–R4). No I/O, no clock, no global randomness.

Guarantee A: the tree depends on the answers alone. Answers are applied in the order of their tickets, early ones are held
back, and new tickets are chosen right after each single application, so that what a choice sees depends on nothing but
the number of answers applied.
"""

from __future__ import annotations

from collections.abc import Callable

from msgspec.structs import replace

from stages.search.chains import EpTree, Omega
from stages.search.modes import Ask, Frontier, Mode, Trajectory, Ultra
from stages.search.rules import SearchRules
from stages.search.tickets import Answer, Ticket, request_seed
from stages.search.tree import GrowingTree, TreeNode
from stages.search.values import counted_outcome

STEPWISE: dict[str, Callable[[GrowingTree], Mode]] = {
    "frontier": Frontier, "trajectory": Trajectory, "ultra": Ultra
}  # fmt: skip
BY_ROLLOUTS: dict[str, Callable[[GrowingTree], Mode]] = {"omega": Omega, "eptree": EpTree}


class TreeSearch:
    """The search of one prompt.

    `next_tickets` gives what is to be asked now, `deliver` takes answers in any order; `status` is None until the
    search is over (see `pipeline.tree.Tree`).
    """

    def __init__(self, rules: SearchRules, tree_id: str, run_seed: int) -> None:
        self.rules = rules
        self.tree_id = tree_id
        self.run_seed = run_seed
        self.tree = GrowingTree(rules)
        self.status: str | None = None
        self._mode = (STEPWISE | BY_ROLLOUTS)[rules.mode](self.tree)
        self._stop: str | None = None
        self._unsent: list[Ticket] = []
        self._open: dict[int, Ticket] = {}
        self._held: dict[int, Answer] = {}
        self._issued = self._applied = 0
        self._filter = rules.prefilter if rules.mode in STEPWISE else None
        self._fill()

    def next_tickets(self) -> list[Ticket]:
        """Tickets not handed out before."""
        unsent, self._unsent = self._unsent, []
        return unsent

    def deliver(self, ticket: Ticket, answer: Answer) -> None:
        """Takes the answer to a ticket, once. Raises ValueError for a ticket that is not open."""
        if self._open.get(ticket.number) != ticket or ticket.number in self._held:
            raise ValueError(f"ticket {ticket.number} is not open; each ticket is answered once")
        self._held[ticket.number] = answer
        while self._applied in self._held:
            first, found = self._open[self._applied], self._held.pop(self._applied)
            self._count(found)
            fruitless = self._fruitless(first, found)
            if fruitless and self._stop is None:
                self._repeat(first)
                return
            del self._open[self._applied]
            self._applied += 1
            if not fruitless:  # else it was stopped before it could be tried again: the node stays open
                self._apply(first, found)
            self.tree.arrive(self.tree.nodes[first.node_id])
            self._fill()

    def stop(self, reason: str) -> None:
        """Asks for nothing more; the search is over when what is in flight was delivered (a deadline: budget_time)."""
        self._stop = reason
        self._fill()

    def _count(self, answer: Answer) -> None:
        self.tree.gen_tokens += answer.gen_tokens
        self.tree.prompt_tokens += answer.prompt_tokens
        self.tree.eval_tokens += answer.eval_tokens
        self.tree.error = self.tree.error or answer.error

    def _fruitless(self, ticket: Ticket, answer: Answer) -> bool:
        empty = ticket.kind == "expand" and not answer.branches and answer.error is None
        return empty and ticket.attempt < self.rules.retries

    def _repeat(self, ticket: Ticket) -> None:
        """The ticket once more, with another seed and in its old place: later answers wait for it."""
        attempt = ticket.attempt + 1
        seed = request_seed(self.run_seed, self.tree_id, ticket.path, ticket.kind, attempt)
        again = replace(ticket, attempt=attempt, seed=seed)
        self._open[ticket.number] = again
        self._unsent.append(again)

    def _apply(self, ticket: Ticket, answer: Answer) -> None:
        tree = self.tree
        node = tree.nodes[ticket.node_id]
        if ticket.kind == "rollout" and self.rules.mode in STEPWISE:
            tree.keep_rollouts(node, answer.branches)
        else:
            self._mode.apply(node, ticket, answer)
        if ticket.number == 0 and self.rules.prefilter and node.rollouts_n:
            share = node.rollouts_c / node.rollouts_n
            if not self.rules.prefilter.low <= share <= self.rules.prefilter.high:
                self._stop = "skipped_trivial"

    def _fill(self) -> None:
        while self.status is None and len(self._open) < self.rules.in_flight:
            stop = self._stop or self._budget()
            ask = None if stop else self._choose()
            if ask is None:
                if not self._open:
                    self.status = stop or self._end()
                return
            self._issue(ask)

    def _choose(self) -> Ask | None:
        if self._filter:
            ask = Ask(self.tree.root, "rollout", self._filter.rollouts, finish=True)
            self._filter = None
            return ask
        return self._mode.choose()

    def _issue(self, ask: Ask) -> None:
        tree, node = self.tree, ask.node
        path = tree.path(node)
        prefix_ids, prefix_text = tree.prefix(node)
        turns = tree.turns(node) if self.rules.mode == "ultra" else ()
        left = max(1, self.rules.max_tokens - (0 if turns else len(prefix_ids)))  # an attempt is a whole answer
        ticket = Ticket(
            number=self._issued,
            kind=ask.kind,
            node_id=node.node_id,
            path=path,
            depth=node.depth,
            attempt=ask.attempt,
            sim=tree.sims,
            n=ask.n,
            max_tokens=left if ask.finish else min(self.rules.step_tokens, left),
            finish=ask.finish,
            seed=request_seed(self.run_seed, self.tree_id, path, ask.kind, ask.attempt),
            prefix_ids=prefix_ids,
            prefix_text="" if turns else prefix_text,
            turns=turns,
        )
        tree.depart(node)
        self._issued += 1
        self._open[ticket.number] = ticket
        self._unsent.append(ticket)

    def _budget(self) -> str | None:
        rules, tree = self.rules, self.tree
        if rules.max_nodes is not None and len(tree.nodes) >= rules.max_nodes:
            return "budget_nodes"
        if rules.max_gen_tokens is not None and tree.gen_tokens + tree.eval_tokens >= rules.max_gen_tokens:
            return "budget_tokens"
        if rules.enough_pairs is not None and separated_pairs(tree) >= rules.enough_pairs:
            return "solved_enough"
        return None

    def _end(self) -> str:
        if len(self.tree.nodes) == 1:
            return "failed"
        return "exhausted" if self._mode.done else "budget_sims"


def separated_pairs(tree: GrowingTree) -> int:
    """Sibling pairs of which one has a right end below, the other a wrong one, and Q differs by `enough_margin`."""
    right, wrong = [False] * len(tree.nodes), [False] * len(tree.nodes)
    for node in reversed(tree.nodes):
        if node.terminal_reason is not None:
            outcome = counted_outcome(node.outcome, node.value, tree.rules.values)
            right[node.node_id] |= outcome > 0
            wrong[node.node_id] |= outcome < 0
        if node.parent:
            right[node.parent.node_id] |= right[node.node_id]
            wrong[node.parent.node_id] |= wrong[node.node_id]
    return sum(_separated(node, right, wrong, tree.rules.enough_margin) for node in tree.nodes)


def _separated(parent: TreeNode, right: list[bool], wrong: list[bool], margin: float) -> int:
    return sum(
        right[a.node_id] and wrong[b.node_id] and a.q - b.q >= margin
        for a in parent.children for b in parent.children if a is not b
    )  # fmt: skip
