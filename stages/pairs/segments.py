"""From two sibling nodes to two arms: how far each reaches, and which pairs are kept. Pure (spec mcts R5)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from pipeline.tree import Node
from stages.pairs.distance import edit_distance
from stages.pairs.finished import FinishedTree, outcome, text_of
from stages.pairs.select import same_text
from stages.pairs.step_rules import StepPair

Form = Literal["step", "chain", "rollout"]


class SegmentRules(BaseModel):
    """Reach of the arms, filters and caps; a filter of 0 or None is not asked."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    form: Form = "step"
    min_edit_chars: int = Field(20, ge=0)  # arms nearer than this …
    min_edit_share: float = Field(0.1, ge=0, le=1)  # … and than this share of the longer are too similar
    length_ratio: float | None = Field(3.0, ge=1)  # longer / shorter arm, in characters
    consistent: bool = True  # no text both chosen and rejected after the same prefix
    max_per_parent: int = Field(4, ge=1)
    max_per_depth: int | None = Field(None, ge=1)
    max_per_tree: int = Field(8, ge=1)


class Segment(NamedTuple):
    """A pair with its arms as paths from the first differing step on; empty `prefix`: it parts at the prompt."""

    pair: StepPair
    form: str  # step, chain, rollout, trajectory
    prefix: tuple[Node, ...]
    chosen: tuple[Node, ...]
    rejected: tuple[Node, ...]


def segment(tree: FinishedTree, pair: StepPair, form: Form) -> Segment | None:
    """The pair in the form asked for; None when an arm has no continuation to its end.

    A child that was generated to the end is a `rollout` whatever is asked, two verified whole answers a `trajectory`.
    """
    chosen, rejected = tree.nodes[pair.chosen], tree.nodes[pair.rejected]
    arms: list[list[Node] | None] = [[chosen], [rejected]]
    if form == "rollout":
        arms = [_rollout(tree, chosen, True), _rollout(tree, rejected, False)]
    elif form == "chain":
        arms = [_chain(tree, chosen), _chain(tree, rejected)]
    if arms[0] is None or arms[1] is None:
        return None
    prefix = tree.lineage(tree.nodes[pair.parent])
    reach: str = "rollout" if chosen.is_finish or rejected.is_finish else form
    if chosen.is_finish and rejected.is_finish and outcome(chosen) > 0 > outcome(rejected):
        reach = "rollout" if len(prefix) > len(tree.history(chosen)) else "trajectory"
    return Segment(pair, reach, tuple(prefix), tuple(arms[0]), tuple(arms[1]))


def _rollout(tree: FinishedTree, node: Node, right: bool) -> list[Node] | None:
    """To an end that the policy set, which every trainer can read; else to one where it was cut."""
    return tree.continuation(node, right, whole=True) or tree.continuation(node, right)


def _chain(tree: FinishedTree, node: Node) -> list[Node]:
    path = [node]
    while len(below := tree.children[path[-1].node_id]) == 1:
        path.append(below[0])
    return path


class Refused(NamedTuple):
    """A proposal that a filter turned away, and why."""

    pair: StepPair
    reason: str


class Kept(NamedTuple):
    """Segments that passed, in the order of the proposals; refused ones; and how many a cap left over, by cap."""

    segments: list[Segment]
    refused: list[Refused]
    over_cap: dict[str, int]


Said = dict[tuple[str, str], bool]  # (text of the prefix, text of the arm) -> whether it was chosen


def keep(tree: FinishedTree, proposed: Iterable[StepPair], rules: SegmentRules, said: Said) -> Kept:
    """Filters and caps. `said`: what the pairs of this prompt said so far; what is kept is added to it.

    Reasons: no_continuation, wrong_end, identical_text, too_similar, length_ratio, contradiction. Caps: per_parent, per_depth,
    per_tree.
    """
    kept = Kept([], [], {})
    for pair in proposed:
        found = segment(tree, pair, rules.form)
        reason = "no_continuation" if found is None else _refusal(found, rules)
        if found is None or reason:
            kept.refused.append(Refused(pair, reason or ""))
        elif cap := _full(found, kept.segments, rules):
            kept.over_cap[cap] = kept.over_cap.get(cap, 0) + 1
        elif rules.consistent and _contradicts(found, said):
            kept.refused.append(Refused(pair, "contradiction"))
        else:
            kept.segments.append(found)
    return kept


def _contradicts(found: Segment, said: Said) -> bool:
    """Whether an arm was on the other side after the same prefix; if not, it is remembered."""
    before = "".join([node.step_text + (node.observation or "") for node in found.prefix])
    arms = {(before, text_of(found.chosen)): True, (before, text_of(found.rejected)): False}
    if any(said.get(arm, side) != side for arm, side in arms.items()):
        return True
    said |= arms
    return False


def _refusal(found: Segment, rules: SegmentRules) -> str | None:
    if outcome(found.chosen[-1]) < 0 < outcome(found.rejected[-1]):
        return "wrong_end"  # steps that looked better, of a chain that came out wrong, over one that came out right
    a, b = text_of(found.chosen), text_of(found.rejected)
    shorter, longer = sorted((len(a.strip()), len(b.strip())))
    if same_text(a, b):
        return "identical_text"
    if rules.length_ratio is not None and longer > shorter * rules.length_ratio:
        return "length_ratio"
    if longer - shorter >= rules.min_edit_chars or rules.min_edit_share == 0:
        return None
    distance = edit_distance(a, b)
    near = distance < rules.min_edit_chars and distance < rules.min_edit_share * max(len(a), len(b))
    return "too_similar" if near else None


def _full(found: Segment, kept: list[Segment], rules: SegmentRules) -> str | None:
    parents = [s.pair.parent for s in kept]
    depths = [len(s.prefix) for s in kept]
    caps: Iterator[tuple[str, int, int | None]] = iter((
        ("per_parent", parents.count(found.pair.parent), rules.max_per_parent),
        ("per_depth", depths.count(len(found.prefix)), rules.max_per_depth),
        ("per_tree", len(kept), rules.max_per_tree),
    ))  # fmt: skip
    return next((name for name, count, cap in caps if cap is not None and count >= cap), None)
