"""`pip install .` takes along all that the program reads from its own folders, and asks for all that it imports."""

from __future__ import annotations

import ast
import fnmatch
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("pipeline", "stages", "models", "prompts", "configs")
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


@pytest.mark.parametrize("package", PACKAGES)
def test_every_file_of_a_package_is_code_or_matches_the_package_data(package: str) -> None:
    tool = PROJECT["tool"]["setuptools"]
    patterns = ["*.py", *tool["package-data"]["*"]]
    assert {package, f"{package}.*"} <= set(tool["packages"]["find"]["include"])
    files = [p for p in (ROOT / package).rglob("*") if p.is_file() and "__pycache__" not in p.parts]
    assert files
    assert [str(p) for p in files if not any(fnmatch.fnmatch(p.name, pattern) for pattern in patterns)] == []


def test_every_library_that_is_imported_is_asked_for() -> None:
    project = PROJECT["project"]
    asked = [*project["dependencies"], *(line for lines in project["optional-dependencies"].values() for line in lines)]
    wanted = {re.split(r"[\[<>=]", line)[0].lower().replace("_", "-") for line in asked}
    wanted |= {"torch"}  # comes with vLLM, which decides its version
    brings = dict(packages_distributions())
    brings["vllm"] = ["vllm"]  # its CPU build has another name
    missing = set()
    for path in (p for package in ("pipeline", "stages") for p in (ROOT / package).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            for top in {name.split(".")[0] for name in names} - sys.stdlib_module_names - set(PACKAGES):
                if not {d.lower().replace("_", "-") for d in brings.get(top, [top])} & wanted:
                    missing.add(f"{path.relative_to(ROOT)} imports {top}")
    assert missing == set()
