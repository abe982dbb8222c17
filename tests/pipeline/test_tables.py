"""Rows and Arrow tables: every record comes back, and the columns are what Arrow itself would make of the rows."""

from __future__ import annotations

import types
import typing
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.pair import Pair
from pipeline.records import Candidate, Judgment, Message, Prompt, Rationale, Record, Reject
from pipeline.tables import arrow_schema, from_table, table_name, to_table

TYPES: tuple[type[Record], ...] = (Prompt, Candidate, Judgment, Rationale, Pair, Reject)
text = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)


def any_of(hint: Any) -> st.SearchStrategy[Any]:
    """Values of a field's type."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return st.one_of(*(any_of(a) for a in arguments))
    if origin is tuple:
        return st.lists(any_of(arguments[0]), max_size=2).map(tuple)
    if origin is typing.Literal:
        return st.sampled_from(arguments)
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        hints = typing.get_type_hints(hint)
        return st.builds(hint, **{name: any_of(hints[name]) for name in hint.__struct_fields__})
    simple: dict[Any, st.SearchStrategy[Any]] = {
        str: text, int: st.integers(-(2**63), 2**63 - 1), bool: st.booleans(), type(None): st.none(),
        float: st.floats(allow_nan=False),
    }  # fmt: skip
    return simple[hint]


def prompts(n: int) -> list[Prompt]:
    return [Prompt(f"{i:032x}", f"{i:032x}", (Message("user", f"q {i} é 日本"),)) for i in range(n)]


def parquet(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    return bytes(sink.getvalue())


@pytest.mark.parametrize("cls", TYPES, ids=table_name)
@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_every_record_comes_back_as_it_was(cls: type[Record], data: st.DataObject) -> None:
    rows = data.draw(st.lists(any_of(cls), max_size=3))
    assert from_table(cls, to_table(cls, rows)) == rows


@pytest.mark.parametrize("cls", TYPES, ids=table_name)
@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_a_file_has_the_bytes_that_arrow_makes_row_by_row(cls: type[Record], data: st.DataObject) -> None:
    rows = data.draw(st.lists(any_of(cls), min_size=1, max_size=3)) * 2
    plain = pa.Table.from_pylist(msgspec.to_builtins(rows), arrow_schema(cls))
    assert parquet(to_table(cls, rows)) == parquet(plain)


def test_zeros_of_either_sign_stay_apart() -> None:
    rows = [Judgment("p", "k", "j", "aspect", "judge", (), "ok", value=value) for value in (0.0, -0.0, None)]
    assert str(to_table(Judgment, rows).column("value").to_pylist()) == "[0.0, -0.0, None]"


def test_rows_of_a_slice_are_the_rows_of_the_whole() -> None:
    rows = [Judgment(f"p{i}", "k", "j", "aspect", "judge", ("a",) * i, "ok") for i in range(5)]
    assert from_table(Judgment, to_table(Judgment, rows).slice(1, 3)) == rows[1:4]


@pytest.mark.parametrize("cls", TYPES, ids=table_name)
def test_a_column_is_nullable_where_the_record_allows_none(cls: type[Record]) -> None:
    hints = typing.get_type_hints(cls)
    for field in arrow_schema(cls):
        assert field.nullable == (type(None) in typing.get_args(hints[field.name])), field.name
    assert arrow_schema(cls).names == list(cls.__struct_fields__)


def test_null_is_not_a_low_score() -> None:
    unread = Judgment("p", "k", "j", "aspect", "judge", ("c",), "parse_error")
    assert to_table(Judgment, [unread]).column("value").to_pylist() == [None]


def test_a_missing_value_in_a_required_column_is_refused() -> None:
    broken = Reject("p", "job", "row", typing.cast(str, 3))
    with pytest.raises((TypeError, pa.ArrowInvalid)):
        to_table(Reject, [broken])


def test_tables_of_older_runs_lack_columns_that_have_a_default() -> None:
    table = to_table(Prompt, prompts(2)).drop_columns(["ext_json", "split"])
    assert from_table(Prompt, table) == prompts(2)
