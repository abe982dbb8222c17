"""Rows of `pairs` from segments of a tree: canonical columns with the `tree` group filled (spec pairs 17.1). Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

from msgspec.structs import replace

from pipeline import ids
from pipeline.pair import Generation, Pair, Step
from pipeline.records import Message, Prompt, Reject
from pipeline.stage import Context
from pipeline.tree import Fork, Node
from stages.pairs.build import lineage, score_columns
from stages.pairs.confidence import alpha_visits, p_better
from stages.pairs.finished import (
    FinishedTree,
    ScoreName,
    by_outcome,
    common_prefix,
    mean_q,
    outcome,
    really_ended,
    score,
    text_of,
    tokens_of,
)
from stages.pairs.segments import Segment
from stages.pairs.step_rules import StepPair

LEVELS = {"step": "step", "chain": "segment", "rollout": "segment", "trajectory": "response"}


class Labelling(NamedTuple):
    """What the pairs of one job share. alpha: label noise from mc counts (`beta`) or from visits (MCTS-DPO)."""

    rule: str
    value_kind: ScoreName
    alpha: Literal["beta", "visits"] = "beta"


def tree_pair(prompt: Prompt, tree: FinishedTree, found: Segment, labelling: Labelling, group: int) -> Pair:
    """One row; `group`: how many pairs this parent has (each group weighs the same, rStar-Math)."""
    turns, open_turn = _turns(prompt, found.prefix)
    prefix = text_of(open_turn)
    texts = text_of(found.chosen), text_of(found.rejected)
    arms = [ids.arm(prompt.prompt_id, text_of(found.prefix), text) for text in texts]
    kind = labelling.rule if found.form in ("step", "trajectory") else f"{labelling.rule}_{found.form}"
    return Pair(
        prompt_id=prompt.prompt_id,
        base_prompt_id=prompt.base_prompt_id,
        pair_id=ids.pair_id(kind, prompt.context_id, *arms),
        unordered_id=ids.unordered_id(prompt.context_id, *arms),
        context_id=prompt.context_id,
        kind=kind,
        level=LEVELS[found.form],
        split=prompt.split,
        prompt_messages=turns,
        assistant_prefix=prefix or None,
        chosen_messages=(Message("assistant", texts[0]),),
        rejected_messages=(Message("assistant", texts[1]),),
        chosen_terminal=really_ended(found.chosen[-1]),
        rejected_terminal=really_ended(found.rejected[-1]),
        chosen_tail=_tail(tree, found.chosen[-1], True),
        rejected_tail=_tail(tree, found.rejected[-1], False),
        weight=1.0 / group,
        tree=_fork(tree, found, labelling),
        chosen_steps=_steps(found.chosen),
        rejected_steps=_steps(found.rejected),
        chosen_gen=_generation(tree, found.chosen),
        rejected_gen=_generation(tree, found.rejected),
        source=prompt.source,
        **_label_columns(found, labelling),
    )


def refused_pair(tree: FinishedTree, pair: StepPair, reason: str, ctx: Context) -> Reject:
    """The row of a pair that a filter turned away, counted."""
    ctx.count(f"refused:{reason}")
    chosen, rejected = (f"{tree.tree.tree_id}/{node}" for node in (pair.chosen, pair.rejected))
    detail = f"node {chosen} over {rejected}; margin {pair.margin:.4g}"
    return Reject(tree.tree.prompt_id, ctx.job, "pair", reason, detail, f"{chosen}>{pair.rejected}")


def with_lineage(pair: Pair, stage: str, version: int, ctx: Context) -> Pair:
    """The pair with which code and config made it, and from which nodes."""
    arms = [arm.candidate_id for arm in (pair.chosen_gen, pair.rejected_gen) if arm]
    return replace(pair, lineage=lineage(stage, version, ctx, arms))


def _label_columns(found: Segment, labelling: Labelling) -> dict[str, Any]:
    """Where the label comes from, both scores on [0, 1], and how much label noise to expect."""
    alpha, better = _noise(found)
    noise = alpha if labelling.alpha == "visits" else None if better is None else min(1.0 - better, 0.5)
    columns: dict[str, Any] = {
        "label_source": "verifier" if found.form == "trajectory" or better is not None else "judge",
        "soft_label": None if noise is None else 1.0 - noise,
    }
    return columns | score_columns(_scores(found, labelling))


def _turns(prompt: Prompt, prefix: Sequence[Node]) -> tuple[tuple[Message, ...], list[Node]]:
    """The prompt with the turns that were closed by an observation, and the steps of the turn that is open."""
    turns, open_turn = list(prompt.messages), []
    for node in prefix:
        open_turn.append(node)
        if node.observation is not None:
            turns += [Message("assistant", text_of(open_turn)), Message("user", node.observation)]
            open_turn = []
    return tuple(turns), open_turn


def _noise(found: Segment) -> tuple[float, float | None]:
    """Label noise from visits, and p_better from mc counts; None without counts and for whole answers, whose outcomes
    were verified and not estimated."""
    chosen, rejected = _compared(found)
    counts = [(round((node.mc or 0.0) * node.mc_n), node.mc_n) for node in (chosen, rejected)]
    known = found.form != "trajectory" and counts[0][1] and counts[1][1]
    return alpha_visits(chosen.visits, rejected.visits), p_better(*counts[0], *counts[1]) if known else None


def _compared(found: Segment) -> tuple[Node, Node]:
    """The nodes that are named as chosen and rejected: the first steps of the arms, of whole answers their ends."""
    at = -1 if found.form == "trajectory" else 0
    return found.chosen[at], found.rejected[at]


def _value(path: Sequence[Node], form: str, labelling: Labelling) -> float | None:
    return mean_q(path) if form == "trajectory" else score(path[0], labelling.value_kind)


def _scores(found: Segment, labelling: Labelling) -> tuple[float, float] | None:
    """Both scores on [0, 1]; None where one is not known or lies off its scale (advantage back-up).

    Of two decided ends their outcomes come first, as in ranked lists: a wrong answer by good steps is no good answer. It
    scores at most 1/3, a right one at least 2/3.
    """
    low, high = {"mc": (0.0, 1.0), "advantage": (-2.0, 2.0)}.get(labelling.value_kind, (-1.0, 1.0))
    values = [_value(path, found.form, labelling) for path in (found.chosen, found.rejected)]
    units = [None if value is None else (value - low) / (high - low) for value in values]
    ends = [outcome(path[-1]) for path in (found.chosen, found.rejected)]
    if all(ends):
        signed = [0.0 if unit is None else 2 * unit - 1 for unit in units]
        units = [(by_outcome(end, value) + 1) / 2 for end, value in zip(ends, signed, strict=True)]
    known = [unit for unit in units if unit is not None and 0 <= unit <= 1]
    return (known[0], known[1]) if len(known) == 2 else None


def _tail(tree: FinishedTree, node: Node, right: bool) -> str | None:
    """The way to an end behind an unfinished arm; exports put an end-of-turn token behind it."""
    path = None if node.is_terminal else tree.continuation(node, right, whole=True)
    return text_of(path[1:]) if path else None


def _fork(tree: FinishedTree, found: Segment, labelling: Labelling) -> Fork:
    parent, (chosen, rejected) = tree.nodes[found.pair.parent], _compared(found)
    known = all(node.observation is None or node.observation_token_ids for node in found.prefix)
    before = tokens_of(found.prefix) + (found.prefix[-1].observation_token_ids if found.prefix else ())
    arms = tokens_of(found.chosen), tokens_of(found.rejected)
    alpha, better = _noise(found)
    return Fork(
        tree_id=tree.tree.tree_id, prefix_node_id=str(parent.node_id), chosen_node_id=str(found.pair.chosen),
        rejected_node_id=str(found.pair.rejected), step_index=parent.depth,
        n_steps_chosen=len(found.chosen), n_steps_rejected=len(found.rejected),
        prefix_value=score(parent, labelling.value_kind),
        chosen_value=_value(found.chosen, found.form, labelling),
        rejected_value=_value(found.rejected, found.form, labelling),
        chosen_visits=chosen.visits, rejected_visits=rejected.visits,
        chosen_advantage=chosen.advantage, rejected_advantage=rejected.advantage,
        value_kind=labelling.value_kind, rule=labelling.rule, form=found.form,
        prompt_token_ids=tree.tree.prompt_token_ids + before if known else (),
        chosen_token_ids=arms[0], rejected_token_ids=arms[1],
        lcp_tokens=common_prefix(*arms),
        chosen_mc=chosen.mc, rejected_mc=rejected.mc, chosen_mc_n=chosen.mc_n, rejected_mc_n=rejected.mc_n,
        alpha_visits=alpha, p_better=better,
        chosen_logp=_logp(found.chosen), rejected_logp=_logp(found.rejected), hinted=tree.tree.hinted,
    )  # fmt: skip


def _logp(path: Sequence[Node]) -> float | None:
    known = [node.logprob_sum for node in path if node.logprob_sum is not None]
    return sum(known) if len(known) == len(path) else None


def _steps(path: Sequence[Node]) -> tuple[Step, ...]:
    return tuple([Step(node.step_text, node.q, None if node.mc is None else node.mc > 0) for node in path])


def _generation(tree: FinishedTree, path: Sequence[Node]) -> Generation:
    tokens, logp = sum(node.n_tokens for node in path), _logp(path)
    return Generation(
        candidate_id=f"{tree.tree.tree_id}/{path[-1].node_id}",
        model=tree.tree.policy_model,
        seed=path[-1].seed,
        finish_reason=path[-1].finish_reason,
        n_tokens=tokens or None,
        policy_relation="on" if all(node.source == "sampled" for node in path) else "gold",
        mean_logp=None if logp is None or not tokens else logp / tokens,
    )
