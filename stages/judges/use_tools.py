"""use_tools: a judge that computes and looks things up before it decides (Themis; spec C3 J4). Rows of mode `tool`.

Two ways. `loop`: an engine thinks, calls a tool, reads what it says, and at last answers yes or no. `recompute`: no
engine; every equation and date of the candidate is computed anew, and a false one makes the value 0.
A tool that fails is an observation that says so, never a value.
"""

from __future__ import annotations

import asyncio
from functools import cached_property
from typing import ClassVar, Literal

from msgspec import Struct
from pydantic import Field

from pipeline import ids
from pipeline.engine import Engine, Request, Sampling
from pipeline.errors import PlanError
from pipeline.prompts import Template, load_template
from pipeline.records import Candidate, Judgment, Message, Status
from pipeline.stage import Context, Example, Stage
from stages.judges.calls import answer_each
from stages.judges.families import model_family, own_family
from stages.judges.hygiene import as_data, prompt_text
from stages.judges.recompute import recompute, told
from stages.judges.tool_loop import LABELS, Dialogue, LoopRule
from stages.judges.verdicts import Reading
from stages.sandbox.limits import DEFAULT, Limits
from stages.tools.corpus import corpus_hash, read_corpus
from stages.tools.toolbox import Toolbox, ToolName

_USES: dict[ToolName, str] = {
    "calculator": "calculator[expression]: arithmetic, exact: calculator[15% of 80 + 2 * (3.5 - 1)]",
    "dates": "dates[question]: dates[2024-03-05] (day of the week), dates[2024-01-01 to 2024-03-05] (difference), "
    "dates[2024-01-31 + 1 month]",
    "python": "python[code]: runs Python 3 without packages, network and files; print what you want to see",
    "search": "search[words]: finds passages in a library of texts",
}


class _Loop(Struct, frozen=True, gc=False):
    """One judgment to be made: of which candidate, and how far its dialogue is."""

    candidate: Candidate
    sample_idx: int
    key: str
    dialogue: Dialogue


