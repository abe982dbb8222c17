"""The journal: answers that were given are not asked for again, whatever the writer left."""

from __future__ import annotations

import errno
import math
import os
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.msgpack import Decoder

from pipeline.engine import Completion, Request, RewardRequest, Sampling
from pipeline.engines.scripted import ScriptedEngine
from pipeline.errors import RunError
from pipeline.journal import Journal, JournaledEngine
from pipeline.stage import Context

READ = Decoder(list[Completion]).decode
ANSWER = [Completion("é", "stop", 3, 1, labels={"A": -0.5, "B": -math.inf}, token_ids=(5,), token_texts=("é",))]


class Counting(ScriptedEngine):
    """Answers with the key of the request."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def generate(self, requests: Sequence[Request]) -> list[list[Completion]]:
        self.asked += [request.key for request in requests]
        return [[Completion(request.key, "stop", 1, 1)] for request in requests]

    async def reward(self, requests: Sequence[RewardRequest]) -> list[list[float]]:
        self.asked += [request.key for request in requests]
        return [[math.nan, float(len(request.key))] for request in requests]


def ask(*keys: str) -> list[Request]:
    return [Request(Sampling(), key, 1) for key in keys]


def found(journal: Journal, name: str) -> list[Completion] | None:
    answer = journal.find(name)
    return None if answer is None else READ(answer)


def test_an_answer_comes_back_as_it_was_given(tmp_path: Path) -> None:
    journal = Journal(str(tmp_path / "job" / "0.journal"))
    assert journal.find("k") is None
    journal.add("k", ANSWER)
    journal.close()
    assert found(Journal(str(tmp_path / "job" / "0.journal")), "k") == ANSWER


@given(cut=st.integers(0, 200))
def test_what_was_left_half_written_is_cut_off(tmp_path_factory: pytest.TempPathFactory, cut: int) -> None:
    path = tmp_path_factory.mktemp("journal") / "0.journal"
    journal = Journal(str(path))
    journal.add("one", ANSWER)
    first = path.stat().st_size
    journal.add("two", ANSWER)
    journal.close()
    whole = path.read_bytes()
    path.write_bytes(whole[:cut])
    again = Journal(str(path))
    assert (found(again, "one"), found(again, "two")) == (
        ANSWER if cut >= first else None,
        ANSWER if cut >= len(whole) else None,
    )
    again.add("three", ANSWER)
    again.close(delete=False)
    assert found(Journal(str(path)), "three") == ANSWER


async def test_only_what_is_missing_is_asked(tmp_path: Path) -> None:
    engine, path = Counting(), str(tmp_path / "0.journal")
    first = JournaledEngine("policy", engine, Journal(path))
    assert [c.text for [c] in await first.generate(ask("a", "b"))] == ["a", "b"]
    second = JournaledEngine("policy", engine, Journal(path))
    assert [c.text for [c] in await second.generate(ask("c", "b", "a"))] == ["c", "b", "a"]
    assert engine.asked == ["a", "b", "c"]
    await JournaledEngine("judge", engine, Journal(path)).generate(ask("a"))
    assert engine.asked[-1] == "a"  # another engine's answer is another answer


async def test_rewards_are_kept_like_answers(tmp_path: Path) -> None:
    engine, path = Counting(), str(tmp_path / "0.journal")
    await JournaledEngine("prm", engine, Journal(path)).reward([RewardRequest("long"), RewardRequest("a")])
    [[nothing, score]] = await JournaledEngine("prm", engine, Journal(path)).reward([RewardRequest("long")])
    assert math.isnan(nothing)
    assert (score, engine.asked) == (4.0, ["long", "a"])


@pytest.mark.parametrize("rest", [b"\x00" * 64, b"\x00\x00\x00\x02\xc1\xc1", b"\xff" * 9])
def test_what_is_no_entry_ends_the_journal(tmp_path: Path, rest: bytes) -> None:
    path = tmp_path / "0.journal"
    journal = Journal(str(path))
    journal.add("one", ANSWER)
    journal.close()
    whole = path.read_bytes()
    path.write_bytes(whole + rest)
    assert found(Journal(str(path)), "one") == ANSWER
    assert path.read_bytes() == whole


@pytest.mark.parametrize("written", [3, OSError(errno.ENOSPC, "No space left on device")])
def test_a_full_disk_stops_the_run_before_more_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: int | OSError
) -> None:
    journal = Journal(str(tmp_path / "0.journal"))

    def write(file: int, data: bytes) -> int:
        if isinstance(written, OSError):
            raise written
        return written

    monkeypatch.setattr(os, "write", write)
    with pytest.raises(RunError, match=r"disk full while writing .*0\.journal"):
        journal.add("one", ANSWER)


def test_a_committed_shard_leaves_no_journal(tmp_path: Path) -> None:
    journal = Journal(str(tmp_path / "0.journal"))
    journal.close(delete=True)
    assert list(tmp_path.iterdir()) == []


async def test_what_may_be_decided_otherwise_is_asked_once_where_there_is_a_journal(tmp_path: Path) -> None:
    asked: list[int] = []

    async def slow() -> tuple[str, bool | None]:
        asked.append(1)
        return f"answer {len(asked)}", None

    def context(journal: Journal | None) -> Context:
        return Context("job", "run", 1, "f", {}, journal=journal)

    shape = Decoder(tuple[str, bool | None])
    path = str(tmp_path / "0.journal")
    assert await context(Journal(path)).once("verify:x", shape, slow) == ("answer 1", None)
    assert await context(Journal(path)).once("verify:x", shape, slow) == ("answer 1", None)
    assert await context(Journal(path)).once("verify:y", shape, slow) == ("answer 2", None)
    assert await context(None).once("verify:x", shape, slow) == ("answer 3", None)
