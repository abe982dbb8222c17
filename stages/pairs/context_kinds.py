"""The rules by which answers of different conditions become pairs (spec pairs 3, 7, 8, 15, 17.2). Pure.

Kinds whose rows come in groups: two answers, preferred the one way under one condition and the other way under the other.
All rows of a group hold, or none is made.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

from pipeline.errors import Rejected
from pipeline.pair import Context as Held
from pipeline.pair import FilterResult, Rater
from stages.contexts.conditions import Sided, context_id
from stages.judges.answers import marked_answer, read_reference
from stages.judges.outcomes import AnswerCheck
from stages.pairs.context_evidence import Belief, Evidence
from stages.pairs.distance import edit_distance
from stages.pairs.gate import EPSILON
from stages.pairs.select import same_text

MirrorKind = Literal["context_reversal", "cross_context", "stance", "value", "counterfactual_context"]
_QUOTE = 8  # so many words of a context in a row in an answer: the criterion gives the answer away


class Rules(NamedTuple):
    """What a group has to pass; None: not asked.

    control: how far from 1/2 the preference without a context may be. min_confirm: least P(intended) with one.
    required: refuse a row of which no judge and no effect says anything. stance: least P(intended stance).
    length_ratio: of the longer answer to the shorter, in characters. edit_ratio: of the two contexts, in words.
    solvers: answers of an independent solver that must agree with each.
    """

    control: float | None = None
    min_confirm: float = 0.7
    required: bool = False
    stance: float | None = None
    length_ratio: float | None = None
    edit_ratio: float | None = None
    solvers: int = 0


RULES: Mapping[str, Rules] = {
    "context_reversal": Rules(control=0.15, required=True),
    "cross_context": Rules(required=True),
    "stance": Rules(stance=0.8, length_ratio=1.25),
    "value": Rules(length_ratio=1.25),
    "counterfactual_context": Rules(edit_ratio=0.3, solvers=3),
}


class Draft(NamedTuple):
    """A pair that holds, before it is a row. scores: how good each answer is; belief: that one is better than the other."""

    chosen: Sided
    rejected: Sided
    context: Held | None
    role: str | None
    source: str
    filters: tuple[FilterResult, ...]
    scores: tuple[float, float] | None = None
    belief: Belief | None = None
    dominance: str | None = None
    rater: Rater | None = None
    history: tuple[str, ...] | None = None  # ids of earlier pairs that the context tells


def mirrored(pair: tuple[Sided, Sided], rules: Rules, evidence: Evidence) -> list[Draft]:
    """The rows of two answers: the own one is preferred under each context of either. Raises Rejected: same_context,
    identical_text, no_control, control, unconfirmed, contradicted, context_leak."""
    a, b = pair
    if same_text(a.candidate.text, b.candidate.text):
        raise Rejected("identical_text", "both answers are the same text")
    if len({context_id(c) for side in pair for c in side.contexts}) < len(a.contexts) + len(b.contexts):
        raise Rejected("same_context", "two of the contexts are the same")
    for side in pair:
        if leak := quoted(side):
            raise Rejected("context_leak", f"the answer of {side.role} quotes its context: {leak!r}")
    shared = [] if rules.control is None else [control(a, b, evidence, rules.control)]
    drafts = []
    for i, (one, other) in enumerate(zip(a.contexts, b.contexts, strict=False)):
        drafts.append(_draft(a, b, one, f"{a.role}:{i}", (rules, evidence, shared)))
        drafts.append(_draft(b, a, other, f"{b.role}:{i}", (rules, evidence, shared)))
    return drafts


def _draft(
    chosen: Sided, rejected: Sided, context: Held, role: str, given: tuple[Rules, Evidence, list[FilterResult]]
) -> Draft:  # fmt: skip
    rules, evidence, shared = given
    names = chosen.candidate.candidate_id, rejected.candidate.candidate_id
    belief, effect = evidence.belief(*names, context), evidence.effect(*names, context)
    filters = [*shared]
    if belief is not None:
        filters.append(_at_least("with_context", belief.p, rules.min_confirm))
        without = evidence.belief(*names, None)
        if without is not None:
            filters.append(above_zero("context_effect_judge", belief.p - without.p))
    if effect is not None:
        filters.append(above_zero("context_effect_logp", effect))
    if rules.required and belief is None and effect is None:
        raise Rejected("unconfirmed", f"nothing says which answer is better in context {role}")
    source = "construction" if belief is None else "judge"
    return Draft(chosen, rejected, context, role, source, tuple(filters), None, belief)


def _at_least(name: str, p: float, least: float) -> FilterResult:
    if p < least - EPSILON:
        reason = "contradicted" if p < 0.5 else "unconfirmed"
        raise Rejected(reason, f"P(intended) is {p:.3f} in the context, {least:g} is wanted")
    return FilterResult(name, True, p, least)


def above_zero(name: str, value: float) -> FilterResult:
    """The entry of an effect that goes the right way. Raises Rejected: no_effect."""
    if value <= EPSILON:
        raise Rejected("no_effect", f"{name} is {value:.3f}: the context does not speak for the answer made for it")
    return FilterResult(name, True, value, 0.0)


def control(a: Sided, b: Sided, evidence: Evidence, most: float) -> FilterResult:
    """Without a context neither answer may be better: by judges, else by checks that found both right.

    Raises Rejected: no_control, control.
    """
    names = a.candidate.candidate_id, b.candidate.candidate_id
    outcomes = [evidence.outcome(name) for name in names]
    belief = evidence.belief(*names, None)
    if belief is None and outcomes != [True, True]:
        raise Rejected("no_control", "nothing says that neither is better without a context")
    p = belief.p if belief else 0.5
    if abs(p - 0.5) > most + EPSILON:
        raise Rejected("control", f"without a context P({a.role} is better) is {p:.3f}, not within {most:g} of 1/2")
    return FilterResult("no_context", True, p, most)


def stances(pair: tuple[Sided, Sided], aspect: str, least: float, evidence: Evidence) -> FilterResult:
    """Both answers take the stance that their condition is named after. Raises Rejected: no_stance, stance."""
    found = []
    for side in pair:
        p = evidence.stance(side.candidate.candidate_id, aspect, side.role)
        if p is None:
            raise Rejected("no_stance", f"the answer of {side.role} has no rating of {aspect} from 1 to 3")
        if p < least - EPSILON:
            raise Rejected("stance", f"P({side.role}) is {p:.3f}, {least:g} is wanted")
        found.append(p)
    return FilterResult("stance", True, min(found), least)


def small_edit(pair: tuple[Sided, Sided], most: float) -> FilterResult:
    """The two passages differ in few words: the contrast is causal. Raises Rejected: edit_ratio."""
    ratio = word_edit_ratio(*[side.contexts[0].text for side in pair])
    if ratio > most + EPSILON:
        raise Rejected("edit_ratio", f"{ratio:.3f} of the words of the contexts differ, at most {most:g} may")
    return FilterResult("edit_ratio", True, ratio, most)


def word_edit_ratio(a: str, b: str) -> float:
    """Edit distance in words over the length of the longer text."""
    words = [re.findall(r"\w+|[^\w\s]", text.casefold()) for text in (a, b)]
    number = {word: chr(i) for i, word in enumerate(dict.fromkeys([*words[0], *words[1]]), 1)}
    return edit_distance(*["".join([number[w] for w in side]) for side in words]) / max(1, *map(len, words))


def solved(side: Sided, solvers: Sequence[Sided], n: int) -> FilterResult:
    """`n` answers of an independent solver under the side's context end as the side's own. Raises Rejected: no_answer,
    few_solvers, solver_disagrees."""
    answer = marked_answer(side.candidate.text)
    reference = read_reference(answer) if answer else None
    if reference is None:
        raise Rejected("no_answer", f"the answer of {side.role} names no final answer (Answer: …)")
    if len(solvers) < n:
        raise Rejected("few_solvers", f"{len(solvers)} answers of the solver under {side.role}, {n} are wanted")
    check = AnswerCheck()
    found = [check.glance(one.candidate.text, one.candidate.finish_reason, reference)[1] for one in solvers[:n]]
    agreed = sum(verdict is not None and verdict[0] is True for verdict in found)
    if agreed < n:
        raise Rejected("solver_disagrees", f"{agreed} of {n} answers of the solver end as that of {side.role}")
    return FilterResult("solvers", True, float(agreed), float(n))


def quoted(side: Sided) -> str | None:
    """Words that an answer takes over from its own criterion; passages are there to be quoted."""
    said = " ".join(re.findall(r"\w+", side.candidate.text.casefold()))
    for context in side.contexts:
        words = re.findall(r"\w+", context.text.casefold()) if context.type != "passage" else []
        for i in range(len(words) - _QUOTE + 1):
            if f" {' '.join(words[i : i + _QUOTE])} " in f" {said} ":
                return " ".join(words[i : i + _QUOTE])
    return None
