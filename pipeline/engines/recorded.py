"""Answers kept in a file, or in the tables of a finished run: replay instead of a model."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from pipeline import ids
from pipeline.engine import Capability, Completion, EngineConfig, Request, RewardRequest, ScoreRequest, resolve_path
from pipeline.errors import PlanError, Rejected
from pipeline.model_files import files_digest
from pipeline.records import Message

Answers = dict[str, list[Completion]]
Numbers = dict[str, list[float]]  # rewards, log-probabilities and embeddings by what they are and of what


class Recorded(EngineConfig):
    """Replays `path`: a JSONL or Parquet file, or the folder of a run, whose candidates, judgments and rationales are
    found by the keys their stages ask with.

    A row is `{key | messages | prompt, completions: [text | {text, …}]}`, `{key | messages, rewards: [number]}` (messages
    end with the answer, a tag behind each step), `{messages | prompt, continuation, logps: [nats of each token]}` or
    `{text, embedding: [number]}`. A request is looked up by its key, then by its messages, then by its last user text,
    and gets the first n answers.
    """

    kind: str = "recorded"
    model: str = "recorded"
    path: str

    not_identity: ClassVar[frozenset[str]] = frozenset({"resources", "path"})  # the content counts, not where it is

    def capabilities(self) -> frozenset[Capability]:
        """Whatever was recorded; what was not is rejected row by row."""
        return super().capabilities() | {"score", "reward", "embed"}

    def check(self) -> None:
        """Raises PlanError when there is nothing to replay."""
        if not self._files():
            raise PlanError(f"recorded path {self.path!r} is no .jsonl or .parquet file and no folder of a run")

    def identity(self) -> dict[str, Any]:
        """The fields, and a digest of the files in the place of their path."""
        return super().identity() | {"content": files_digest(self._files())}

    async def open(self) -> RecordedEngine:
        """Reads everything. Raises PlanError with the line that is not as described."""
        self.check()
        path = resolve_path(self.path)
        return RecordedEngine(*(_read_run(self._files()) if path.is_dir() else _read_rows(path)), str(self.path))

    def _files(self) -> list[Path]:
        path = resolve_path(self.path)
        if path.is_dir():
            return sorted(path.glob("*/*.parquet"))
        return [path] if path.is_file() and path.suffix in {".jsonl", ".parquet"} else []


class RecordedEngine:
    """Looks answers up; says so when there are none, and never gives one twice for the same request."""

    def __init__(self, answers: Answers, numbers: Numbers, path: str) -> None:
        self._answers, self._numbers = answers, numbers
        self._path = path
        self._requests = self._tokens = 0

    async def generate(self, requests: Sequence[Request]) -> list[list[Completion]]:
        """The first `sampling.n` answers of each request. Raises Rejected (not_recorded) when there are fewer."""
        return [self._find(request) for request in requests]

    async def score(self, requests: Sequence[ScoreRequest]) -> list[list[float]]:
        """Recorded log-probabilities. Raises Rejected (not_recorded)."""
        named = [([_of_messages(r.messages), _of_text(r.messages)] if r.messages else [], r) for r in requests]
        return [self._look_up([_of_score(name, r.continuation) for name in names]) for names, r in named]

    async def reward(self, requests: Sequence[RewardRequest]) -> list[list[float]]:
        """Recorded rewards. Raises Rejected (not_recorded)."""
        return [self._look_up([f"reward:{name}" for name in (r.key, _of_answer(r))]) for r in requests]

    async def embed(self, texts: Sequence[str]) -> np.ndarray:
        """Recorded embeddings. Raises Rejected (not_recorded)."""
        return np.asarray([self._look_up([f"embed:{text}"]) for text in texts], dtype=np.float32)

    async def close(self) -> None:
        """Nothing to free."""

    def stats(self) -> dict[str, float]:
        """Counters since start."""
        return {"requests": self._requests, "prompt_tokens": 0, "tokens": self._tokens}

    def _look_up(self, names: Sequence[str]) -> list[float]:
        found = next((self._numbers[name] for name in names if name in self._numbers), None)
        if found is None:
            raise Rejected("not_recorded", f"nothing is recorded in {self._path} for {' or '.join(names)[:200]}")
        self._requests += 1
        return found

    def _find(self, request: Request) -> list[Completion]:
        answers, n = self._answers, request.sampling.n
        found = answers.get(request.key)
        if found is None and request.messages is not None:
            found = answers.get(_of_messages(request.messages)) or answers.get(_of_text(request.messages))
        if not found:
            raise Rejected("not_recorded", f"nothing is recorded in {self._path} for request {request.key}")
        if len(found) < n:
            told = f"{n} answers asked, {len(found)} recorded in {self._path} for request {request.key}"
            raise Rejected("not_recorded", told)
        self._requests += 1
        self._tokens += sum(completion.n_tokens for completion in found[:n])
        return found[:n]


def _of_messages(messages: Sequence[Message]) -> str:
    return "messages:" + ids.prompt_id(messages)


def _of_text(messages: Sequence[Message]) -> str:
    return "text:" + next((m.content for m in reversed(messages) if m.role == "user"), "")


def _of_answer(request: RewardRequest) -> str:
    answer = [Message("assistant", "".join([step + request.step_tag for step in request.steps]))]
    return _of_messages([*(request.messages or ()), *(answer if request.steps else ())])


def _of_score(name: str, continuation: str | tuple[int, ...]) -> str:
    return f"score:{name}:{continuation}"


def _read_rows(path: Path) -> tuple[Answers, Numbers]:
    """Recordings of a file, by key, messages and text; completions of rows that name the same request add up."""
    answers: Answers = {}
    numbers: Numbers = {}
    for number, row in _rows(path):
        try:
            if row.get("embedding") is not None:
                numbers[f"embed:{row['text']}"] = _floats(row["embedding"])
            elif row.get("rewards") is not None:
                numbers[f"reward:{_named(row)}"] = _floats(row["rewards"])
            elif row.get("logps") is not None:
                numbers[_of_score(_named(row), row["continuation"])] = _floats(row["logps"])
            else:
                name, completions = _named(row), [_completion(c) for c in row["completions"]]
                answers.setdefault(name, []).extend(completions)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            told = f"{path}, row {number}: {type(error).__name__} {error}"
            raise PlanError(f"{told}; expected {{key | messages | prompt, completions: [text | {{text}}]}}") from None
    return answers, numbers


def _floats(given: Iterable[Any]) -> list[float]:
    return [float(number) for number in given]


def _rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    if path.suffix == ".parquet":
        import pyarrow.parquet as pq

        yield from enumerate(pq.read_table(path).to_pylist(), 1)
        return
    with path.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            if line.strip():
                try:
                    yield number, json.loads(line)
                except ValueError as error:  # also text that is not UTF-8
                    raise PlanError(f"{path}, row {number} is not JSON: {error}") from None


def _named(row: dict[str, Any]) -> str:
    if row.get("key"):
        return str(row["key"])
    if row.get("messages"):
        return _of_messages([Message(m["role"], m["content"]) for m in row["messages"]])
    return f"text:{row['prompt']}"


def _completion(given: str | dict[str, Any]) -> Completion:
    answer: dict[str, Any] = {"text": given} if isinstance(given, str) else given
    if not isinstance(text := answer["text"], str):
        raise TypeError(f"text is {type(text).__name__}")
    return Completion(
        text=text,
        finish_reason=answer.get("finish_reason") or "stop",
        n_prompt_tokens=answer.get("n_prompt_tokens") or 0,
        n_tokens=answer.get("n_tokens") or len(text.split()),
        token_ids=tuple(answer["token_ids"]) if answer.get("token_ids") else None,
        mean_logp=answer.get("mean_logp"),
        labels=answer.get("labels"),
        model=answer.get("model"),
    )


def _read_run(files: Iterable[Path]) -> tuple[Answers, Numbers]:
    """Recordings of a run's tables; a table is known by its columns. Candidates come in the order of their samples."""
    import pyarrow.parquet as pq

    answers: Answers = {}
    numbers: Numbers = {}
    for file in files:
        names = set(pq.read_schema(file).names)
        column = next((c for c in _READERS if c in names), None)
        if column is None:
            continue
        rows = pq.read_table(file, partitioning=None).to_pylist()
        for row in sorted(rows, key=lambda r: r["sample_idx"]):
            if row.get("mode") == "rm" and row["value"] is not None:
                numbers[f"reward:{row['judgment_key']}"] = [row["value"]]
            if row.get("raw_text", "") is not None:  # else a call that brought no answer
                key, completion = _READERS[column](row)
                answers.setdefault(key, []).append(completion)
    return answers, numbers


