"""docs/search.md says what the code does: every preset field by field, and every mode, rule, form and source by name."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

import pytest

from stages.pairs.segments import Form
from stages.pairs.step_rules import RuleName
from stages.pairs.trajectories import ORDERS
from stages.search.fields import SearchFields
from stages.search.machine import BY_ROLLOUTS, STEPWISE
from stages.search.presets import PRESETS
from stages.search.rules import ValueSource

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "search.md").read_text(encoding="utf-8")


def flat(fields: Mapping[str, Any], before: str = "") -> dict[str, str]:
    """Fields of blocks as `block.field`, values as a config writes them."""
    found: dict[str, str] = {}
    for name, value in fields.items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{before}{name}.")
        else:
            found[f"{before}{name}"] = value if isinstance(value, str) else json.dumps(value)
    return found


def told(preset: str) -> dict[str, str]:
    """The table under the preset's heading."""
    section = PAGE.split(f"### {preset}\n")[1].split("\n#")[0]
    rows = re.findall(r"^\| ([\w.]+) \| (.+?) \| .+ \|$", section, re.MULTILINE)
    return {field: value for field, value in rows if field != "field"}


@pytest.mark.parametrize("preset", [name for name, fields in PRESETS.items() if fields])
def test_a_preset_is_told_field_by_field(preset: str) -> None:
    assert told(preset) == flat(PRESETS[preset])


def test_the_defaults_that_are_told_are_the_defaults() -> None:
    defaults = flat(SearchFields(engine="policy").model_dump(mode="json"))
    assert len(told("default")) > 10
    assert told("default").items() <= defaults.items()


@pytest.mark.parametrize(
    "name", [*STEPWISE, *BY_ROLLOUTS, *get_args(RuleName), *get_args(Form), *ORDERS, *get_args(ValueSource)]
)
def test_what_a_config_may_name_is_told(name: str) -> None:
    assert re.search(rf"\b{name}\b", PAGE)
