"""What a search asks of engines and checkers: the fields of the `search` stage beside its rules."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from pipeline.engine import Sampling
from pipeline.prompts import Template, load_template
from stages.judges.outcomes import AnswerCheck
from stages.search.presets import with_preset
from stages.search.rules import SearchRules

LETTERS = "ABCDEFGHIJ"


class Critic(BaseModel):
    """An engine that says what it thinks of a step by the probability of one letter.

    engine: an alias, the policy's by default. hint: it sees the reference, where there is one; trees are then marked.
    min_mass: with less probability on the letters together the answer is missing (None), never low.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    engine: str | None = None
    template: str = "default"
    sampling: Sampling = Sampling(temperature=0, max_tokens=8)
    hint: bool = False
    min_mass: float = Field(0.05, ge=0, lt=1)


class SelfEval(Critic):
    """Is the step right? A or B, asked in both orders to remove the bias for a position. Templates: prompts/check/."""

    right: str = "correct"
    wrong: str = "wrong"
    both_orders: bool = True

    def prompts(self) -> Template:
        """The template."""
        return load_template("check", self.template)


class Grade(BaseModel):
    """One of several verdicts, and what it is worth on [-1, 1]."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    text: str
    value: float = Field(ge=-1, le=1)


class Grading(Critic):
    """How good is the step? One of several grades, weighed by their probabilities. Templates: prompts/grade/."""

    grades: tuple[Grade, ...] = Field(
        (
            Grade(text="wrong", value=-1.0),
            Grade(text="doubtful", value=-0.5),
            Grade(text="right, but of little help", value=0.5),
            Grade(text="right and helpful", value=1.0),
        ),
        min_length=2,
        max_length=len(LETTERS),
    )

    def prompts(self) -> Template:
        """The template."""
        return load_template("grade", self.template)


class StepReward(BaseModel):
    """A reward model that is asked about each step. σ of its score is the column `prm_score`, which is worth 2σ - 1.

    How much it counts beside other sources is `values.weights.prm_score`. form: process, a process reward model, read
    behind the step; outcome, a model of whole answers, given the answer so far. step_tag: what stands behind each step
    for a process reward model (Qwen2.5-Math-PRM: <extra_0>); empty: it is read at the step's own last token. system: the
    system message that the model was trained with, in place of the prompt's own.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    engine: str
    form: Literal["process", "outcome"] = "process"
    step_tag: str = ""
    system: str | None = None


class Critique(BaseModel):
    """Who says what is wrong with an attempt (mode ultra). Templates: prompts/critique/.

    engine: an alias, the policy's by default. hint: it sees the reference, where there is one; trees are then marked, and
    what states the reference's answer is left out.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    engine: str | None = None
    template: str = "default"
    sampling: Sampling = Sampling(temperature=0, max_tokens=256)
    hint: bool = False

    def prompts(self) -> Template:
        """The template."""
        return load_template("critique", self.template)


Tool = Literal["equations", "python"]


class Observe(BaseModel):
    """What is said to an attempt that was verified to be wrong (mode ultra). Templates: prompts/observe/.

    tools: equations, those of the attempt that do not hold; python, what the last program in it prints, run in the sandbox.
    reveal: the template may state the reference; trees are then marked.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    template: str = "default"
    tools: tuple[Tool, ...] = ("equations",)
    reveal: bool = False
    critique: Critique | None = None

    def prompts(self) -> Template:
        """The template."""
        return load_template("observe", self.template)


class SearchFields(SearchRules):
    """preset: name of a set of rules, over which the other fields are laid (stages/search/presets.py).

    share: of the prompts, drawn by hash: trees cost more than answers.

    delimiters: strings that end a step. sampling: of steps and roll-outs; their number and length are rules.

    Sources of values: verify (ends, against the reference), self_eval, judge, reward, and `rollouts` completions of each
    step that is no end. end_at_answer: a step that states a marked final answer is an end, whatever the policy adds.
    observe: what follows a wrong attempt in mode ultra.
    journal: keep every answer beside the shard, so that a killed search computes nothing twice; default: where runs lie
    on a disk (object stores cannot append).
    max_trees: trees of a shard under way at a time; default: the engine's batch over the shards that share it
    (vllm: max_num_seqs / resources.slots), all of the shard where the engine does not know.
    """

    preset: str = "default"
    engine: str
    share: float = Field(1.0, gt=0, le=1)
    delimiters: tuple[str, ...] = Field(("\n\n",), min_length=1)
    sampling: Sampling = Sampling()
    verify: AnswerCheck | None = AnswerCheck()
    end_at_answer: bool = True
    self_eval: SelfEval | None = None
    judge: Grading | None = None
    reward: StepReward | None = None
    rollouts: int = Field(0, ge=0)
    observe: Observe = Observe()
    journal: bool | None = None
    max_trees: int | None = Field(None, ge=1)

    @model_validator(mode="before")
    @classmethod
    def _over_preset(cls, fields: Any) -> Any:
        return with_preset(fields) if isinstance(fields, Mapping) else fields

    def critics(self) -> tuple[Critic, ...]:
        """Those that are asked about steps."""
        return tuple([critic for critic in (self.self_eval, self.judge) if critic is not None])

    def critique(self) -> Critique | None:
        """Who reviews wrong attempts, where there are turns."""
        return self.observe.critique if self.mode == "ultra" else None

    def hinted(self) -> bool:
        """Whether anything but the verifier may see the reference."""
        reviewer = self.critique()
        told = self.mode == "ultra" and self.observe.reveal
        return told or bool(reviewer and reviewer.hint) or any(critic.hint for critic in self.critics())
