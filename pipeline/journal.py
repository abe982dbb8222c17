"""Answers of a shard in progress, kept as they come, so that nothing an engine computed is computed twice.

One file beside the shard, appended to for each answer and deleted when the shard is committed. What a killed writer left
half-written at the end is cut off. A request is known by its key. Verdicts that a slow machine may decide otherwise are
kept too (`Context.once`).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np

from pipeline.engine import Completion, Engine, Request, RewardRequest, ScoreRequest

_LENGTH = 4  # bytes before each entry
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(tuple[str, msgspec.Raw]).decode
_decode_completions = msgspec.msgpack.Decoder(list[Completion]).decode


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
            if end > len(data):
                break
            name, answer = _decode(data[start:end])
            self._known[name] = answer
            at = end
        return at

    def find(self, name: str) -> msgspec.Raw | None:
        """What was answered before this process began, as MessagePack, or None."""
        return self._known.get(name)

    def add(self, name: str, answer: object) -> None:
        """Appends one answer in one write."""
        entry = _encode((name, answer))
        os.write(self._file, len(entry).to_bytes(_LENGTH, "big") + entry)

    def close(self, delete: bool = False) -> None:
        """Ends the journal; `delete`: the shard is committed, nobody needs it any more."""
        os.close(self._file)
        if delete:
            self._path.unlink(missing_ok=True)


class JournaledEngine:
    """An `Engine` that is asked only what the journal does not hold. Scores, rewards and embeddings are not kept."""

    def __init__(self, alias: str, engine: Engine, journal: Journal) -> None:
        self._alias = alias
        self._engine = engine
        self._journal = journal

    async def generate(self, requests: Sequence[Request]) -> list[list[Completion]]:
        """See Engine."""
        kept = [self._journal.find(f"{self._alias}:{request.key}") for request in requests]
        answers = [None if answer is None else _decode_completions(answer) for answer in kept]
        missing = [i for i, answer in enumerate(answers) if answer is None]
        if missing:
            fresh = await self._engine.generate([requests[i] for i in missing])
            for i, completions in zip(missing, fresh, strict=True):
                self._journal.add(f"{self._alias}:{requests[i].key}", completions)
                answers[i] = completions
        return [answer for answer in answers if answer is not None]

    async def score(self, requests: Sequence[ScoreRequest]) -> list[list[float]]:
        """See Engine."""
        return await self._engine.score(requests)

    async def reward(self, requests: Sequence[RewardRequest]) -> list[list[float]]:
        """See Engine."""
        return await self._engine.reward(requests)

    async def embed(self, texts: Sequence[str]) -> np.ndarray:
        """See Engine."""
        return await self._engine.embed(texts)

    async def close(self) -> None:
        """See Engine."""
        await self._engine.close()

    def stats(self) -> dict[str, float]:
        """See Engine."""
        return self._engine.stats()
