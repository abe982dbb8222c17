"""Pairs for a persona or a role: single rows that hold under one condition (spec pairs 5, 8.2, 17.3 V8). Pure."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from pipeline.errors import Rejected
from pipeline.pair import Context as Held
from pipeline.pair import FilterResult
from stages.contexts.conditions import Sided
from stages.pairs.aspect_dominance import prefer
from stages.pairs.context_evidence import Belief, Evidence
from stages.pairs.context_kinds import Draft, above_zero
from stages.pairs.gate import EPSILON


def ratings(side: Sided, context: Held, evidence: Evidence) -> dict[str, float]:
    """How well an answer meets the traits of a context that it was rated on."""
    found = {a.name: evidence.rating(side.candidate.candidate_id, context, a.name) for a in context.attributes}
    return {name: value for name, value in found.items() if value is not None}


def weights(context: Held) -> dict[str, float]:
    """The traits of a context and what each counts."""
    return {a.name: a.importance or 1.0 for a in context.attributes}


def personal(own: Sided, generic: Sided, evidence: Evidence, tau: float, min_confirm: float) -> Draft:
    """The answer made for a persona over the generic one, where it serves the persona better: by the rubric of its traits,
    else by judges that compared the two, else as far as the effect of the persona on a model tells (AlignXplore's R_gen).

    Raises Rejected: not_rated, tie, margin, generic_is_better, unconfirmed, no_effect, effect_unknown.
    """
    context = own.contexts[0]
    names = own.candidate.candidate_id, generic.candidate.candidate_id
    belief, filters = evidence.belief(*names, context), list[FilterResult]()
    scores, dominance = None, None
    if context.attributes:
        found = prefer(
            ratings(own, context, evidence), ratings(generic, context, evidence), weights(context), frozenset(), tau
        )
        if not found.first:
            raise Rejected("generic_is_better", f"the generic answer comes to {found.scores[0]:.3f} by the rubric")
        scores, dominance = found.scores, found.dominance
        filters.append(FilterResult("rubric", True, scores[0] - scores[1], tau))
    elif belief is not None:
        if belief.p < min_confirm - EPSILON:
            why = "generic_is_better" if belief.p < 0.5 else "unconfirmed"
            raise Rejected(why, f"P(personal is better) is {belief.p:.3f}, {min_confirm:g} is wanted")
        filters.append(FilterResult("with_context", True, belief.p, min_confirm))
    filters += _effects(names, context, belief, evidence)
    source = "judge" if scores or belief else "construction"
    return Draft(own, generic, context, None, source, tuple(filters), scores, belief, dominance)


def _effects(
    names: tuple[str, str], context: Held, belief: Belief | None, evidence: Evidence
) -> list[FilterResult]:  # fmt: skip
    """V8: the context speaks for the personal answer. Raises Rejected: no_effect, effect_unknown."""
    without, effect = evidence.belief(*names, None), evidence.effect(*names, context)
    found = []
    if belief is not None and without is not None:
        found.append(above_zero("context_effect_judge", belief.p - without.p))
    if effect is not None:
        found.append(above_zero("context_effect_logp", effect))
    if not found:
        raise Rejected(
            "effect_unknown", "put compare_contexts or context_effect before, which measure what a persona changes"
        )
    return found


def by_constitution(group: Sequence[Sided], evidence: Evidence, tau: float) -> list[Draft | Rejected]:
    """Every two answers of a group by the norms of a role: the better one is worse on no hard norm and better on the
    weighted sum. Widest gap first; then what is refused."""
    drafts: list[Draft] = []
    refused: list[Rejected] = []
    contexts = {side.contexts[0]: None for side in group if side.contexts and side.contexts[0].attributes}
    for context in contexts:
        hard = frozenset(a.name for a in context.attributes if a.kind == "hard")
        for one, other in itertools.combinations(group, 2):
            try:
                found = prefer(
                    ratings(one, context, evidence), ratings(other, context, evidence), weights(context), hard, tau
                )
            except Rejected as why:
                refused.append(why)
                continue
            chosen, rejected = (one, other) if found.first else (other, one)
            drafts.append(
                Draft(
                    chosen, rejected, context, None, "role_constitution", found.filters(tau), found.scores,
                    dominance=found.dominance,
                )
            )  # fmt: skip
    drafts.sort(key=lambda d: -round((d.scores or (0, 0))[0] - (d.scores or (0, 0))[1], 12))
    return [*drafts, *refused]
