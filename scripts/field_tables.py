"""A pydantic model as Markdown: what its docstrings and comments say of each field, its type, default and bounds."""

from __future__ import annotations

import ast
import enum
import inspect
import re
import textwrap
import types
import typing
from collections.abc import Iterable, Mapping
from typing import Any, Literal

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

CODE = re.compile(r"(`[^`]*`)")
LIST = re.compile(r"\s*- (\{|stage:)")
LONGEST = 80  # characters of a default
SOURCE = re.compile(
    r"\s*\(spec [^()]*\)|; spec [^();]*(?=[;)])"
)  # which paragraph of a design a code follows is for who changes it
BOUNDS = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<", "min_length": "at least", "max_length": "at most"}


def prose(text: str) -> str:
    """A docstring as Markdown: jobs of a config in a block of YAML, tables, and all else as text that cannot be markup."""
    blocks: list[str] = []
    text = SOURCE.sub("", text.strip())
    for block in re.split(r"\n\s*\n", text):
        lines = block.splitlines()
        if all(line.lstrip().startswith("|") for line in lines):
            blocks.append("\n".join(escaped(line.strip()).replace("\\|", "|") for line in lines))
            continue
        start = next((i for i, line in enumerate(lines) if LIST.match(line)), len(lines))
        end = start
        while end < len(lines) and (LIST.match(lines[end]) or (lines[end].startswith(" ") and end > start)):
            end += 1
        for part, is_code in ((lines[:start], False), (lines[start:end], True), (lines[end:], False)):
            if part:
                body = "\n".join(part)
                blocks.append(
                    f"```yaml\n{textwrap.dedent(body)}\n```" if is_code else _listed(escaped(textwrap.dedent(body)))
                )
    return "\n\n".join(blocks)


def _listed(text: str) -> str:
    """With the empty line that Markdown wants before a list and behind it."""
    text = re.sub(r"^(?!- )(.+)\n(?=- )", r"\1\n\n", text, flags=re.MULTILINE)
    return re.sub(r"^((?:- |  ).*)\n(?!- |  )(?=.)", r"\1\n\n", text, flags=re.MULTILINE)


def escaped(text: str) -> str:
    """Text whose characters mean themselves; what stands between backticks is code already."""
    parts = CODE.split(text)
    return "".join(
        part if i % 2 else re.sub(r"([*_\[\]#|])", r"\\\1", part.replace("&", "&amp;").replace("<", "&lt;"))
        for i, part in enumerate(parts)
    )


def about(cls: type[BaseModel]) -> tuple[str, dict[str, str]]:
    """What a class's docstring says: of the class, and (`field: meaning`) of its fields."""
    text = inspect.cleandoc(cls.__dict__.get("__doc__") or "")
    names = "|".join([*cls.model_fields, "Counts", "Further fields"])
    found = list(re.finditer(rf"(?:^|(?<=[.;)]) )((?:`?(?:{names})`?(?:, (?:and )?)?)+): ", text, re.MULTILINE))
    meanings: dict[str, str] = {}
    kept = [text[: found[0].start()] if found else text]
    for this, following in zip(found, [*found, None][1:], strict=True):
        said = text[this.end() : following.start() if following else len(text)]
        if this[1] in ("Counts", "Further fields"):
            kept.append(text[this.start() : following.start() if following else len(text)])
            continue
        said, _, rest = said.partition("\n\n")
        kept.append(rest)
        for name in re.findall(r"\w+", this[1]):
            meanings[name] = " ".join(said.split())
    return "\n\n".join(part.strip() for part in kept if part.strip() and part.strip() != "."), meanings


def comments(cls: type[BaseModel]) -> dict[str, str]:
    """Field -> the comment behind it in the source."""
    try:
        source = textwrap.dedent(inspect.getsource(cls))
    except (OSError, TypeError):
        return {}
    lines, found = source.splitlines(), {}
    [definition] = [node for node in ast.parse(source).body if isinstance(node, ast.ClassDef)]
    for node in definition.body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            behind = lines[(node.end_lineno or node.lineno) - 1].encode()[node.end_col_offset :].decode()
            if "#" in behind and "fmt:" not in behind and "noqa" not in behind and "type:" not in behind:
                found[node.target.id] = behind.split("#", 1)[1].strip()
    return found


