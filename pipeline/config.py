"""A config file as data, and data as models: what is wrong is one line that says where, what exists and what to do."""

from __future__ import annotations

import difflib
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from pipeline.engine import resolve_path
from pipeline.errors import PlanError

M = TypeVar("M", bound=BaseModel)


class _Loader(yaml.SafeLoader):
    """Refuses a key that stands twice in one mapping; of the two, YAML would silently forget the first."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """The mapping as a dict."""
        seen: set[str] = set()
        for key in [key for key, _ in node.value if isinstance(key, yaml.ScalarNode)]:
            if key.value in seen:
                raise yaml.constructor.ConstructorError(
                    problem=f"{key.value} stands twice", problem_mark=key.start_mark
                )
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def read_config(path: str) -> dict[str, Any]:
    """The YAML at `path`, or the shipped config of that name. Raises PlanError with the line that is wrong."""
    file = resolve_path(path)
    if not file.is_file():
        shipped = resolve_path("configs") / f"{path}.yaml"
        if not shipped.is_file():
            known = ", ".join(sorted(p.stem for p in resolve_path("configs").glob("*.yaml")))
            raise PlanError(f"no config at {path!r}; give the path of a YAML file or a shipped name: {known}")
        file = shipped
    try:
        data = _Loader(file.read_text(encoding="utf-8")).get_single_data()
    except yaml.MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise PlanError(f"{file}{line} is not valid YAML: {error.problem}") from None
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise PlanError(f"{file} is not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(data, dict):
        raise PlanError(f"{file} must be a mapping with name, engines and jobs, found {type(data).__name__}")
    return data


def validate(model: type[M], data: Mapping[str, Any], what: str) -> M:
    """`data` as a `model`. Raises PlanError: pydantic's first complaint, with the keys that exist where one is unknown."""
    try:
        return model.model_validate(data)
    except ValidationError as failure:
        # An unknown key first: it is often the misspelt one that another complaint misses.
        error = min(failure.errors(), key=lambda e: e["type"] != "extra_forbidden")
    where = ".".join(str(p) for p in error["loc"])
    if error["type"] == "extra_forbidden":
        known = _keys(model, error["loc"][:-1])
        near = difflib.get_close_matches(str(error["loc"][-1]), known, 1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise PlanError(f"{what}: unknown key {where!r}; {hint}keys: {', '.join(known)}")
    if error["type"] == "missing":
        raise PlanError(f"{what}: {where} is required")
    told = error["msg"].removeprefix("Value error, ")
    raise PlanError(f"{what}: {where}: {told} (found {error['input']!r:.80})" if where else f"{what}: {told}")


def _keys(model: type[BaseModel], where: tuple[int | str, ...]) -> list[str]:
    """The keys of the model that is nested at `where`."""
    for part in where:
        field = model.model_fields.get(str(part))
        hint = field.annotation if field else None
        inner = [h for h in (hint, *typing.get_args(hint)) if isinstance(h, type) and issubclass(h, BaseModel)]
        if inner:  # else `part` is a place in a list, or which of several forms was tried
            model = inner[0]
    return [field.alias or name for name, field in model.model_fields.items()]
