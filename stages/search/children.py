"""From samples to children: what is dropped, what is merged, what has ended (spec mcts R2). Pure.

Whoever serves a ticket calls this between generation and evaluation, so that nothing is evaluated twice or in vain.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from msgspec.structs import replace

from stages.pairs.distance import normalised_distance
from stages.search.rules import SearchRules
from stages.search.tickets import Child, Ticket

LIST_MARKER = re.compile(r"^\s*(?:[-*•]|\(?\d{1,3}[.):]|step\s+\d+\s*[.:)])\s*", re.IGNORECASE)


def children(samples: Sequence[Child], ticket: Ticket, rules: SearchRules) -> list[Child]:
    """The distinct children of an expansion, in the order they were sampled, with their ends marked.

    Empty, aborted and cut-off steps are dropped (a cut-off `finish` is an end); of equal ones the first stays.
    """
    kept: dict[str, Child] = {}
    names: dict[tuple[int, ...], str] = {}
    for sample in samples:
        if why_dropped(sample, ticket, rules):
            continue
        name = names.get(sample.token_ids) or _twin(normal_step(sample.text), kept, rules.near_duplicate)
        names[sample.token_ids] = name
        if name in kept:
            kept[name] = replace(kept[name], multiplicity=kept[name].multiplicity + sample.multiplicity)
        else:
            kept[name] = replace(sample, is_finish=ticket.finish, terminal_reason=ending(sample, ticket, rules))
    return list(kept.values())


def why_dropped(sample: Child, ticket: Ticket, rules: SearchRules) -> str | None:
    """Why a sample is no step: empty, abort or truncated (no delimiter came); None when it is one."""
    if not sample.text.strip():
        return "empty"
    if sample.finish_reason == "abort":
        return "abort"
    cut_off = sample.finish_reason == "length" and not (ticket.finish or rules.keep_truncated)
    return "truncated" if cut_off else None


def _twin(name: str, kept: dict[str, Child], near: float) -> str:
    if near <= 0 or name in kept:
        return name
    return next((other for other in kept if normalised_distance(name, other) < near), name)


def normal_step(text: str) -> str:
    """A step as it is compared: without its list marker, runs of white space as one blank."""
    return " ".join(LIST_MARKER.sub("", text).split())


def ending(child: Child, ticket: Ticket, rules: SearchRules) -> str | None:
    """Why nothing follows this child, or None: answer, max_depth, max_tokens or repetition, asked in this order."""
    if child.final_answer is not None or child.finish_reason == "eos":
        return "answer"
    if ticket.finish and ticket.depth + 1 >= rules.max_depth:
        return "max_depth"
    if ticket.finish or len(ticket.prefix_ids) + len(child.token_ids) >= rules.max_tokens:
        return "max_tokens"
    return "repetition" if repeats(ticket.prefix_text, child.text, rules) else None


def repeats(before: str, text: str, rules: SearchRules) -> bool:
    """Whether the text runs in a circle: its last `repetition_window` characters occur `repetition_times` times."""
    whole = (before + text).rstrip()  # a delimiter behind the circle does not break it
    window = rules.repetition_window
    if len(whole) < window * rules.repetition_times:
        return False
    return whole.count(whole[-window:]) >= rules.repetition_times
