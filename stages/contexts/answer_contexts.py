"""answer_contexts: answers to a prompt under each of several conditions, which the config, the source or a model gives.

- stage: answer_contexts                # one set of the config is drawn for each prompt
  engine: policy
  sets: [[{name: short, text: Be brief.}, {name: full, text: Explain every step.}]]
- {stage: answer_contexts, engine: policy, write: true}            # two opposed criteria and scenarios (RPR)
- stage: answer_contexts                                           # system messages of the source (Janus)
  engine: policy
  columns: [{name: a, text: system_1, type: system}, {name: b, text: system_2, type: system}]
- {stage: answer_contexts, engine: policy, generic: true, sets: [[{name: ann, type: persona, text: …, traits: […]}]]}
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from pydantic import Field, model_validator

from pipeline import ids
from pipeline.errors import Rejected
from pipeline.pair import Context as Held
from pipeline.prompts import Template, load_template
from pipeline.records import Candidate, Prompt, Reject
from pipeline.stage import Context, Example, Stage
from stages.candidates.asking import Asking, Question, lost
from stages.candidates.tagged import answer_body, sections
from stages.contexts.conditions import (
    GENERIC,
    Condition,
    ConditionColumns,
    Placement,
    context_id,
    group_id,
    in_context,
    sided,
)
from stages.judges.hygiene import prompt_text


class AnswerContexts(Asking, Stage):
    """`samples` candidates for each condition. Counts: `lost:<reason>`. Further fields: Asking.

    sets: conditions that are answered together, opposed ones or personas; `sets_per_prompt` are drawn for each prompt.
    columns: one set from kept columns of the source. write: the engine writes two opposed, reasonable criteria with a
    scenario for each (template `default`). Exactly one of the three.
    generic: an answer under no condition as well, for the gate that personal answers have to pass.
    placement: where the prompt says the condition: in the system message, before or after the user's text.
    """

    version: ClassVar[int] = 1
    template_variables: ClassVar[frozenset[str]] = frozenset({"prompt"})

    sets: tuple[tuple[Condition, ...], ...] = ()
    columns: tuple[ConditionColumns, ...] = ()
    write: bool = False
    sets_per_prompt: int = Field(1, ge=1)
    samples: int = Field(1, ge=1, le=64)
    generic: bool = False
    placement: Placement = "system"

    @model_validator(mode="after")
    def _makes_sense(self) -> AnswerContexts:
        if [bool(self.sets), bool(self.columns), self.write].count(True) != 1:
            raise ValueError("give one of sets, columns and write")
        for names in [[c.name for c in one] for one in self.sets] + [[c.name for c in self.columns]]:
            if len({*names, GENERIC}) <= len(names):
                raise ValueError(f"conditions of a set need names of their own, none of them {GENERIC}: {names}")
        return self

    def templates(self) -> tuple[Template, ...]:
        """The template that asks for conditions, where they are to be written."""
        return (load_template("answer_contexts", self.template),) if self.write else ()

    async def process(self, example: Example[Prompt], ctx: Context) -> list[Candidate | Reject]:
        """Candidates, set by set in the order of conditions and samples. Raises EngineError, and Rejected for columns."""
        prompt = example.prompt
        sets = await self._sets(prompt, ctx)
        if isinstance(sets, Rejected):
            return [lost(prompt, sets, None, ctx)]
        asked: list[tuple[str, str, int, tuple[Held, ...]]] = []
        for conditions in sets:
            group = group_id(prompt, conditions)
            sides = [(c.name, c.contexts(self.placement)) for c in conditions]
            sides += [(GENERIC, ())] if self.generic else []
            asked += [(group, role, k, contexts) for role, contexts in sides for k in range(self.samples)]
        questions = [
            Question(f"{group}:{role}:{k}", in_context(prompt.messages, contexts[0] if contexts else None))
            for group, role, k, contexts in asked
        ]
        heard = await self.heard(prompt, questions, answer_body, ctx)
        made: list[Candidate | Reject] = []
        for held, got in zip(asked, heard, strict=True):
            if isinstance(got, Rejected):
                made.append(lost(prompt, got, None, ctx))
                continue
            made.append(
                sided(
                    prompt, got.value, held, ctx, **self.sampled(got, ctx), n_tokens=got.completion.n_tokens,
                    policy_relation="off" if held[3] else "on",  # a condition is another prompt than the plain one
                    gen_context_id=context_id(held[3][0]) if held[3] else None,
                )
            )  # fmt: skip
        return made

    async def _sets(self, prompt: Prompt, ctx: Context) -> Sequence[Sequence[Condition]] | Rejected:
        """The conditions to answer. Raises Rejected where a column is missing."""
        if self.columns:
            return [[columns.read(prompt) for columns in self.columns]]
        if not self.write:
            draw = ids.stream(ctx.run_seed, ctx.job, prompt.prompt_id, "sets")
            return draw.sample(self.sets, min(self.sets_per_prompt, len(self.sets)))
        question = Question("write", self.templates()[0].render(prompt=prompt_text(prompt.messages)))
        [written] = await self.heard(prompt, [question], _read_opposed, ctx)
        if isinstance(written, Rejected):
            return written
        author = written.completion.model or ctx.engine_models.get(self.engine)
        return [[c.model_copy(update={"source": author}) for c in written.value]]


def _read_opposed(text: str) -> tuple[Condition, Condition]:
    """The two conditions of an answer. Raises Rejected (parse_error)."""
    found = sections(text, "criterion_a", "scenario_a", "criterion_b", "scenario_b")
    if found[0].casefold() == found[2].casefold():
        raise Rejected("parse_error", "both criteria are the same")
    return (
        Condition(name="a", text=found[0], scenario=found[1]),
        Condition(name="b", text=found[2], scenario=found[3]),
    )
