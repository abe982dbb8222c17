"""Rows of pairs that hold under a context (spec pairs 17.1). Pure.

`prompt_id` of a row is the source's prompt, by which tables are joined; `pair_id` and `unordered_id` hash the prompt that the
arms answer, which `prompt_messages` holds: the source's with the context in it.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec.structs import replace

from pipeline import ids
from pipeline.pair import Pair
from pipeline.records import Prompt
from stages.contexts.conditions import context_id, in_context
from stages.pairs.build import response_pair, score_columns
from stages.pairs.context_kinds import Draft
from stages.pairs.gate import Bounds, Gate, passed_filters


def conditional_pair(kind: str, prompt: Prompt, draft: Draft, gate: Gate, **columns: Any) -> Pair:
    """The row of a draft, not yet in its group."""
    asked = prompt
    if draft.context is not None:
        messages = in_context(prompt.messages, draft.context)
        asked = replace(
            prompt, messages=messages, prompt_id=ids.prompt_id(messages), context_id=context_id(draft.context)
        )
    chosen, rejected = draft.chosen.candidate, draft.rejected.candidate
    columns |= score_columns(draft.scores)
    if (belief := draft.belief) is not None:
        columns |= {"pref_prob": belief.p, "n_judges": belief.n_judges, "position_consistent": belief.consistent}
    if draft.dominance:
        columns["dominance"] = draft.dominance
    roles = {"chosen": draft.chosen.role, "rejected": draft.rejected.role}
    pair = response_pair(
        kind, asked, chosen, rejected,
        label_source=draft.source,
        rater=draft.rater,
        history_pair_ids=draft.history,
        filters=(*draft.filters, *passed_filters(None, Bounds(), gate)),
        ext_json=msgspec.json.encode({"made_for": roles}).decode() if any(roles.values()) else None,
        **columns,
    )  # fmt: skip
    return replace(pair, prompt_id=prompt.prompt_id, context=draft.context or pair.context)
