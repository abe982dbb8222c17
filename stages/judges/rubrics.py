"""Rubrics and criteria that come with a prompt: columns of the source, kept in `ext_json`. Pure."""

from __future__ import annotations

from typing import Any

import msgspec
from pydantic import ValidationError

from pipeline.errors import Rejected
from pipeline.records import Prompt
from stages.judges.aspects import Aspect
from stages.judges.hygiene import as_data


def kept_column(prompt: Prompt, column: str) -> Any:
    """What the source kept of `column` (`columns: {keep: [column]}`), JSON text decoded. Raises Rejected without it."""
    kept = msgspec.json.decode(prompt.ext_json) if prompt.ext_json else {}
    value = kept.get(column)
    if value is None:
        raise Rejected(
            f"missing_{column}", f"the prompt has no {column}; keep the column: columns: {{keep: [{column}]}}"
        )
    if isinstance(value, str) and value.lstrip()[:1] in ("[", "{"):
        try:
            return msgspec.json.decode(value)
        except (msgspec.DecodeError, RecursionError):
            return value
    return value


def read_rubric(value: Any, n_levels: int) -> Aspect:
    """A rubric of Prometheus's form `{criteria, score1_description, …}`, or of an aspect's, as one aspect.

    Raises Rejected (bad_rubric) when it is neither, or does not describe `n_levels` levels.
    """
    try:
        if isinstance(value, dict) and "criteria" in value:
            levels = [as_data(str(value[f"score{i}_description"])) for i in range(1, n_levels + 1)]
            value = {"name": "rubric", "description": as_data(str(value["criteria"])), "levels": levels}
        aspect = Aspect.model_validate(value)
    except (KeyError, ValidationError) as error:
        told = f"expected criteria and score1_description to score{n_levels}_description, got {str(value)[:80]}"
        raise Rejected("bad_rubric", told) from error
    if len(aspect.levels) != n_levels:
        raise Rejected("bad_rubric", f"it describes {len(aspect.levels)} levels, the scale has {n_levels}")
    return aspect
