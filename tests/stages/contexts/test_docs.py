"""docs/contexts.md names every kind that the stages have, and no stage that does not exist."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import yaml

from pipeline.catalogue import stage_class, stage_files
from stages.pairs.context_kinds import RULES, MirrorKind
from stages.pairs.pair_aspects import PairAspects
from stages.pairs.pair_contexts import PairContexts
from stages.sources.prompts import Prompts

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "contexts.md").read_text(encoding="utf-8")
KINDS = set(re.findall(r"^\| `(\w+)`", PAGE, re.MULTILINE))


def literals(hint: object) -> set[str]:
    return {name for part in get_args(hint) for name in (literals(part) if get_args(part) else {part})}


def test_every_kind_has_its_line() -> None:
    kinds = literals(PairContexts.model_fields["kind"].annotation) | literals(
        PairAspects.model_fields["kind"].annotation
    )
    assert kinds | {"joint", "factors"} == KINDS
    assert literals(MirrorKind) | set(get_args(MirrorKind)) == set(RULES)


def test_every_stage_of_contexts_is_told() -> None:
    own = {name for name, path in stage_files().items() if path.parent.name == "contexts"}
    assert own <= set(re.findall(r"`(\w+)`", PAGE))


def test_the_jobs_of_the_page_are_valid() -> None:
    jobs = yaml.safe_load(PAGE.split("```yaml\n")[1].split("```")[0])
    assert len(jobs) == 5
    for job in jobs:
        stage = job.pop("stage")
        made = stage_class(stage).model_validate(job)
        assert isinstance(made, Prompts) == (stage == "prompts")
