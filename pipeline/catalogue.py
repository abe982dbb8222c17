"""Which stages there are: the files in stages/, found by name, and modules of the user's own."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from pipeline.engine import ROOT, load_module
from pipeline.errors import PlanError
from pipeline.stage import Stage


@cache
def stage_files() -> Mapping[str, Path]:
    """Stage name -> its file. Files that hold no Stage subclass are pure helpers of their topic."""
    found = sorted((ROOT / "stages").glob("*/*.py"))
    return {p.stem: p for p in found if p.stem != "__init__" and "Stage)" in p.read_text(encoding="utf-8")}


def stage_class(name: str) -> type[Stage]:
    """The stage called `name`: the one Stage subclass in stages/*/<name>.py, or, where the name has a dot, in the user's
    module of that name. Raises PlanError with what exists."""
    if "." in name:
        module = load_module(name, f"stage {name!r}")
    elif name in stage_files():
        module = importlib.import_module(f"stages.{stage_files()[name].parent.name}.{name}")
    else:
        raise PlanError(f"unknown stage {name!r}; stages: {', '.join(stage_files())}; or your own: package.module")
    found = [
        c for _, c in inspect.getmembers(module, inspect.isclass)
        if issubclass(c, Stage) and c.__module__ == module.__name__
    ]  # fmt: skip
    if len(found) != 1:
        raise PlanError(f"{module.__file__} must hold one Stage subclass, found {len(found)}")
    return found[0]
