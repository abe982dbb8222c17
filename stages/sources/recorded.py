"""Search trees that others recorded, as rows of `trees` and `nodes`. Pure.

OpenR's OmegaPRM writes, for each prefix it probed, the share of right ones among k roll-outs (`mc_value`), the right
roll-outs as ends below it with an `mc_value` of 1, and neither k nor the wrong ones (openreasoner/openr,
data/omegaPRM_v2). Two shapes: nested `{text, mc_value, children}`, or a flat list of `{solution_prefix, mc_value}`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from msgspec.structs import replace

from pipeline import ids
from pipeline.errors import Rejected
from pipeline.records import Prompt, storable
from pipeline.tree import Node, Tree
from stages.judges.answers import Answer, Reference, equal_numbers, marked_answer, read_reference
from stages.sources.columns import number


class Entry(NamedTuple):
    """One recorded value; parent: place of the entry it continues, before it in the list; -1 for the prompt."""

    parent: int
    text: str
    mc: float | None


@dataclass
class Step:
    """Entries of equal text after the same prefix are one step, whose roll-outs are pooled."""

    parent: Step | None
    text: str
    place: int  # in order of creation
    index: int = 0  # among its siblings
    values: list[float | None] = field(default_factory=list)
    children: list[Step] = field(default_factory=list)
    samples: int = 0  # roll-outs from here, 0 where their number is not known
    right: int = 0  # of them

    @property
    def is_right_end(self) -> bool:
        """Whether it is the rest of a right answer."""
        return self.parent is not None and not self.children and all(value == 1 for value in self.values)


def recorded_tree(value: Any, prompt: Prompt, job: str, separator: str) -> list[Tree | Node]:
    """The row of a recorded tree, then its nodes. `separator` stood between steps. Raises Rejected: broken_tree.

    visits and q stand for roll-outs: their number (1 where it is not known) and 2 mc - 1. wrong counts roll-outs that
    failed, of which there is no text. Token ids, priors and log-probabilities are not known.
    """
    entries = _flat(value) if isinstance(value, Sequence) and not isinstance(value, str) else _nested(value)
    steps = _pooled(entries)
    _count_samples(steps)
    tree_id = ids.content_hash("recorded/1", prompt.prompt_id, [[s.text, s.values, len(s.children)] for s in steps])
    tree = Tree(prompt_id=prompt.prompt_id, tree_id=tree_id, job=job, status="recorded", n_nodes=len(steps))
    reference = read_reference(prompt.reference or "")
    nodes = _placed([_node(step, tree, separator, reference) for step in steps], steps)
    root = nodes[0]
    tree = replace(
        tree, n_terminal=root.terminals, n_correct=root.correct, n_wrong=root.wrong,
        n_unknown=root.terminals - root.correct - root.wrong, root_mc=root.mc,
    )  # fmt: skip
    return [tree, *nodes]


def _entry(item: Any, name: str, where: str) -> tuple[str, float | None]:
    """Text and value of an item, checked."""
    if not isinstance(item, Mapping) or not isinstance(item.get(name), str):
        raise Rejected("broken_tree", f"{where}: no object with the text {name!r}")
    given = item.get("mc_value")
    mc = number(given)
    if given is not None and (mc is None or not 0 <= mc <= 1):
        raise Rejected("broken_tree", f"{where}: mc_value {str(given)[:40]} is not in [0, 1]")
    return storable(item[name]), mc


def _nested(root: Any) -> Iterator[Entry]:
    waiting, place = [(root, -1, "0")], 0
    while waiting:
        item, parent, where = waiting.pop()
        yield Entry(parent, *_entry(item, "text", where))
        below = item.get("children") or ()
        if not isinstance(below, Sequence) or isinstance(below, str):
            raise Rejected("broken_tree", f"{where}: children is {type(below).__name__}, not a list")
        waiting += [(child, place, f"{where}.{i}") for i, child in reversed(list(enumerate(below)))]
        place += 1


def _flat(items: Sequence[Any]) -> Iterator[Entry]:
    """Each prefix continues the longest other one that it begins with and that is not a right end."""
    found = [_entry(item, "solution_prefix", f"entry {i}") for i, item in enumerate(items)]
    found.sort(key=lambda entry: len(entry[0]))  # stable
    if not found:
        raise Rejected("broken_tree", "the list of prefixes is empty")
    for place, (text, mc) in enumerate(found):
        above = [i for i in range(place) if (i == 0 or found[i][1] != 1) and text.startswith(found[i][0])]
        above = [i for i in above if found[i][0] != text]
        if place and not above:
            raise Rejected("broken_tree", f"the prefix {text[:40]!r} does not begin with {found[0][0][:40]!r}")
        yield Entry(above[-1], text[len(found[above[-1]][0]) :].strip(), mc) if above else Entry(-1, text, mc)


def _pooled(entries: Iterator[Entry]) -> list[Step]:
    """The steps, parents first."""
    steps: dict[tuple[int, str], Step] = {}
    places: list[Step] = []
    for entry in entries:
        parent = places[entry.parent] if entry.parent >= 0 else None
        key = id(parent), entry.text
        if key not in steps:
            steps[key] = Step(parent, entry.text, len(steps), len(parent.children) if parent else 0)
            if parent:
                parent.children.append(steps[key])
        steps[key].values.append(entry.mc)
        places.append(steps[key])
    return list(steps.values())


def _count_samples(steps: Sequence[Step]) -> None:
    """k, the roll-outs behind each value: the right ones are there, and right / k is the value. Prefixes of which none
    came right had as many as most others of the tree."""
    known: Counter[int] = Counter()
    for step in steps:
        step.right = sum([len(child.values) for child in step.children if child.is_right_end])
    for step in steps[1:]:
        known[_samples(step)] += not step.is_right_end
    del known[0]
    usual = known.most_common(1)[0][0] if known else _samples(steps[0])
    for step in steps:
        if step.is_right_end:
            step.samples = step.right = len(step.values)
        elif None not in step.values:
            step.samples = len(step.values) * (_samples(step) or (0 if step.right else usual))


def _samples(step: Step) -> int:
    """k of one prefix; 0 where its value and its right roll-outs do not tell it."""
    total = sum([value or 0.0 for value in step.values])
    k = step.right / total if total else 0.0
    return round(k) if abs(k - round(k)) < 1e-6 * k else 0


def _node(step: Step, tree: Tree, separator: str, reference: Reference | None) -> Node:
    """The row without what other rows decide."""
    stated = None if step.parent is None or step.children else marked_answer(step.text)
    agrees = None if stated is None else _states(stated, reference)
    ended = step.is_right_end or stated is not None
    mc = _mean([value for value in step.values if value is not None])
    if ended and agrees is not None and mc != float(agrees):
        mc, agrees = None, None  # recorded as right with another answer, or as wrong with the right one: not decided
    outcome = {1.0: 1, 0.0: -1}.get(mc) if ended and mc is not None else None
    visits = 0 if mc is None else step.samples or 1
    q = 0.0 if mc is None else 2 * mc - 1
    sampled = step.samples if mc is not None and not ended else 0
    return Node(
        prompt_id=tree.prompt_id, tree_id=tree.tree_id, node_id=step.place, child_index=step.index,
        step_text="" if step.parent is None else step.text if ended else step.text + separator,
        multiplicity=len(step.values), finish_reason="eos" if ended else "stop", is_terminal=ended,
        terminal_reason="answer" if ended else None, final_answer=stated, outcome=outcome,
        mc_rollout=mc if sampled else None, rollouts_n=sampled, rollouts_c=step.right if sampled else 0,
        value=None if outcome is None else float(outcome), own_visits=visits, visits=visits, value_sum=q * visits, q=q,
        mc=mc, mc_n=0 if mc is None else 1 if ended else step.samples, expanded=bool(step.children),
    )  # fmt: skip


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _states(answer: str, reference: Reference | None) -> bool | None:
    """Whether an answer is the reference; None where that takes mathematics."""
    if reference is None:
        return None
    if "".join(answer.split()) == "".join(reference.text.split()):
        return True
    return equal_numbers(Answer(answer, True), reference, 0.0)


def _placed(nodes: list[Node], steps: Sequence[Step]) -> list[Node]:
    """The rows with their parents, the ends at or below each, and the most visited path."""
    ends, best = _ends(nodes, steps), _best_path(nodes, steps[0])
    made: list[Node] = []
    for node, step, (terminals, correct, wrong) in zip(nodes, steps, ends, strict=True):
        counted = replace(node, terminals=terminals, correct=correct, wrong=wrong, on_best_path=step.place in best)
        if step.parent is not None:
            parent = made[step.parent.place]
            counted = replace(
                counted, parent_id=parent.node_id, depth=parent.depth + 1, path=f"{parent.path}.{step.index}",
                advantage=node.q - parent.q,
            )  # fmt: skip
        made.append(counted)
    return made


def _ends(nodes: Sequence[Node], steps: Sequence[Step]) -> list[list[int]]:
    """All, right and wrong ends at or below each node; failed roll-outs are wrong ends of the prefix they began at."""
    ends = [[0, 0, 0] for _ in nodes]
    for node, step in zip(reversed(nodes), reversed(steps), strict=True):
        failed = 0 if node.is_terminal or node.mc is None else max(node.mc_n - node.rollouts_c, int(node.mc == 0))
        found = (failed + node.is_terminal, int(node.outcome == 1), failed + (node.outcome == -1))
        for kind in range(3):
            ends[step.place][kind] += found[kind]
            if step.parent is not None:
                ends[step.parent.place][kind] += ends[step.place][kind]
    return ends


def _best_path(nodes: Sequence[Node], step: Step) -> set[int]:
    """Nodes reached from the root by the most visits, then the higher Q, then the earlier creation."""
    path = {step.place}
    while step.children:
        step = max(step.children, key=lambda s: (nodes[s.place].visits, nodes[s.place].q, -s.place))
        path.add(step.place)
    return path
