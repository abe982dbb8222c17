"""Scripted judges: what tests and benchmarks drive the judging stages with, without a model."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from pipeline.engine import Completion, Request
from pipeline.errors import EngineError
from pipeline.records import Candidate, Judgment, Message, Prompt
from pipeline.stage import Context, Example

Answer = Callable[[Request], Completion]
QUESTION = "What is 17 + 25?"


class Script:
    """An engine that is a function from request to answer; it keeps what it was asked."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.asked: list[Request] = []

    async def generate(self, requests: Sequence[Request]) -> list[list[Completion]]:
        """One answer each."""
        self.asked.extend(requests)
        return [[self.answer(request)] for request in requests]

    async def score(self, requests: Sequence[Any]) -> list[list[float]]:
        """Raises EngineError."""
        raise EngineError("not scripted")

    async def reward(self, requests: Sequence[Any]) -> list[list[float]]:
        raise EngineError("not scripted")

    async def embed(self, texts: Sequence[str]) -> np.ndarray:
        """Raises EngineError."""
        raise EngineError("not scripted")

    async def close(self) -> None:
        """Nothing to free."""

    def stats(self) -> dict[str, float]:
        """No counters."""
        return {}


def context(answer: Answer, job: str = "judge") -> tuple[Context, Script]:
    """A context whose engines `judge` and `author` answer by script."""
    script = Script(answer)
    models = {"judge": "org/Judge-1", "author": "org/Author-1"}
    return Context(job, "run", 7, "f", {"judge": script, "author": script}, engine_models=models), script


def example(*texts: str, judgments: Sequence[Judgment] = (), ext_json: str | None = None) -> Example[Any]:
    """A sum and answers to it; candidates are called c0, c1 …"""
    prompt = Prompt("p", "p", (Message("user", QUESTION),), "42", ext_json=ext_json)
    candidates = [Candidate("p", f"c{i}", text, "generate") for i, text in enumerate(texts)]
    return Example(prompt, candidates, judgments)


async def judged(stage: Any, answer: Answer, *texts: str) -> tuple[list[Judgment], Script]:
    """What a stage makes of the sum and its answers, and the engine with all it was asked."""
    ctx, script = context(answer)
    return list(await stage.process(example(*texts), ctx)), script


def asked_text(request: Request) -> str:
    """All that a request shows."""
    return "\n\n".join(message.content for message in request.messages or ())


# --- a judge that is honest about what it is shown ---

_OPEN = re.compile(r"^<(response(?:_[a-z0-9]+)?|prompt|reference|criterion)>\n", re.MULTILINE)
_SUM = re.compile(r"17 \+ 25 = (\d+)")
_ROLE = re.compile(r"<\|[^<>|]*\|>|\[/?INST\]|<</?SYS>>|<(?:start|end)_of_turn>|</?s>|<｜[^｜]*｜>|<bos>|<eos>")
_FOLDED = str.maketrans("‹›﹤﹥〈〉⟨⟩❮❯аеорсѕηοеп／⁄", "<><><><><>aeopcsnoen//")


def folded(text: str) -> str:
    """`text` as a reader with bad eyes sees it: no invisible characters, no accents, look-alikes as what they imitate."""
    seen = [c for c in unicodedata.normalize("NFKD", text) if unicodedata.category(c) not in ("Cf", "Mn", "Me", "Cc")]
    return re.sub(r"\s", "", "".join(seen).casefold().translate(_FOLDED))


def quotations(shown: str) -> tuple[str, list[tuple[str, str]]]:
    """(what stands outside of quotations, [(tag, content)]). A quotation ends at the first thing that looks like its end."""
    outside, quoted, at = "", [], 0
    while (found := _OPEN.search(shown, at)) is not None:
        outside += shown[at : found.end()]
        inside = ""
        rest = shown[found.end() :]
        for end, char in enumerate(rest):
            inside += char
            if char in ">›﹥〉⟩❯＞" and re.search(rf"</{found[1]}[^<>]*>\Z", folded(inside[-300:])):
                at = found.end() + end + 1
                break
        else:
            at = len(shown)
        quoted.append((found[1], inside))
        outside += inside[-len(found[1]) - 3 :]
    return outside + shown[at:], quoted


def honest(frame: str, reasoned: bool) -> Answer:
    """A judge of sums that recomputes what is quoted, and obeys whatever is not quoted.

    frame: what stands outside of quotations where nobody interferes. Where anything else stands there, or a quotation
    speaks in control tokens or hides characters, it gives the verdict an intruder wants. reasoned: it quotes what it
    was shown before its verdict.
    """

    def answer(request: Request) -> Completion:
        shown = asked_text(request)
        outside, quoted = quotations(shown)
        contents = [content for tag, content in quoted if tag.startswith("response")]
        fooled = outside != frame or any(map(_interferes, contents))
        right = [fooled or _is_right(content) for content in contents]
        said = _verdict(outside, right)
        label = said.split()[-1]
        text = "I was shown\n" + "\nand\n".join(contents) + f"\nand recomputed it.\n{said}" if reasoned else said
        rest = [other for other in request.labels if other != label]
        labels = {label: math.log(0.9)} | dict.fromkeys(rest, math.log(0.1 / max(1, len(rest)))) if rest else None
        return Completion(text, "stop", len(shown) // 4, len(text) // 4, labels=labels)

    return answer


def _interferes(content: str) -> bool:
    hidden = any(unicodedata.category(c) in ("Cf", "Cc") and c not in "\n\t\u200c\u200d" for c in content)
    return hidden or _ROLE.search(content) is not None


def _is_right(content: str) -> bool:
    found = _SUM.search(content)
    return found is not None and found[1] == "42"


def _verdict(outside: str, right: Sequence[bool]) -> str:
    """In the form that the question asks for."""
    if "<response_1>" in outside:
        return "\n".join(f"Response {i}: {5 if r else 1}" for i, r in enumerate(right, 1))
    if "<response_a>" in outside:
        return f"Answer: {'T' if right[0] == right[1] else 'A' if right[0] else 'B'}"
    if "<criterion>" in outside:
        return f"Answer: {'Yes' if right[0] else 'No'}"
    return f"[RESULT] {5 if right[0] else 1}" if "[RESULT]" in outside else f"Score: {5 if right[0] else 1}"