class UseTools(Stage):
    """Is the candidate right? With tools at hand.

    method: `loop` or `recompute`, as above. engine, template: of the loop.
    question: what the judge decides. tools: what it may use; `search` reads `corpus`, JSON Lines with `text`.
    max_turns, max_calls: of one loop; a loop that ends without a verdict is a parse_error. samples: loops per candidate.
    sampling: of each turn, default greedy for one sample, else temperature 0.7.
    mode: `expected` takes P(yes) where the verdict was written, `parsed` the written word.
    label_mass_min, show_reference, exclude_same_family, max_chars: as for rate.
    python: limits of one run. workers: processes that run Python.
    all_hold: for `recompute`, what a candidate comes to all of whose claims hold: `na`, or `right` (value 1), which
    compares it with one that is wrong but does not make it right.
    """

    method: Literal["loop", "recompute"] = "loop"
    engine: str | None = None
    template: str = "default"
    question: str = "Is the response right: does it answer the prompt, and is what it states true?"
    tools: tuple[ToolName, ...] = Field(("calculator", "dates", "python"), min_length=1)
    corpus: str | None = None
    max_turns: int = Field(6, ge=1, le=64)
    max_calls: int = Field(5, ge=1, le=64)
    samples: int = Field(1, ge=1, le=256)
    sampling: Sampling | None = None
    mode: Literal["expected", "parsed"] = "expected"
    label_mass_min: float = Field(0.5, ge=0, le=1)
    show_reference: bool = True
    exclude_same_family: bool = True
    max_chars: int = Field(40_000, ge=1)
    python: Limits = DEFAULT
    workers: int = Field(2, ge=1, le=64)
    all_hold: Literal["na", "right"] = "na"

    not_identity: ClassVar[frozenset[str]] = frozenset({"workers"})
    template_variables: ClassVar[frozenset[str]] = frozenset(
        {"prompt", "response", "reference", "question", "tools", "example", "max_calls"}
    )

    def check(self) -> None:
        """Raises PlanError when method, engine, tools and corpus do not fit together."""
        if (self.method == "loop") != (self.engine is not None):
            raise PlanError("use_tools: method loop needs an engine, recompute takes none")
        if ("search" in self.tools) != (self.corpus is not None):
            raise PlanError("use_tools: the tool search and corpus go together; give both or neither")
        if self.corpus is not None:
            read_corpus(self.corpus)
        if self._sampling.n != 1:
            raise PlanError(f"use_tools: sampling.n is {self._sampling.n}; the number of loops is set by samples")

    def capabilities(self, alias: str) -> frozenset[str]:
        """`labels` in mode expected."""
        return frozenset({"generate", "labels"} if self.mode == "expected" else {"generate"})

    def templates(self) -> tuple[Template, ...]:
        """Its template; none where no engine is asked."""
        return (load_template("use_tools", self.template),) if self.method == "loop" else ()

    @cached_property
    def _sampling(self) -> Sampling:
        greedy = 0.0 if self.samples == 1 else 0.7
        return self.sampling or Sampling(temperature=greedy, max_tokens=512, stop=("Observation:",))

    @cached_property
    def _rule(self) -> LoopRule:
        return LoopRule(self.max_turns, self.max_calls, self.label_mass_min if self.mode == "expected" else None)

    @cached_property
    def _template(self) -> Template | None:
        return next(iter(self.templates()), None)

    @cached_property
    def _identity(self) -> str:
        fields = self.model_dump(mode="json", exclude={"engine", "template", "workers", "max_chars", "samples"})
        fields["sampling"] = self._sampling.model_dump(mode="json")
        corpus = corpus_hash(self.corpus) if self.corpus else None
        template = self._template.sha256 if self._template else None
        return ids.content_hash("use_tools/1", self.version, template, corpus, fields)

    async def process(self, example: Example[Candidate], ctx: Context) -> list[Judgment]:
        """One judgment per candidate and sample. Raises EngineError, also where Python cannot be isolated."""
        if self.engine is None:
            return [self._recomputed(candidate, ctx.job) for candidate in example.candidates]
        judge = ctx.engine_models.get(self.engine) or self.engine
        family = ctx.engine_families.get(self.engine)
        loops = self._loops(example, judge, family or judge)
        toolbox = Toolbox(self.tools, self.corpus, self.python, self.workers)
        seed = ctx.seed(example.prompt.prompt_id, "use_tools")
        while going := [loop for loop in loops if loop.dialogue.reading is None]:
            await self._turn(going, ctx.engines[self.engine], toolbox, seed)
            ctx.alive()
        return [self._judgment(loop, ctx.job, (judge, family or model_family(judge))) for loop in loops]

    def _key(self, judge: str, candidate: Candidate, sample_idx: int) -> str:
        who = (candidate.prompt_id, [candidate.candidate_id])
        return ids.content_hash("judgment/1", self._identity, judge, *who, None, sample_idx)

    def _loops(self, example: Example[Candidate], judge: str, family: str) -> list[_Loop]:
        """One per candidate and sample; one that is not to be held has its reading already."""
        question = prompt_text(example.prompt.messages)
        own = own_family(example.candidates, family) if self.exclude_same_family else frozenset()
        loops = []
        for candidate in example.candidates:
            status: Status = "na" if candidate.candidate_id in own else "ok"
            if status == "ok" and max(len(question), len(candidate.text)) > self.max_chars:
                status = "too_long"
            messages = self._asked(example, question, candidate) if status == "ok" else ()
            reading = None if status == "ok" else Reading(status)
            for k in range(self.samples):
                dialogue = Dialogue(messages, reading=reading)
                loops.append(_Loop(candidate, k, self._key(judge, candidate, k), dialogue))
        return loops

    def _asked(self, example: Example[Candidate], question: str, candidate: Candidate) -> tuple[Message, ...]:
        assert self._template is not None
        known = example.prompt.reference if self.show_reference else None
        return self._template.render(
            prompt=question, response=as_data(candidate.text), reference=as_data(known) if known else None,
            question=self.question, tools=[_USES[tool] for tool in self.tools],
            example=_USES[self.tools[0]].partition(":")[0], max_calls=self.max_calls,
        )  # fmt: skip

    async def _turn(self, loops: list[_Loop], engine: Engine, toolbox: Toolbox, seed: int) -> None:
        """The next turn of all loops together, so that equal greedy questions are asked once, and what tools say to it."""
        answers = await answer_each(engine, [self._request(loop, seed) for loop in loops])
        actions = [loop.dialogue.hear(answer, self._rule) for loop, answer in zip(loops, answers, strict=True)]
        acting = [(loop.dialogue, action) for loop, action in zip(loops, actions, strict=True) if action]
        calls = await asyncio.gather(*[toolbox.call(action.tool, action.argument) for _, action in acting])
        for (dialogue, _), call in zip(acting, calls, strict=True):
            dialogue.show(call, self._rule)

    def _request(self, loop: _Loop, seed: int) -> Request:
        key = ids.content_hash("turn/1", loop.key, loop.dialogue.turns)
        return Request(
            sampling=self._sampling,
            key=key,
            seed=(seed ^ int(key[:8], 16)) & 0x7FFFFFFF,  # 31 bits, told apart by the key
            messages=loop.dialogue.messages,
            labels=tuple(LABELS) if self.mode == "expected" else (),
        )

    def _judgment(self, loop: _Loop, job: str, judge: tuple[str, str | None]) -> Judgment:
        dialogue, reading = loop.dialogue, loop.dialogue.reading
        assert reading is not None
        assert self._template is not None
        asked = dialogue.turns > 0
        return Judgment(
            prompt_id=loop.candidate.prompt_id,
            judgment_key=loop.key,
            job=job,
            mode="tool",
            judge_id=judge[0],
            cand_ids=(loop.candidate.candidate_id,),
            status=reading.status,
            value=reading.value,
            value_mode=reading.mode,
            judge_family=judge[1],
            template_id=self._template.name,
            template_hash=self._template.sha256,
            sample_idx=loop.sample_idx,
            label_probs=reading.probs,
            label_mass=reading.mass,
            logprob_source="none" if reading.mass is None else "raw",
            reasoning="\n".join(filter(None, dialogue.thoughts)) or None,
            raw_text=dialogue.raw_text,
            tool_trace=tuple(dialogue.trace),
            n_in=dialogue.n_in if asked else None,
            n_out=dialogue.n_out if asked else None,
        )

    def _recomputed(self, candidate: Candidate, job: str) -> Judgment:
        trace = recompute(candidate.text, candidate.finish_reason == "length")
        wrong = any(call.observation.startswith("false") for call in trace)
        value = 0.0 if wrong else 1.0 if trace and self.all_hold == "right" else None
        judge = "use_tools:recompute"
        return Judgment(
            prompt_id=candidate.prompt_id,
            judgment_key=self._key(judge, candidate, 0),
            job=job,
            mode="tool",
            judge_id=judge,
            cand_ids=(candidate.candidate_id,),
            status="na" if value is None else "ok",
            value=value,
            value_mode=value,
            judge_family="tool",
            reasoning=told(trace) if trace else None,
            tool_trace=tuple(trace),
        )
