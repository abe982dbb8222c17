"""run_checks: does a candidate keep its instruction, by Python functions that a model wrote (AutoIF; spec pairs 14.4, V15)?

    - {stage: run_checks, functions: eval_func, cases: cases}   # columns that the source kept
    - {stage: run_checks, author: writer}                       # a model writes them for each prompt

The code is nobody's: it runs in the sandbox. Tri-state: value 1.0 kept, 0.0 broken, None unknown: a crash, a time-out,
an answer that is neither true nor false, or two runs that disagree. Rows of mode `criterion`, one for each candidate and
function, of which `pair_criteria` makes pairs.
"""

from __future__ import annotations

import asyncio
import json
from functools import cached_property
from typing import ClassVar

from pydantic import Field

from pipeline import ids
from pipeline.engine import Sampling
from pipeline.errors import PlanError
from pipeline.prompts import Template
from pipeline.records import Candidate, Judgment, Prompt, Status, ToolCall
from pipeline.stage import Context, Example, Stage
from stages.constraints.written_checks import FUNCTION, Checks, read_checks, trusted, verdict, written_checks
from stages.judges.authors import Author
from stages.judges.rubrics import kept_column
from stages.pairs.gate import FINISHED
from stages.sandbox.limits import Limits
from stages.sandbox.sandbox import Outcome, run_python

RUNS = 2  # of every check: what differs between two runs says nothing
_STATUS: dict[str, Status] = {"ok": "out_of_range", "error": "na", "timeout": "timeout", "limit": "too_long"}


class _ChecksAuthor(Author):
    """Writes functions and cases."""

    stage: ClassVar[str] = "run_checks"
    writes: ClassVar[str] = "checks"

    def status(self, text: str) -> Status:
        """Whether the reply holds functions enough."""
        return "ok" if len(written_checks(text).functions) >= self.least else "parse_error"


class RunChecks(Stage):
    """Counts: `no_checks` (prompts for which no function can be trusted), `untrusted` (functions).

    functions, cases: kept columns, AutoIF's `eval_func` and `cases`. author, template, sampling: an engine that writes
    both. min_accuracy: share of the cases (or of what the column says beside the code) a function must be right on.
    min_functions, min_cases: fewer trusted ones, or fewer cases that a function reproduces, and the prompt is not
    checked; AutoIF's are 3 and 10. python: limits of one run. workers: processes of the sandbox.
    """

    functions: str | None = None
    cases: str | None = None
    author: str | None = None
    template: str = "write"
    sampling: Sampling = Sampling(temperature=0.7, max_tokens=2048)
    min_accuracy: float = Field(0.8, gt=0, le=1)
    min_functions: int = Field(1, ge=1)
    min_cases: int = Field(0, ge=0)
    python: Limits = Limits(cpu_s=3, wall_s=5.0)
    workers: int = Field(2, ge=1, le=64)

    version: ClassVar[int] = 1
    not_identity: ClassVar[frozenset[str]] = frozenset({"workers"})
    template_variables: ClassVar[frozenset[str]] = frozenset({"prompt", "reference", "least", "function"})

    def check(self) -> None:
        """Raises PlanError unless the functions come from one place."""
        if bool(self.functions) == bool(self.author) or (self.cases and self.author):
            raise PlanError("run_checks: give functions (and cases), columns the source kept, or an author: not both")
        if self._author is not None:
            self._author.check()

    def engines(self) -> tuple[str, ...]:
        """The author, if there is one."""
        return (self.author,) if self.author else ()

    def templates(self) -> tuple[Template, ...]:
        """The author's."""
        return (self._author._template,) if self._author is not None else ()

    @cached_property
    def _author(self) -> _ChecksAuthor | None:
        if self.author is None:
            return None
        return _ChecksAuthor(engine=self.author, template=self.template, sampling=self.sampling,
                       least=self.min_functions)  # fmt: skip

    async def process(self, example: Example[Candidate], ctx: Context) -> list[Judgment]:
        """Judgments in the order of candidates, then functions; an author's reply first. Raises EngineError, Rejected."""
        checks, written = await self._checks(example.prompt, ctx)
        functions = await self._trusted(checks, ctx)
        if not functions:
            ctx.count("no_checks")
        rows = [self._judged(candidate, code, ctx) for candidate in example.candidates for code in functions]
        return [*written, *await asyncio.gather(*rows)]

    async def _checks(self, prompt: Prompt, ctx: Context) -> tuple[Checks, list[Judgment]]:
        if self._author is None:
            cases = kept_column(prompt, self.cases) if self.cases else []
            return read_checks(kept_column(prompt, str(self.functions)), cases, self.min_accuracy), []
        rows, reply = await self._author.written(prompt, ctx, function=FUNCTION)
        return Checks() if reply is None else written_checks(reply), rows

    async def _trusted(self, checks: Checks, ctx: Context) -> list[str]:
        """The functions that the cases bear out; all of them where there are no cases to try them on."""
        numbers, n_cases = list(range(len(checks.functions))), 0
        if checks.cases:
            said = [
                [verdict(await self._run(code, case.response)) for case in checks.cases] for code in checks.functions
            ]
            numbers, n_cases = trusted(said, checks.cases, self.min_accuracy)
        ctx.count("untrusted", len(checks.functions) - len(numbers))
        enough = len(numbers) >= self.min_functions and n_cases >= self.min_cases
        return [checks.functions[n] for n in numbers] if enough else []

    async def _run(self, code: str, response: str) -> list[Outcome]:
        runs = [run_python(code, self.python, FUNCTION, (response,), self.workers) for _ in range(RUNS)]
        return list(await asyncio.gather(*runs))

    async def _judged(self, candidate: Candidate, code: str, ctx: Context) -> Judgment:
        readable = candidate.text.strip() and candidate.finish_reason in FINISHED
        outcomes = await self._run(code, candidate.text) if readable else [Outcome("error", detail="cut or empty")]
        kept, name = verdict(outcomes), ids.content_hash("check/1", code)[:12]
        worst = next((o for o in outcomes if o.status != "ok"), outcomes[0])
        told = json.dumps(worst.value) if worst.status == "ok" else f"{worst.status}: {worst.detail}"
        call = ToolCall("python", json.dumps({"code": code, "function": FUNCTION}), told[:500], worst.status == "ok")
        return Judgment(
            prompt_id=candidate.prompt_id,
            judgment_key=ids.content_hash(
                "judgment/1", "run_checks", self.version, self.python, candidate.candidate_id, code
            ),
            job=ctx.job,
            mode="criterion",
            judge_id=f"python:{name}",
            cand_ids=(candidate.candidate_id,),
            status="ok" if kept is not None else _STATUS[worst.status],
            value=None if kept is None else float(kept),
            value_mode=None if kept is None else float(kept),
            judge_family="tool",
            aspect=f"check {name}",
            weight=1.0,
            tool_trace=(call,),
        )
