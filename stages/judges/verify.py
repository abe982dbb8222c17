"""verify: is the answer right? Compares each candidate's final answer with the reference, without a model.

Tri-state: value 1.0 right, 0.0 wrong, None unknown. Unknown has a status: `na` (no reference, or nothing readable),
`truncated` (cut before it answered), `timeout`, `parse_error`. What cannot be read is never wrong.
"""

from __future__ import annotations

import asyncio
from functools import cached_property
from typing import ClassVar

import msgspec

from pipeline import ids
from pipeline.records import Candidate, Judgment, ToolCall
from pipeline.stage import Context, Example, Stage
from stages.judges.answers import Answer, Reference
from stages.judges.outcomes import AnswerCheck, Verdict

_encode = msgspec.json.Encoder().encode


class Verify(AnswerCheck, Stage):
    """Outcome of each candidate against the reference; the fields say how they are compared."""

    version: ClassVar[int] = 2
    not_identity: ClassVar[frozenset[str]] = frozenset({"workers"})

    @cached_property
    def _identity(self) -> str:
        return ids.content_hash("verify/1", self.version, self.model_dump(mode="json", exclude=set(self.not_identity)))

    async def process(self, example: Example[Candidate], ctx: Context) -> list[Judgment]:
        """One judgment per candidate, mode `tool`."""
        reference = self.known(example.prompt.reference)
        judged: list[Judgment] = []
        waiting: list[tuple[int, Candidate, Answer | None]] = []
        for candidate in example.candidates:
            answer, verdict = self.glance(candidate.text, candidate.finish_reason, reference)
            if verdict is None:
                waiting.append((len(judged), candidate, answer))
            judged.append(self._judgment(ctx, candidate, reference, answer, verdict or (None, "na")))
        if waiting and reference is not None:
            slow = await asyncio.gather(*[self.ask(c.text, answer, reference) for _, c, answer in waiting])
            for (at, candidate, _), (answer, verdict) in zip(waiting, slow, strict=True):
                judged[at] = self._judgment(ctx, candidate, reference, answer, verdict)
        return judged

    def _judgment(
        self,
        ctx: Context,
        candidate: Candidate,
        reference: Reference | None,
        answer: Answer | None,
        verdict: Verdict,
    ) -> Judgment:
        equal, status = verdict
        known = reference.text[:200] if reference is not None else None
        read = answer.text[:200] if answer is not None else None
        arguments = _encode({"answer": read, "reference": known}).decode()
        observation = {True: "equal", False: "different", None: status}[equal]
        tool = "regex" if self.method == "regex" else reference.method if reference is not None else self.method
        return Judgment(
            prompt_id=candidate.prompt_id,
            judgment_key=ids.content_hash(
                "judgment/1", self._identity, candidate.prompt_id, candidate.candidate_id, reference and reference.text
            ),
            job=ctx.job,
            mode="tool",
            judge_id=f"verify:{self.method}",
            cand_ids=(candidate.candidate_id,),
            status=status,
            value=None if equal is None else float(equal),
            value_mode=None if equal is None else float(equal),
            judge_family="tool",
            raw_text=read,
            tool_trace=(ToolCall(tool, arguments, observation, equal is not None),),
        )
