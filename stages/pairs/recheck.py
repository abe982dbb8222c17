"""Is a finished row of an instruction-level pair true? Asked of the row alone, by running every check again on the texts
that it holds (spec pairs 17.3 V1, V2, V13; 17.6 I11-I14). Pure.

Reason codes: no_constraints, bad_kwargs, text_of_kwargs, not_in_prompt, unknown, unstable, stored_otherwise, conflict,
not_preferred, group.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from pipeline.pair import Constraint, FilterResult, Pair
from pipeline.records import Message
from stages.constraints.instruction import CHECKER, Instruction, compatible, instruction
from stages.pairs.draw_instructions import strictly_better
from stages.pairs.gate import Refusal

_ALL_KEPT = frozenset({"mapl_inter", "iopo_quad", "rpo_reverse"})  # kinds whose chosen arm keeps every instruction
_ALL_BROKEN = frozenset({"mapl_inter"})  # and whose rejected arm breaks every one


def why_untrue(pair: Pair) -> Refusal | None:
    """None where every stored constraint and the label hold, else (reason, detail)."""
    if not pair.constraints:
        return "no_constraints", "the row names no constraint"
    for row in pair.constraints:
        if why := _constraint(row, pair):
            return why
    for families in ([c.family for c in pair.constraints if c.in_chosen_prompt],
                     [c.family for c in pair.constraints if c.in_rejected_prompt]):  # fmt: skip
        if not compatible(families):
            return "conflict", f"a prompt holds {', '.join(families)}"
    return _label(pair, pair.constraints)


def incomplete(group: Sequence[Pair]) -> Refusal | None:
    """None for a whole group: as many rows as it says, one base prompt and split, the two arms exchanged (V13, I11)."""
    first = group[0]
    if any(p.group_size != len(group) or p.group_id != first.group_id or p.group_id is None for p in group):
        return "group", f"{len(group)} of {first.group_size} rows"
    if len({(p.base_prompt_id, p.split) for p in group}) != 1:
        return "group", "its rows have different base prompts or splits"
    prompts = [(p.prompt_messages, p.rejected_prompt_messages or p.prompt_messages) for p in group]
    answers = [(p.chosen_messages, p.rejected_messages) for p in group]
    exchanged, fixed = (prompts, answers) if first.level == "prompt" else (answers, prompts)
    if len(group) != 2 or exchanged[0] != exchanged[1][::-1] or fixed[0] == fixed[1]:
        return "group", "its two rows do not exchange their arms under two prompts, or their prompts for two answers"
    return None


def passed(pair: Pair) -> tuple[FilterResult, ...]:
    """Entries of `Pair.filters` for a row that `why_untrue` let pass, with the number of constraints."""
    n = float(len(pair.constraints or ()))
    return FilterResult("checkers", True, n, n), FilterResult("text_of_kwargs", True, n, n)


def _constraint(row: Constraint, pair: Pair) -> Refusal | None:
    """V1 and V2 of one constraint."""
    try:
        one = instruction(row.family, msgspec.json.decode(row.kwargs_json))
    except (ValueError, AttributeError) as error:  # msgspec's errors are ValueErrors
        return "bad_kwargs", f"{row.family} {row.kwargs_json:.60}: {error}"
    if (one.text, one.constraint_id) != (row.text, row.constraint_id):
        return "text_of_kwargs", f"{row.family} {row.kwargs_json:.60} says {one.text!r}, the row {row.text!r}"
    prompts = ((row.in_chosen_prompt, pair.prompt_messages),
               (row.in_rejected_prompt, pair.rejected_prompt_messages or pair.prompt_messages))  # fmt: skip
    if row.origin == "derived" and any(there != _says(messages, row.text) for there, messages in prompts):
        return "not_in_prompt", f"{row.text!r} does not stand in the prompts that the row names"
    return _outcome(one, row, pair)


def _outcome(one: Instruction, row: Constraint, pair: Pair) -> Refusal | None:
    texts = pair.chosen_messages[-1].content, pair.rejected_messages[-1].content
    found = tuple([one.check(text) for text in texts])
    if found != tuple([one.check(text) for text in texts]):
        return "unstable", f"{row.text!r} is answered differently when asked twice"
    if None in found:
        return "unknown", f"{row.text!r} cannot be decided for an arm"
    if found != (row.chosen_ok, row.rejected_ok) or (row.checker, row.checker_version) != (CHECKER, one.version):
        return "stored_otherwise", f"{row.text!r}: found {found}, the row says {(row.chosen_ok, row.rejected_ok)}"
    return None


def _says(messages: Sequence[Message], text: str) -> bool:
    asked = next((m.content for m in reversed(messages) if m.role == "user"), "")
    at = asked.rfind(text)
    return at >= 0 and asked[at + len(text) : at + len(text) + 1] in ("", " ")


def _label(pair: Pair, rows: Sequence[Constraint]) -> Refusal | None:
    """Whether the chosen arm is the better one by the rule of its kind."""
    better = [c.chosen_ok for c in rows if c.in_chosen_prompt]
    worse = [c.rejected_ok for c in rows if c.in_rejected_prompt]
    families = [[c.family for c in rows if getattr(c, side)] for side in ("in_chosen_prompt", "in_rejected_prompt")]
    if pair.level == "prompt":
        mode_a, mode_b = all(better) and not all(worse), any(better) and not any(worse)
        good = (mode_a or mode_b) and sorted(families[0]) == sorted(families[1])
        same = pair.chosen_messages == pair.rejected_messages
        good = good and same and pair.rejected_prompt_messages not in (None, pair.prompt_messages)
    else:
        good = strictly_better(better, worse) and pair.rejected_prompt_messages is None
        good = good and (pair.kind not in _ALL_KEPT or all(better)) and (pair.kind not in _ALL_BROKEN or not any(worse))
    if pair.kind == "rpo_reverse" and good:
        gap = msgspec.json.decode(pair.ext_json or "{}").get("differing")
        good = gap == sum(not kept for kept in worse)  # after reversal the chosen arm keeps all: Hamming distance (I14)
    return None if good else ("not_preferred", f"{pair.kind}: chosen keeps {better}, rejected keeps {worse}")
