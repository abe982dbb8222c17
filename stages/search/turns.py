"""What an environment says to an attempt that was wrong, and the conversation that follows (UltraInteract). Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence

from pipeline.records import Message, Prompt
from stages.judges.hygiene import as_data, prompt_text
from stages.search.fields import Critique, Observe
from stages.search.tickets import Turn

_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}\b)")


def conversation(prompt: Prompt, turns: Sequence[Turn]) -> tuple[Message, ...]:
    """The prompt, then each attempt and what was said to it."""
    messages = list(prompt.messages)
    for turn in turns:
        messages.append(Message("assistant", turn.attempt))
        if turn.observation is not None:
            messages.append(Message("user", turn.observation))
    return tuple(messages)


def observation(observe: Observe, prompt: Prompt, turn: Turn, tools: str | None, critique: str | None) -> str:
    """What is said to a wrong attempt; the reference is in it only with `reveal`."""
    [message] = observe.prompts().render(
        answer=turn.answer, reference=prompt.reference if observe.reveal else None, tools=tools, critique=critique
    )
    return message.content


def critique_question(critique: Critique, prompt: Prompt, turns: Sequence[Turn]) -> tuple[Message, ...]:
    """The last attempt before its reviewer, after all that was said before it."""
    return critique.prompts().render(
        prompt=prompt_text(conversation(prompt, turns[:-1])),
        attempt=as_data(turns[-1].attempt),
        reference=as_data(prompt.reference) if critique.hint and prompt.reference else None,
    )


def states(text: str, answer: str) -> bool:
    """Whether the text holds the answer as a word or number of its own, in any case; 1,000 is 1000."""
    wanted = re.escape(_THOUSANDS.sub("", answer.strip()))
    found = re.search(rf"(?<![\w.]){wanted}(?!\w|\.\d)", _THOUSANDS.sub("", text), re.IGNORECASE)
    return bool(wanted and found)


def ids_between(shown: Sequence[int] | None, before: Sequence[int]) -> tuple[int, ...] | None:
    """The token ids that a chat template put behind `before`: the end of a turn, what was said to it, the next turn's
    head. None where the engine wrote the turns before in other tokens than the policy did."""
    shown, before = tuple(shown or ()), tuple(before)
    return shown[len(before) :] if shown[: len(before)] == before else None
