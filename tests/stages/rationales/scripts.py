"""An author that answers from a script, a pair, and the stage run on it."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from pipeline.engine import Completion, Request
from pipeline.pair import Generation, Pair
from pipeline.records import Judgment, Message, Prompt, Rationale
from pipeline.stage import Context, Example
from stages.rationales.explain import Explain
from tests.doubles import Mute

QUESTION = Message("user", "Mia has 3 apples and buys 4. How many has she?")
GOOD, BAD = "Step 1: 3 + 4 = 7\nAnswer: 7", "Step 1: 3 + 4 = 8\nAnswer: 8"


class Script(Mute):
    """An engine that is a function from request to answer."""

    def __init__(self, answer: Callable[[Request], str | Completion]) -> None:
        self.answer = answer
        self.asked: list[Request] = []

    async def generate(self, requests: Sequence[Request]) -> list[list[Completion]]:
        self.asked.extend(requests)
        answers = [self.answer(r) for r in requests]
        return [[a if isinstance(a, Completion) else Completion(a, "stop", 90, 60)] for a in answers]


def pair(name: str = "pair", chosen: str = GOOD, rejected: str = BAD, **fields: Any) -> Pair:
    return Pair(
        prompt_id="p", pair_id=name, unordered_id="u", base_prompt_id="p", kind="response",
        level=fields.pop("level", "response"), prompt_messages=(QUESTION,), chosen_messages=(Message("assistant", chosen),),
        rejected_messages=(Message("assistant", rejected),), label_source="verifier",
        chosen_gen=Generation("id-" + chosen[-1]), rejected_gen=Generation("id-" + rejected[-1]), **fields,
    )  # fmt: skip


def shown_text(request: Request) -> str:
    assert request.messages is not None
    return request.messages[-1].content


def honest(request: Request) -> str:
    """Prefers the response with the right sum, wherever it stands."""
    right = "A" if shown_text(request).index("= 7") < shown_text(request).index("= 8") else "B"
    return verdict(right)


def verdict(right: str) -> str:
    wrong = "B" if right == "A" else "A"
    return json.dumps({
        "work": "1: 3 + 4 ~7 = 7; A 7 correct; B 8 wrong",
        "evidence": [{"side": wrong, "quote": "3 + 4 = 8", "point": "3 + 4 is 7, not 8"}],
        "elaboration": f"Response {wrong} goes wrong in step 1: 3 + 4 is 7, not 8. Response {right} has 7 there.",
        "verdict": {"label": right, "strength": 3},
    })  # fmt: skip


async def explain(
    answer: Callable[[Request], str],
    *pairs: Pair,
    verifier_says: Script | None = None,
    judgments: Sequence[Judgment] = (),
    **fields: Any,
) -> tuple[list[Rationale], Script, Context]:
    engine = Script(answer)
    engines = {"judge": engine} | ({"small": verifier_says} if verifier_says else {})
    context = Context("explain", "run", 7, "f", engines, engine_models={"judge": "org/Judge-1"})
    example: Example[Pair | Judgment] = Example(
        Prompt("p", "p", (QUESTION,)), pairs=pairs or (pair(),), judgments=judgments
    )
    return await Explain(engine="judge", **fields).process(example, context), engine, context
