"""Asking a model for text of a given form, and again where the form was not kept. What failed is a reject, never text.

The stages that construct answers and prompts share these fields and this loop; what they ask and read is their own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

from pydantic import BaseModel, ConfigDict, Field, field_validator

from pipeline.engine import Completion, Request, Sampling
from pipeline.errors import Rejected
from pipeline.records import Message, Prompt, Reject
from pipeline.stage import Context
from stages.judges.calls import answer_each

T = TypeVar("T")


class Question(NamedTuple):
    """One call. `purpose` names it by content (never by position): the seed is derived from it."""

    purpose: str
    messages: tuple[Message, ...] | None = None
    token_ids: tuple[int, ...] | None = None
    schema: dict[str, Any] | None = None  # JSON schema that the answer is held to


class Heard(NamedTuple, Generic[T]):
    """What was read from an answer, and the answer."""

    value: T
    completion: Completion
    seed: int


class Asking(BaseModel):
    """How a model is asked.

    sampling: one answer a call. max_attempts: an answer that is cut or not of the form asked for is asked for again
    with another seed (a greedy one is not: it would be the same). max_chars: a longer question is not asked, never cut.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    engine: str
    template: str = "default"
    sampling: Sampling = Sampling(max_tokens=1024)
    max_attempts: int = Field(3, ge=1, le=10)
    max_chars: int = Field(40_000, ge=1)

    @field_validator("sampling")
    @classmethod
    def _one_answer(cls, sampling: Sampling) -> Sampling:
        if sampling.n != 1:
            raise ValueError(f"n is {sampling.n}; every call is asked for one answer")
        return sampling

    async def heard(
        self, prompt: Prompt, questions: Sequence[Question], read: Callable[[str], T], ctx: Context
    ) -> list[Heard[T] | Rejected]:
        """What `read` makes of the answer to each question, or why there is nothing. Raises EngineError.

        read: from the answer's text to a value; raises Rejected for a text of another form.
        """
        found: dict[str, Heard[T] | Rejected] = {}
        waiting = []
        for question in {question.purpose: question for question in questions}.values():
            if (n := sum([len(m.content) for m in question.messages or ()])) > self.max_chars:
                found[question.purpose] = Rejected("too_long", f"{n} characters to show, max_chars is {self.max_chars}")
            else:
                waiting.append(question)
        for attempt in range(self.max_attempts if self.sampling.temperature > 0 else 1):
            requests = [self._request(prompt, question, attempt, ctx) for question in waiting]
            answers = await answer_each(ctx.engines[self.engine], requests)
            again = []
            for question, request, answer in zip(waiting, requests, answers, strict=True):
                found[question.purpose] = got = _read(answer, request, read)
                if isinstance(got, Rejected) and isinstance(answer, Completion):
                    again.append(question)
            waiting = again
            if not waiting:
                break
        return [found[question.purpose] for question in questions]

    def _request(self, prompt: Prompt, question: Question, attempt: int, ctx: Context) -> Request:
        messages, begun = begun_by(question.messages)
        return Request(
            sampling=self.sampling,
            key=f"{ctx.job}:{prompt.prompt_id}:{question.purpose}:{attempt}",
            seed=ctx.seed(prompt.prompt_id, question.purpose, attempt),
            messages=messages,
            assistant_prefix=begun,
            token_ids=question.token_ids,
            structured={"json": question.schema} if question.schema else None,
        )

    def sampled(self, heard: Heard[Any], ctx: Context) -> dict[str, Any]:
        """The columns of a candidate that say how its text was sampled."""
        return {
            "model": heard.completion.model or ctx.engine_models.get(self.engine),
            "engine": ctx.engine_kinds.get(self.engine),
            "temperature": self.sampling.temperature,
            "top_p": self.sampling.top_p,
            "seed": heard.seed,
            "max_tokens": self.sampling.max_tokens,
            "finish_reason": heard.completion.finish_reason,
        }


def begun_by(messages: tuple[Message, ...] | None) -> tuple[tuple[Message, ...] | None, str]:
    """The messages to send, and the text that the answer begins with: a last turn of the assistant is to be continued."""
    if messages and messages[-1].role == "assistant":
        return messages[:-1], messages[-1].content
    return messages, ""


def _read(answer: Completion | Rejected, request: Request, read: Callable[[str], T]) -> Heard[T] | Rejected:
    if isinstance(answer, Rejected):
        return answer
    if answer.finish_reason != "stop":
        return Rejected("truncated", f"the answer ended by {answer.finish_reason}")
    try:
        return Heard(read(request.assistant_prefix + answer.text), answer, request.seed)
    except Rejected as why:
        return why


def lost(prompt: Prompt, why: Rejected, subject_id: str | None, ctx: Context) -> Reject:
    """The row for an answer that could not be made, counted as `lost:<reason>`. subject_id: what it was to be made of."""
    ctx.count(f"lost:{why.reason}")
    return Reject(prompt.prompt_id, ctx.job, "candidate", why.reason, why.detail, subject_id)
