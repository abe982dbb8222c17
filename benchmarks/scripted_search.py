"""Scripted answers for tree searches: what tests and benchmarks drive a search with, without an engine."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from stages.search.children import children
from stages.search.machine import TreeSearch
from stages.search.rules import SearchRules
from stages.search.tickets import Answer, Child, Ticket

Responder = Callable[[Ticket], Answer]
EOS = 2

# The trees of spec mcts R8: names say where a node stands.
_SHAPE = {"root": ["a", "b"], "a": ["aa", "ab"], "b": ["ba", "bb"], "aa": ["aaa", "aab"], "ba": ["baa", "bab"]}
_ENDS = {"ab": -1, "bb": 1, "aaa": 1, "aab": -1, "baa": -1, "bab": -1}
_VALUES_A = {"a": 0.2, "b": 0.0, "aa": 0.6, "ba": -0.4, **_ENDS}
_VALUES_B = {
    "a": 0.6, "b": 0.5, "aa": 0.8, "ab": -0.6, "ba": 0.3, "bb": 1.7, "aaa": 1.9, "aab": -0.8, "baa": -0.9, "bab": -0.8,
}  # fmt: skip
_PRIORS_B = {name: {"a": 0.6, "b": 0.4, "aaa": 0.7, "aab": 0.3}.get(name, 0.5) for name in _VALUES_B}
EXAMPLE_A = {"children": _SHAPE, "values": _VALUES_A, "terminal_outcome": _ENDS}
EXAMPLE_B = {
    "children": _SHAPE, "values": _VALUES_B, "terminal_outcome": _ENDS, "additive": True,
    "logprobs": {name: math.log(prior) * len(name) ** 1.25 for name, prior in _PRIORS_B.items()},
}  # fmt: skip


def drive(search: TreeSearch, respond: Responder, shuffle: random.Random | None = None) -> list[Ticket]:
    """Answers tickets until the search is over, in random order of completion if `shuffle` is given. Returns them."""
    waiting, asked = search.next_tickets(), []
    asked += waiting
    while waiting:
        ticket = waiting.pop(shuffle.randrange(len(waiting)) if shuffle else 0)
        search.deliver(ticket, respond(ticket))
        fresh = search.next_tickets()
        waiting += fresh
        asked += fresh
    return asked


def named(world: Mapping[str, Any]) -> Responder:
    """Answers from a world of named nodes: the children of `a` are `aa`, `ab` …

    `values`: by name; `additive` worlds take the outcome out of them. `priors`: by name, given as log-probabilities.
    """

    def child(name: str) -> Child:
        value, outcome = world["values"][name], world["terminal_outcome"].get(name)
        scores = {"self_eval": value - (outcome or 0)} if world.get("additive") else {"judge_score": value}
        return Child(
            name, tuple(map(ord, name)), world.get("logprobs", {}).get(name), outcome=outcome,
            terminal_reason="answer" if outcome else None, **scores,
        )  # fmt: skip

    def respond(ticket: Ticket) -> Answer:
        name = ticket.prefix_text[-ticket.depth :] if ticket.depth else "root"
        return Answer(tuple([(child(below),) for below in world["children"][name]]))

    return respond


def random_world(seed: int, rules: SearchRules, vocabulary: int = 6) -> Responder:
    """Answers drawn from the ticket's own seed: steps of few different tokens (so some are alike), ends, failures."""

    def step(draw: random.Random, last: bool) -> Child:
        tokens = tuple(draw.randrange(10, 10 + vocabulary) for _ in range(draw.randint(1, 3)))
        ends = last or draw.random() < 0.25
        decided = draw.random() < 0.9
        return Child(
            text=" ".join(f"w{t}" for t in tokens) + "\n",
            token_ids=(*tokens, EOS) if ends else tokens,
            logprob_sum=-draw.random() * len(tokens),
            finish_reason=draw.choice(("eos", "eos", "length")) if last else "eos" if ends else "stop",
            outcome=draw.choice((1, -1)) if ends and decided else None,
            self_eval=draw.random() if decided and not ends else None,
        )  # fmt: skip

    def respond(ticket: Ticket) -> Answer:
        draw = random.Random(f"{seed}|{ticket.seed}|{ticket.node_id}")
        branches: Sequence[tuple[Child, ...]]
        if ticket.kind == "rollout":
            branches = [_rollout(draw, step) for _ in range(ticket.n)]
        elif draw.random() < 0.08:
            branches = []
        else:
            samples = [step(draw, ticket.finish) for _ in range(ticket.n)]
            branches = [(child,) for child in children(samples, ticket, rules)]
        tokens = sum(len(child.token_ids) for branch in branches for child in branch)
        return Answer(tuple(branches), prompt_tokens=len(ticket.prefix_ids), gen_tokens=tokens)

    return respond


def _rollout(draw: random.Random, step: Callable[[random.Random, bool], Child]) -> tuple[Child, ...]:
    steps: list[Child] = []
    while len(steps) < 6:
        steps.append(step(draw, len(steps) == 5))
        if steps[-1].finish_reason in ("eos", "length"):
            break
    return tuple(steps)
