"""The loop of a judge with tools: Thought, Action, Observation, and again, until a verdict or the end of its turns."""

from __future__ import annotations

from dataclasses import dataclass, field

from msgspec import Struct

from pipeline.engine import Completion
from pipeline.errors import Rejected
from pipeline.records import Message, ToolCall
from stages.judges.actions import Action, own_words, read_action, read_verdict
from stages.judges.calls import refusal
from stages.judges.hygiene import as_data
from stages.judges.refusals import declines
from stages.judges.verdicts import Reading, expected_score

LABELS = {"no": 0.0, "yes": 1.0}
_LAST = "No call is left. Sum up the evidence and end with the verdict."


class LoopRule(Struct, frozen=True, gc=False):
    """How far a loop may go, and how its verdict is read. label_mass_min: None where only the written word counts."""

    max_turns: int
    max_calls: int
    label_mass_min: float | None


@dataclass(slots=True)
class Dialogue:
    """One loop: what was said so far, by both sides, and what it came to. `reading` is None while it goes on."""

    messages: tuple[Message, ...]
    turns: int = 0
    trace: list[ToolCall] = field(default_factory=list)
    thoughts: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    n_in: int = 0
    n_out: int = 0
    reading: Reading | None = None

    @property
    def raw_text(self) -> str | None:
        """All turns and observations in their order; None before the first."""
        return "\n".join(self.said) or None

    def hear(self, answer: Completion | Rejected, rule: LoopRule) -> Action | None:
        """Takes the judge's next turn. The call it makes, which `show` is to answer; None when the loop has ended."""
        if isinstance(answer, Rejected):  # most often the observations have outgrown its context
            self.reading = Reading(refusal(answer))
            return None
        self.turns += 1
        self.n_in += answer.n_prompt_tokens
        self.n_out += answer.n_tokens
        action = read_action(answer.text)
        text = action.text if action else own_words(answer.text)
        self.said.append(text)
        if answer.finish_reason != "stop":
            self.reading = Reading("truncated")
        elif action is None:
            self.reading = self._verdict(answer, rule)
        elif len(self.trace) < rule.max_calls and self.turns < rule.max_turns:
            self.thoughts.append(action.thought)
            self.messages += (Message("assistant", text),)
            return action
        else:
            self.reading = Reading("parse_error")
        return None

    def show(self, call: ToolCall, rule: LoopRule) -> None:
        """Adds what a tool said, as data."""
        self.trace.append(call)
        observation = f"Observation:\n<observation>\n{as_data(call.observation)}\n</observation>"
        self.said.append(observation)
        if len(self.trace) >= rule.max_calls or self.turns + 1 >= rule.max_turns:
            observation = f"{observation}\n{_LAST}"
        self.messages += (Message("user", observation),)

    def _verdict(self, answer: Completion, rule: LoopRule) -> Reading:
        verdict = read_verdict(answer.text)
        if verdict is None:
            return Reading("refused" if declines(answer.text) else "parse_error")
        self.thoughts.append(verdict.thought)
        written = float(verdict.yes)
        expected = None
        if rule.label_mass_min is not None and verdict.as_label and answer.labels:
            expected = expected_score(answer.labels, LABELS)
        if expected is None or rule.label_mass_min is None:
            return Reading("ok", written, written)
        if expected.mass < rule.label_mass_min:
            return Reading("low_mass", None, None, expected.mass, expected.probs)
        return Reading("ok", expected.mean, expected.mode, expected.mass, expected.probs)
