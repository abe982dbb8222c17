"""Shards: what is written comes back, the same rows give the same bytes, and nothing half written is ever seen."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq
import pytest

from pipeline.errors import RunError
from pipeline.records import Candidate, Message, Prompt, Reject
from pipeline.store import Store
from pipeline.tables import from_table, to_table

REPORT = {"rows_in": 2, "counts": {"kept": 2}}


def prompts(n: int) -> list[Prompt]:
    return [Prompt(f"{i:032x}", f"{i:032x}", (Message("user", f"q {i} é 日本"),)) for i in range(n)]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "run"))


def test_the_same_rows_give_the_same_bytes(store: Store, tmp_path: Path) -> None:
    rows = prompts(9000)  # more than one row group
    store.write("a", 0, {Prompt: rows}, REPORT)
    written = (tmp_path / "run/a/00000.parquet").read_bytes()
    again = Store(str(tmp_path / "elsewhere"))
    again.write("a", 0, {Prompt: from_table(Prompt, to_table(Prompt, rows))}, dict(reversed(REPORT.items())))
    assert (tmp_path / "elsewhere/a/00000.parquet").read_bytes() == written
    assert pq.read_metadata(tmp_path / "run/a/00000.parquet").num_row_groups == 2


def test_a_shard_says_nothing_of_time_or_place(store: Store, tmp_path: Path) -> None:
    store.write("a", 0, {Prompt: prompts(3)}, REPORT)
    assert str(tmp_path).encode() not in (tmp_path / "run/a/00000.parquet").read_bytes()


def test_a_shard_carries_its_report_and_side_tables(store: Store) -> None:
    rejects = [Reject("p", "a", "row", "empty_prompt", "line 3")]
    store.write("a", 7, {Prompt: prompts(2), Candidate: [], Reject: rejects}, REPORT)
    assert store.done("a") == {7}
    assert store.report("a", 7) == REPORT
    assert store.read("a", Prompt, 7, main=True) == prompts(2)
    assert store.read("a", Reject, 7, main=False) == rejects
    assert store.read("a", Candidate, 7, main=False) == []
    assert store.names() == ["a", "a.rejects"]


def test_an_earlier_attempt_leaves_no_side_table_behind(store: Store) -> None:
    store.write("a", 0, {Prompt: prompts(1), Reject: [Reject("p", "a", "row", "x")]}, REPORT)
    store.write("a", 0, {Prompt: prompts(1), Reject: []}, REPORT)
    assert store.read("a", Reject, 0, main=False) == []


def test_the_main_table_is_the_commit(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    put = Store._put

    def fails_at_main(self: Store, data: pa.Buffer, *parts: str) -> None:
        if parts[0] == "a":
            raise KeyboardInterrupt
        put(self, data, *parts)

    monkeypatch.setattr(Store, "_put", fails_at_main)
    with pytest.raises(KeyboardInterrupt):
        store.write("a", 0, {Prompt: prompts(1), Reject: [Reject("p", "a", "row", "x")]}, REPORT)
    assert store.done("a") == set()


def test_what_is_half_written_has_another_name(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[set[int]] = []
    sync = os.fsync

    def look(fd: int) -> None:
        seen.append(store.done("a"))
        sync(fd)

    monkeypatch.setattr(os, "fsync", look)
    store.write("a", 0, {Prompt: prompts(1)}, REPORT)
    assert seen == [set()]
    assert store.done("a") == {0}


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_full_disk_is_one_line_and_leaves_nothing(store: Store, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    store.write("a", 0, {Prompt: prompts(1)}, REPORT)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, call, full)
    with pytest.raises(RunError, match=r"disk full while writing .*00001.parquet; free space and run again") as caught:
        store.write("a", 1, {Prompt: prompts(1)}, REPORT)
    assert "\n" not in str(caught.value)
    assert store.names("a") == ["00000.parquet"]
    assert store.read("a", Prompt, 0, main=True) == prompts(1)


def test_leftovers_of_killed_writers_are_no_shards_and_are_swept(store: Store, tmp_path: Path) -> None:
    store.write("a", 0, {Prompt: prompts(1)}, REPORT)
    for name in ("00001.parquet.tmp-99-abc123", "00000.journal", "00001.journal"):
        (tmp_path / "run/a" / name).write_bytes(b"PAR1")
    assert store.done("a") == {0}
    store.sweep(["a"])
    assert store.names("a") == ["00000.parquet", "00001.journal"]  # of a shard that is still to be done


@pytest.mark.parametrize("content", [b"", b"PAR1", b"not parquet at all"])
def test_a_file_that_is_no_shard_is_told_by_name(store: Store, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "run/a").mkdir(parents=True)
    (tmp_path / "run/a/00000.parquet").write_bytes(content)
    with pytest.raises(RunError, match=r"a/00000.parquet is not a complete prefsynth shard"):
        store.report("a", 0)


def test_a_foreign_parquet_file_is_no_shard(store: Store, tmp_path: Path) -> None:
    (tmp_path / "run/a").mkdir(parents=True)
    pq.write_table(pa.table({"x": [1]}), tmp_path / "run/a/00000.parquet")
    with pytest.raises(RunError, match="is not a complete prefsynth shard"):
        store.report("a", 0)


def test_texts_are_replaced_whole(store: Store) -> None:
    assert store.read_text("a", "job.json") is None
    store.write_text("one é", "a", "job.json")
    store.write_text("two", "a", "job.json")
    assert store.read_text("a", "job.json") == "two"
    assert store.names("a") == ["job.json"]


def test_removing_a_folder_may_leave_the_recipe_for_last(store: Store) -> None:
    store.write_text("{}", "a", "job.json")
    store.write("a", 0, {Prompt: prompts(1)}, REPORT)
    store.remove("a", "job.json")
    assert store.names("a") == ["job.json"]
    store.remove("a")
    assert store.names() == []


@pytest.fixture
def bucket(tmp_path: Path) -> Store:
    """A store on a file system in memory, which like an object store shows a file when it is closed."""
    store = Store(str(tmp_path))
    store.fs, store.base, store.is_local = pafs._MockFileSystem(), "bucket/run", False
    for folder in ("a", "a.rejects"):  # which an object store does not need
        store.fs.create_dir(f"bucket/run/{folder}", recursive=True)
    return store


def test_a_store_may_be_an_object_store(bucket: Store) -> None:
    assert not bucket.is_local
    assert bucket.done("a") == set()
    bucket.write_text("{}", "a", "job.json")
    for shard in (0, 1):
        bucket.write("a", shard, {Prompt: prompts(2), Reject: [Reject("p", "a", "row", "x")]}, REPORT)
    assert bucket.done("a") == {0, 1}
    assert bucket.report("a", 1) == REPORT
    assert bucket.read("a", Prompt, 1, main=True) == prompts(2)
    assert len(bucket.read("a", Reject, 0, main=False)) == 1
    assert bucket.read_text("a", "job.json") == "{}"
    bucket.remove("a.rejects")
    assert bucket.names() == ["a"]


def test_a_root_may_be_an_uri(tmp_path: Path) -> None:
    store = Store(f"file://{tmp_path}/run")
    assert store.is_local
    store.write_text("x", "a", "job.json")
    assert (tmp_path / "run/a/job.json").read_text() == "x"


def test_both_kinds_of_store_hold_the_same_bytes(bucket: Store, store: Store, tmp_path: Path) -> None:
    for each in (bucket, store):
        each.write("a", 0, {Prompt: prompts(5)}, REPORT)
    with bucket.fs.open_input_stream(bucket.path("a", "00000.parquet")) as stream:
        assert bytes(stream.read()) == (tmp_path / "run/a/00000.parquet").read_bytes()
