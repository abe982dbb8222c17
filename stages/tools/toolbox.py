"""The tools a judge may use, by name. Every call comes back as a ToolCall: an observation, and whether the tool worked."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any, Literal

from pipeline.records import ToolCall, storable
from stages.sandbox.limits import DEFAULT, Limits
from stages.sandbox.sandbox import run_python
from stages.tools.calculator import calculate
from stages.tools.corpus import K_MAX, read_corpus, snippet
from stages.tools.dates import answer_dates

ToolName = Literal["calculator", "dates", "python", "search"]
MAX_OBSERVATION = 2_000  # characters


class Toolbox:
    """Tools of one job. Equal calls are made once; call it anew for each example.

    corpus: path that `search` reads. limits, workers: of `python`.
    """

    def __init__(
        self, tools: Sequence[ToolName], corpus: str | None = None, limits: Limits = DEFAULT, workers: int = 2
    ) -> None:
        self._tools = tuple(tools)
        self._corpus = corpus
        self._limits = limits
        self._workers = workers
        self._calls: dict[tuple[str, str], asyncio.Task[ToolCall]] = {}

    async def call(self, tool: str, argument: str) -> ToolCall:
        """What the tool says to `argument`; `ok` is false where it failed, and the observation says why.

        Raises EngineError where Python cannot be isolated.
        """
        key = (tool, argument)
        if key not in self._calls:
            self._calls[key] = asyncio.ensure_future(self._call(tool, argument))
        return await self._calls[key]

    async def _call(self, tool: str, argument: str) -> ToolCall:
        arguments: dict[str, Any] = {"input": storable(argument)}
        if tool not in self._tools:
            known = ", ".join(self._tools)
            return ToolCall(tool[:40], json.dumps(arguments), f"error: there is no such tool; tools: {known}", False)
        try:
            ok, text = await self._python(argument) if tool == "python" else (True, self._answer(tool, argument))
        except ValueError as error:  # CalculationError and DateError among them
            ok, text = False, f"error: {error}"
        return ToolCall(tool, json.dumps(arguments, ensure_ascii=False), cut(storable(text)), ok)

    def _answer(self, tool: str, argument: str) -> str:
        if tool == "calculator":
            return calculate(argument)
        if tool == "dates":
            return answer_dates(argument)
        query, k = _query(argument)
        found = read_corpus(self._corpus or "").search(query, k)
        if not found:
            raise ValueError("nothing found; try other words")
        return "\n".join(f"[{i}] {snippet(passage, query)}" for i, passage in enumerate(found, 1))

    async def _python(self, code: str) -> tuple[bool, str]:
        found = await run_python(code, self._limits, workers=self._workers)
        if found.status == "ok":
            return True, found.output or "nothing was printed"
        return False, f"{found.status}: {found.detail}\n{found.output}".strip()


def _query(argument: str) -> tuple[str, int]:
    """`words`, or `{"query": words, "k": 5}`."""
    try:
        asked = json.loads(argument)
        return str(asked["query"]), max(1, min(int(asked.get("k", 3)), K_MAX))
    except (ValueError, KeyError, TypeError, AttributeError):
        return argument, 3


def cut(text: str) -> str:
    """`text` with its middle left out where it is long."""
    if len(text) <= MAX_OBSERVATION:
        return text
    half = MAX_OBSERVATION // 2
    return f"{text[:half]}\n… {len(text) - 2 * half} characters left out …\n{text[-half:]}"
