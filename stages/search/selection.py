"""Which child is followed (spec mcts R2). Pure.

Scores count requests in flight: N' = N + O, where O is the number of open tickets at or below a node. Under `wu`
(WU-UCT) only the exploration term sees them; under `virtual_loss` they count as losses in Q too. Floats are compared
exactly; a tie goes to the child that was created first.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

from stages.search.rules import SearchRules


class Visited(Protocol):
    """What selection reads in a node."""

    prior: float
    visits: int
    in_flight: int
    value_sum: float
    q: float


def scores(parent: Visited, children: Sequence[Visited], rules: SearchRules) -> list[float]:
    """The selection score of each child, in order."""
    total = parent.visits + parent.in_flight
    qs = _qs(children, rules)
    if rules.select in ("uct", "uct_sqrt2"):
        factor = rules.c * math.sqrt((2.0 if rules.select == "uct_sqrt2" else 1.0) * math.log(max(1, total)))
        first = _first_play(parent, children, rules)
        counts = [child.visits + child.in_flight for child in children]
        return [q + factor / math.sqrt(n) if n else f for q, n, f in zip(qs, counts, first, strict=True)]
    c = math.log((total + rules.c_base + 1) / rules.c_base) + rules.c_init if rules.select == "puct_az" else rules.c
    factor = c * math.sqrt(total)
    return [
        q + factor * child.prior / (1 + child.visits + child.in_flight) for q, child in zip(qs, children, strict=True)
    ]


def _qs(children: Sequence[Visited], rules: SearchRules) -> list[float]:
    if rules.in_flight_rule == "wu":
        return [child.q for child in children]
    lost = [rules.virtual_loss * child.in_flight for child in children]
    return [(c.value_sum - loss) / (c.visits + loss) if loss else c.q for c, loss in zip(children, lost, strict=True)]


def _first_play(parent: Visited, children: Sequence[Visited], rules: SearchRules) -> list[float]:
    if rules.fpu == "prior_value":
        return [child.q for child in children]
    value = {"inf": math.inf, "zero": 0.0, "parent_q": parent.q - rules.fpu_reduction}[rules.fpu]
    return [value] * len(children)