def meanings(cls: type[BaseModel]) -> dict[str, str]:
    """Field -> what is said of it, by the class itself or one that it inherits from."""
    found: dict[str, str] = {}
    for base in reversed([c for c in cls.__mro__ if issubclass(c, BaseModel) and c is not BaseModel]):
        told, said = comments(base), about(base)[1]
        for name in {*told, *said}:
            found[name] = "; ".join(dict.fromkeys(text for text in (said.get(name), told.get(name)) if text))
    return found


def kind(hint: Any) -> str:
    """A type in words."""
    origin, inside = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        return kind(inside[0])
    if origin is Literal:
        return " or ".join(f"`{value}`" for value in inside)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(dict.fromkeys(kind(part) for part in inside))
    if origin in (list, tuple, set, frozenset) and inside:
        parts = [part for part in inside if part is not Ellipsis]
        many = origin is not tuple or Ellipsis in inside
        return f"list of {kind(parts[0])}" if many else f"[{', '.join(map(kind, parts))}]"
    if origin is not None and len(inside) == 2:
        return f"mapping of {kind(inside[0])} to {kind(inside[1])}"
    if hint is type(None):
        return "null"
    if isinstance(hint, type) and issubclass(hint, BaseModel):
        return f"[{hint.__name__}](#{hint.__name__.lower()})"
    names = {str: "text", int: "integer", float: "number", bool: "true or false", Any: "anything", dict: "mapping"}
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return " or ".join(f"`{member.value}`" for member in hint)
    return names.get(hint, getattr(hint, "__name__", str(hint)))


def nested(cls: type[BaseModel]) -> dict[str, type[BaseModel]]:
    """The models that fields of `cls` hold, and those that these hold."""
    found: dict[str, type[BaseModel]] = {}
    waiting = [field.annotation for field in cls.model_fields.values()]
    while waiting:
        hint = waiting.pop()
        if isinstance(hint, type) and issubclass(hint, BaseModel) and hint.__name__ not in found:
            found[hint.__name__] = hint
            waiting += [field.annotation for field in hint.model_fields.values()]
        waiting += typing.get_args(hint)
    return dict(sorted(found.items()))


def field_table(cls: type[BaseModel], leave_out: Iterable[str] = ()) -> str:
    """The fields of a model as a table; empty where it has none."""
    said, rows = meanings(cls), []
    for name, field in cls.model_fields.items():
        if name not in leave_out:
            cells = (f"`{field.alias or name}`", _bounded(field), _default(field), escaped(said.get(name, "")))
            rows.append("| " + " | ".join(cells) + " |\n")
    return "| field | type | default | |\n|---|---|---|---|\n" + "".join(rows) if rows else ""


def _bounded(field: FieldInfo) -> str:
    bounds = [
        f"{sign} {value}"
        for part in field.metadata
        for name, sign in BOUNDS.items()
        if isinstance(value := getattr(part, name, None), (int, float))
    ]
    return ", ".join([kind(field.annotation), *(bound.replace("<", "&lt;") for bound in bounds)])


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True, validated_data={})
    if value is None or value is PydanticUndefined:
        return "–"
    text = plain(value)
    return f"`{text if len(text) <= LONGEST else f'{text[:LONGEST]} …'}`" if text else "empty"


def plain(value: Any) -> str:
    """A default as one would write it in a config."""
    if isinstance(value, BaseModel):
        return "{" + ", ".join(f"{k}: {plain(v)}" for k, v in value.model_dump(exclude_defaults=True).items()) + "}"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{k}: {plain(v)}" for k, v in value.items()) + "}"
    if isinstance(value, (list, tuple, set, frozenset)):
        return (
            "["
            + ", ".join(plain(each) for each in (sorted(value) if isinstance(value, (set, frozenset)) else value))
            + "]"
        )
    if isinstance(value, bool):
        return str(value).lower()
    return repr(value)[1:-1] if isinstance(value, str) else str(value)
