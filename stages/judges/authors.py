"""A model that writes what candidates will be judged by (criteria, check functions), before it has seen any of them."""

from __future__ import annotations

from functools import cached_property
from typing import Any, ClassVar, Literal

from pipeline.engine import Completion
from pipeline.records import Judgment, Prompt, Status
from pipeline.stage import Context
from stages.judges.questions import JudgeCalls, Question
from stages.judges.verdicts import Reading


class Author(JudgeCalls):
    """How it is asked. stage: whose templates it uses. writes: what, the aspect of its rows. least: fewer are a failed call."""

    stage: ClassVar[str]
    writes: ClassVar[str]

    mode: Literal["expected", "parsed"] = "parsed"
    least: int

    def status(self, text: str) -> Status:
        """Whether a complete reply holds enough."""
        raise NotImplementedError

    def labels(self) -> tuple[str, ...]:
        """None: it writes."""
        return ()

    def read(self, completion: Completion, row: Judgment) -> Reading:
        """No value: whether there is something to read."""
        return Reading("truncated" if completion.finish_reason != "stop" else self.status(completion.text))

    async def written(
        self, prompt: Prompt, ctx: Context, number: int = 0, **variables: Any
    ) -> tuple[list[Judgment], str | None]:
        """Its rows (mode `meta`, without candidates), and the reply that holds enough, if any. Raises EngineError.

        number: of what it is asked about one prompt. variables: of its template, beside those of the prompt and `least`.
        """
        row = self.row(self.frame(prompt.prompt_id, "meta", ctx), (), aspect=self.writes, sample_idx=number)
        messages = self._template.render(least=self.least, **variables, **self.about(prompt))
        rows = await self.answered([Question((row,), messages)], ctx)
        return rows, (rows[-1].raw_text or "") if rows[-1].status == "ok" else None

    @cached_property
    def _stage(self) -> str:
        return self.stage
