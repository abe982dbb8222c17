"""Whose preference it is: pairs that one rater chose, with what is known of the rater (spec pairs 4, 5.2, 5.3). Pure.

The label, the rater's id, a profile and earlier choices are kept columns of the source (PAL: user id and ±1; AlignXplore:
four earlier pairs; NextQuill: earlier texts). The context of the row says the profile and the choices in words, because a
label that differs between raters is no contradiction only where the prompt says whose it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from pydantic import BaseModel, ConfigDict, Field

from pipeline import ids
from pipeline.errors import Rejected
from pipeline.pair import Context as Held
from pipeline.pair import Rater
from pipeline.records import Candidate, Message, Prompt
from stages.contexts.conditions import Placement, Sided
from stages.judges.rubrics import kept_column
from stages.pairs.context_kinds import Draft


class RaterColumns(BaseModel):
    """Kept columns. label: which of the two given answers is preferred, -1, 0 or "left" for the first, 1 or "right" for
    the second; without it the first (`chosen`). profile: words about the rater. history: a list of {prompt, chosen,
    rejected} or of texts, oldest first, of which the last `max_history` are shown."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rater: str
    label: str | None = None
    group: str | None = None
    profile: str | None = None
    history: str | None = None
    max_history: int = Field(8, ge=1)
    placement: Placement = "system"


def choice(prompt: Prompt, given: list[Candidate], columns: RaterColumns, seed: int) -> Draft:
    """What the rater of one row chose. Raises Rejected: missing_<column>, other_number, no_label, bad_history."""
    if len(given) != 2:
        raise Rejected("other_number", f"{len(given)} answers were given, a rater chooses between 2")
    first, second = sorted(given, key=lambda c: c.sample_idx)
    if columns.label and _second(kept_column(prompt, columns.label)):
        first, second = second, first
    rater = str(kept_column(prompt, columns.rater))
    group = str(kept_column(prompt, columns.group)) if columns.group else None
    profile = kept_column(prompt, columns.profile) if columns.profile else None
    said = [f"The person who asks is rater {rater}."] if profile is None else [_words(profile)]
    earlier: tuple[str, ...] = ()
    pair_ids: tuple[str, ...] | None = None
    if columns.history:
        earlier, pair_ids = _history(kept_column(prompt, columns.history), columns.max_history, (rater, seed))
    text = "\n\n".join([*said, *earlier])
    profile_json = None if profile is None else msgspec.json.encode(profile, order="deterministic").decode()
    context = Held("rater", text, columns.placement, prompt.source.dataset)
    chosen, rejected = (Sided(candidate, "", 0, (context,)) for candidate in (first, second))
    whose = Rater(rater, "human", group, profile_json)
    return Draft(chosen, rejected, context, None, "human", (), rater=whose, history=pair_ids)


def _words(profile: Any) -> str:
    if isinstance(profile, Mapping):
        return "\n".join(f"{name}: {value}" for name, value in sorted(profile.items()))
    return "\n".join(map(str, profile)) if isinstance(profile, list) else str(profile)


def _second(label: Any) -> bool:
    match label:
        case bool():
            pass
        case -1 | 0 | "-1" | "0" | "left" | "a" | "A":
            return False
        case 1 | "1" | "right" | "b" | "B":
            return True
    raise Rejected("no_label", f"the label is {label!r:.40}; -1, 0 or left is the first answer, 1 or right the second")


def _history(given: Any, most: int, drawn_by: tuple[str, int]) -> tuple[tuple[str, ...], tuple[str, ...] | None]:
    """Earlier choices in words, the two answers of each in an order that tells nothing; and the ids of those pairs."""
    if not isinstance(given, list):
        raise Rejected("bad_history", f"the history is {type(given).__name__}, not a list")
    told, pair_ids = [], []
    for item in given[-most:]:
        if isinstance(item, str):
            told.append(f"Earlier this person wrote:\n{item}")
            continue
        try:
            asked, chosen, rejected = (str(item[key]) for key in ("prompt", "chosen", "rejected"))
        except (KeyError, TypeError):
            raise Rejected("bad_history", f"an item is {str(item)[:60]}, not {{prompt, chosen, rejected}}") from None
        if not chosen.strip() or not rejected.strip():
            continue
        prompt_id = ids.prompt_id((Message("user", asked),))
        arms = ids.arm(prompt_id, None, chosen), ids.arm(prompt_id, None, rejected)
        pair_ids.append(ids.pair_id("given", None, *arms))
        swap = ids.seed("history", *drawn_by, pair_ids[-1]) & 1
        one, other = (rejected, chosen) if swap else (chosen, rejected)
        told.append(
            f"Earlier this person asked:\n{asked}\nAnswer 1:\n{one}\nAnswer 2:\n{other}\n"
            f"They preferred answer {2 if swap else 1}."
        )
    return tuple(told), tuple(pair_ids) or None
