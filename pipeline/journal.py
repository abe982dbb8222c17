"""Answers of a shard in progress, kept as they come, so that nothing an engine computed is computed twice.

One file beside the shard, appended to for each answer and deleted when the shard is committed. What a killed writer left
half-written at the end is cut off. A request is known by its key. Verdicts that a slow machine may decide otherwise are
kept too (`Context.once`).
"""

from __future__ import annotations

import errno
import os
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TypeVar

import msgspec
import numpy as np

from pipeline.engine import Completion, Engine, Request, RewardRequest, ScoreRequest
from pipeline.errors import RunError

Asked = TypeVar("Asked", Request, RewardRequest)
A = TypeVar("A")

_LENGTH = 4  # bytes before each entry
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(tuple[str, msgspec.Raw]).decode
_completions = msgspec.msgpack.Decoder(list[Completion])
_rewards = msgspec.msgpack.Decoder(list[float])


class Journal:
    """What was answered so far, by name; `add` outlives this process at once."""

    def __init__(self, path: str) -> None:
        self._path = Path(path)
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._known: dict[str, msgspec.Raw] = {}
        self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        os.ftruncate(self._file, self._read())

    def _read(self) -> int:
        """Fills `_known`; returns where the last whole entry ends."""
        data, at = self._path.read_bytes(), 0
        while (start := at + _LENGTH) <= len(data):
            end = start + int.from_bytes(data[at:start], "big")
            try:
                name, answer = _decode(data[start:end])
            except msgspec.DecodeError:  # cut short, or what a power cut left
                break
            self._known[name] = answer
            at = end
        return at

    def find(self, name: str) -> msgspec.Raw | None:
        """What was answered before this process began, as MessagePack, or None."""
        return self._known.get(name)

    def add(self, name: str, answer: object) -> None:
        """Appends one answer in one write. Raises RunError when the disk is full."""
        entry = _encode((name, answer))
        entry = len(entry).to_bytes(_LENGTH, "big") + entry
        try:
            whole = os.write(self._file, entry) == len(entry)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            whole = False
        if not whole:
            raise RunError(f"disk full while writing {self._path}; free space and run again, what is finished is kept")

    def close(self, delete: bool = False) -> None:
        """Ends the journal; `delete`: the shard is committed, nobody needs it any more."""
        os.close(self._file)
        if delete:
            self._path.unlink(missing_ok=True)


class JournaledEngine:
    """An `Engine` that is asked only what the journal does not hold. Scores and embeddings have no key: not kept."""

    def __init__(self, alias: str, engine: Engine, journal: Journal) -> None:
        self._alias = alias
        self._engine = engine
        self._journal = journal

    async def generate(self, requests: Sequence[Request]) -> list[list[Completion]]:
        """See Engine."""
        return await self._kept_or(self._engine.generate, requests, _completions)

    async def score(self, requests: Sequence[ScoreRequest]) -> list[list[float]]:
        """See Engine."""
        return await self._engine.score(requests)

    async def reward(self, requests: Sequence[RewardRequest]) -> list[list[float]]:
        """See Engine."""
        return await self._kept_or(self._engine.reward, requests, _rewards)

    async def _kept_or(
        self,
        ask: Callable[[Sequence[Asked]], Awaitable[list[A]]],
        requests: Sequence[Asked],
        shape: msgspec.msgpack.Decoder[A],
    ) -> list[A]:
        """What the journal holds, and what the engine says to the rest, which is kept."""
        names = [f"{self._alias}:{request.key}" for request in requests]
        answers = {name: shape.decode(kept) for name in names if (kept := self._journal.find(name)) is not None}
        missing = [i for i, name in enumerate(names) if name not in answers]
        fresh = await ask([requests[i] for i in missing]) if missing else []
        for i, answer in zip(missing, fresh, strict=True):
            self._journal.add(names[i], answer)
        answers |= {names[i]: answer for i, answer in zip(missing, fresh, strict=True)}
        return [answers[name] for name in names]

    async def embed(self, texts: Sequence[str]) -> np.ndarray:
        """See Engine."""
        return await self._engine.embed(texts)

    async def close(self) -> None:
        """See Engine."""
        await self._engine.close()

    def stats(self) -> dict[str, float]:
        """See Engine."""
        return self._engine.stats()
