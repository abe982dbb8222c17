"""What a trainer makes of a pair that is longer than its `max_length`. Pure; the tokenizer is passed in.

TRL's DPO trainer (1.16, spec pairs 16.2.4) silently drops a row whose prompt alone fills `max_length`, and else cuts
the tail of the completion, so that two arms which differ late become the same text.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from pipeline.records import Message
from pipeline.tokenizer import load_tokenizer

END = -1  # stands for the end-of-turn tokens that the chat template puts behind an arm


class Tokenizes(Protocol):
    """The two methods of `pipeline.tokenizer.Tokenizer` that are needed."""

    def encode(self, text: str) -> list[int]: ...
    def chat(self, messages: Sequence[Message]) -> list[int]: ...


class TrainingLength:
    """Compares arms as the trainer will see them: the first `max_length` tokens of prompt and answer together."""

    def __init__(self, tokenizer: Tokenizes, max_length: int) -> None:
        self.tokenizer = tokenizer
        self.max_length = max_length
        # What the chat template adds, so that short pairs need no tokenizing: a text has no more tokens than bytes.
        self._frame = len(tokenizer.chat((Message("user", ""),))) + 8

    def why_refused(self, prompt: Sequence[Message], chosen: str, rejected: str) -> tuple[str, str] | None:
        """(reason, detail): `too_long` (no room for an answer) or `identical_truncated`; None when the pair trains."""
        size = sum(len(m.content.encode()) + self._frame for m in prompt)
        if size + max(len(chosen.encode()), len(rejected.encode())) + self._frame < self.max_length:
            return None
        length = len(self.tokenizer.chat(prompt))
        room = self.max_length - length
        if room <= 0:
            return "too_long", f"the prompt has {length} tokens, max_length is {self.max_length}"
        if self._head(chosen, room) == self._head(rejected, room):
            return (
                "identical_truncated",
                f"the arms agree in the {room} tokens that max_length {self.max_length} leaves",
            )
        return None

    def _head(self, text: str, room: int) -> list[int]:
        return [*self.tokenizer.encode(text), END][:room]


def training_length(tokenizer: str | None, max_length: int | None) -> TrainingLength | None:
    """The rule for a training of `max_length` tokens; None where the gate does not ask it."""
    return None if tokenizer is None or max_length is None else TrainingLength(load_tokenizer(tokenizer), max_length)
