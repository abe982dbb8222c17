"""Records as Arrow tables and back, column by column: no row ever becomes a dict, which would cost more than the stages.

Long tables repeat themselves (the job, the judge, the template of every row), so a column of one text, or of nothing, is
made in one piece.
"""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Sequence
from functools import cache
from itertools import accumulate, chain, pairwise
from typing import Any, TypeVar

import msgspec
import pyarrow as pa
from msgspec.structs import astuple

from pipeline.records import Record

R = TypeVar("R", bound=Record)
S = TypeVar("S", bound=msgspec.Struct)


def _inner(hint: Any) -> Any:
    """The type of a value that is there: `X` of `X | None`."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return next(a for a in typing.get_args(hint) if a is not type(None))
    return hint


@cache
def _arrow_type(hint: Any) -> pa.DataType:
    hint = _inner(hint)
    if typing.get_origin(hint) is tuple:
        return pa.list_(_arrow_type(typing.get_args(hint)[0]))
    if typing.get_origin(hint) is typing.Literal:
        return pa.string()
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        return pa.struct(_fields(hint))
    # float64 throughout: what a stage saw in memory and what the next reads from disk must be the same number
    simple = {str: pa.string(), int: pa.int64(), float: pa.float64(), bool: pa.bool_()}
    return simple[hint]


@cache
def _hints(cls: type[msgspec.Struct]) -> dict[str, Any]:
    """Field -> type hint, in order."""
    hints = typing.get_type_hints(cls)
    return {name: hints[name] for name in cls.__struct_fields__}


@cache
def _fields(cls: type[msgspec.Struct]) -> list[pa.Field]:
    return [
        pa.field(name, _arrow_type(hint), nullable=type(None) in typing.get_args(hint))
        for name, hint in _hints(cls).items()
    ]


@cache
def arrow_schema(cls: type[Record]) -> pa.Schema:
    """The Arrow schema of a record type: its fields in order, nullable where the hint allows None."""
    return pa.schema(_fields(cls))


def table_name(cls: type[Record]) -> str:
    """`Prompt` -> `prompts`."""
    return cls.__name__.lower() + "s"


def to_table(cls: type[R], rows: Sequence[R]) -> pa.Table:
    """Rows as an Arrow table; raises TypeError/ArrowInvalid for a value its column cannot hold."""
    return pa.Table.from_arrays(_columns(cls, rows), schema=arrow_schema(cls))


def _columns(cls: type[msgspec.Struct], rows: Sequence[msgspec.Struct]) -> list[pa.Array]:
    cells = list(chain.from_iterable(map(astuple, rows)))
    hints = _hints(cls).values()
    return [_array(cells[i :: len(hints)], hint) for i, hint in enumerate(hints)]


def _array(values: list[Any], hint: Any) -> pa.Array:
    """A column. Numbers are left out of the short cut: 0.0 equals -0.0."""
    kind = _arrow_type(hint)
    first, nested = (values[0] if values else None), pa.types.is_nested(kind)
    if type(first) is str and values.count(first) == len(values):
        return pa.repeat(pa.scalar(first, kind), len(values))
    if first is None and values.count(None) == len(values):
        # what stands under a struct that is not there must be no null where its field allows none
        return pa.array(values, kind) if nested else pa.nulls(len(values), kind)
    return _nested(values, hint) if nested else pa.array(values, kind)


def _nested(values: list[Any], hint: Any) -> pa.Array:
    """A column of lists or structs, of which at least one is there."""
    absent = [value is None for value in values]
    mask = pa.array(absent) if any(absent) else None
    inner = _inner(hint)
    if isinstance(inner, type) and issubclass(inner, msgspec.Struct):
        filler = values[absent.index(False)]  # stands where there is none, masked
        present = [filler if value is None else value for value in values]
        return pa.StructArray.from_arrays(_columns(inner, present), fields=_fields(inner), mask=mask)
    items = [() if value is None else value for value in values]
    ends = pa.array(accumulate(map(len, items), initial=0), pa.int32())
    inside = _array(list(chain.from_iterable(items)), typing.get_args(inner)[0])
    return pa.ListArray.from_arrays(ends, inside, _arrow_type(hint), mask=mask)


def from_table(cls: type[R], table: pa.Table) -> list[R]:
    """The records of an Arrow table, in order; Arrow has checked the types."""
    known = [name for name in cls.__struct_fields__ if table.schema.get_field_index(name) >= 0]
    return _structs(cls, {name: table.column(name).combine_chunks() for name in known}, len(table))


def _structs(cls: type[S], columns: dict[str, pa.Array], n: int) -> list[S]:
    if _positional(cls) == tuple(columns):
        return list(map(cls, *[_values(column, _hints(cls)[name]) for name, column in columns.items()]))
    # by name is three times as slow, so what is None anyway is left out
    named = {
        name: _values(column, _hints(cls)[name])
        for name, column in columns.items()
        if column.null_count < n or name not in _none_by_default(cls)
    }
    rows = zip(*named.values(), strict=True) if named else [()] * n
    return [cls(**dict(zip(named, row, strict=True))) for row in rows]


@cache
def _none_by_default(cls: type[msgspec.Struct]) -> frozenset[str]:
    return frozenset(field.name for field in msgspec.structs.fields(cls) if field.default is None)


@cache
def _positional(cls: type[msgspec.Struct]) -> tuple[str, ...]:
    return tuple(p.name for p in inspect.signature(cls).parameters.values() if p.kind != p.KEYWORD_ONLY)


def _values(array: pa.Array, hint: Any) -> list[Any]:
    """The values of a column as its hint has them."""
    if array.null_count == len(array):
        return [None] * len(array)
    if not pa.types.is_nested(array.type):
        return _flat(array)
    hint = _inner(hint)
    if pa.types.is_struct(array.type):
        inner = {array.type.field(i).name: array.field(i) for i in range(array.type.num_fields)}
        known = {name: inner[name] for name in hint.__struct_fields__ if name in inner}
        found: list[Any] = _structs(hint, known, len(array))
    else:
        items = _values(array.values, typing.get_args(hint)[0])
        found = [tuple(items[start:end]) for start, end in pairwise(array.offsets.to_pylist())]
    if array.null_count:
        found = [value if valid else None for value, valid in zip(found, array.is_valid().to_pylist(), strict=True)]
    return found


def _flat(array: pa.Array) -> list[Any]:
    """Texts are decoded once for each that is different: most columns hold few."""
    if not pa.types.is_string(array.type):
        return array.to_pylist()  # type: ignore[no-any-return]
    coded = array.dictionary_encode()
    texts = [*coded.dictionary.to_pylist(), None]  # None: the place -1
    return [texts[i] for i in coded.indices.fill_null(-1).to_pylist()]