def _of_candidate(row: dict[str, Any]) -> tuple[str, Completion]:
    return f"{row['job']}:{row['prompt_id']}", _completion(row)


def _of_judgment(row: dict[str, Any]) -> tuple[str, Completion]:
    labels = None
    if row["label_probs"]:  # stored renormalised beside their mass; asked for as they were
        mass = row["label_mass"] or 1.0
        labels = {x["label"]: math.log(x["p"] * mass) if x["p"] > 0 else -math.inf for x in row["label_probs"]}
    finish = "length" if row["status"] == "truncated" else "stop"
    n_in, n_out = row["n_in"] or 0, row["n_out"] or 0
    return row["judgment_key"], Completion(row["raw_text"], finish, n_in, n_out, labels=labels)


def _of_rationale(row: dict[str, Any]) -> tuple[str, Completion]:
    finish = "length" if row["reject_reason"] == "truncated" else "stop"
    return row["rationale_id"], Completion(row["raw_text"], finish, 0, row["n_tokens"] or 0)


# The column that only this table has -> how its rows are read. Rationales also name their pair, candidates do not.
_READERS: dict[str, Callable[[dict[str, Any]], tuple[str, Completion]]] = {
    "judgment_key": _of_judgment,
    "rationale_id": _of_rationale,
    "sample_idx": _of_candidate,
}
