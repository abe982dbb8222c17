"""What critics are asked about a step, and how their answers are read (spec mcts R2, Evaluation). Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from pipeline.engine import Completion, RewardRequest
from pipeline.errors import Rejected
from pipeline.records import Message, Prompt
from stages.contexts.system_message import under_system
from stages.judges.hygiene import as_data, prompt_text
from stages.judges.likelihood import expit
from stages.search.fields import LETTERS, Critic, Grading, SelfEval, StepReward
from stages.search.steps import shown, shown_steps
from stages.search.values import both_orders, graded, option_confidence


class Question(NamedTuple):
    """One request to a critic. `order`: 1 where the options are swapped."""

    order: int
    labels: tuple[str, ...]
    messages: tuple[Message, ...]


Reply = Completion | Rejected


class Asked(NamedTuple):
    """What a critic shall judge: the step in its place."""

    prompt: Prompt
    before: str
    step: str
    delimiters: tuple[str, ...]


def questions(critic: Critic, asked: Asked) -> list[Question]:
    """Two for a self-evaluation in both orders, else one."""
    prefix, step = shown(asked.before, asked.step, asked.delimiters)
    reference = asked.prompt.reference if critic.hint else None
    variables = {
        "prompt": prompt_text(asked.prompt.messages),
        "prefix": as_data(prefix),
        "step": as_data(step),
        "reference": as_data(reference) if reference else None,
    }
    if isinstance(critic, Grading):
        labels = tuple(LETTERS[: len(critic.grades)])
        options = [f"{label}: {grade.text}" for label, grade in zip(labels, critic.grades, strict=True)]
        return [Question(0, labels, critic.prompts().render(options=options, **variables))]
    assert isinstance(critic, SelfEval)
    orders = [(critic.right, critic.wrong), (critic.wrong, critic.right)][: 1 + critic.both_orders]
    return [
        Question(i, ("A", "B"), critic.prompts().render(option_a=a, option_b=b, **variables))
        for i, (a, b) in enumerate(orders)
    ]


def self_evaluation(replies: Sequence[Reply], min_mass: float) -> float | None:
    """Confidence on [0, 1] that the step is right: the mean over the orders that were answered; None without any."""
    return both_orders([_confidence(reply, order, min_mass) for order, reply in enumerate(replies)])


def _confidence(reply: Reply, order: int, min_mass: float) -> float | None:
    labels = _labels(reply)
    if labels is None:
        return None
    right, wrong = ("A", "B") if order == 0 else ("B", "A")
    return option_confidence(labels[right], labels[wrong], min_mass)


def grade(reply: Reply, critic: Grading) -> float | None:
    """Expected value of the grades on [-1, 1]; None where the letters have too little probability."""
    labels = _labels(reply)
    if labels is None:
        return None
    values = {LETTERS[i]: option.value for i, option in enumerate(critic.grades)}
    probabilities = {letter: math.exp(labels[letter]) for letter in values}
    return graded(probabilities, values) if math.fsum(probabilities.values()) > critic.min_mass else None


def reward_request(model: StepReward, asked: Asked, key: str) -> RewardRequest:
    """The steps up to the one in question, or the answer so far."""
    steps = shown_steps(asked.before, asked.step, asked.delimiters)
    said = under_system(model.system, asked.prompt.messages)
    if model.form == "process":
        return RewardRequest(key, said, steps=steps, step_tag=model.step_tag)
    return RewardRequest(key, (*said, Message("assistant", asked.delimiters[0].join(steps))))


def step_score(rewards: Sequence[float]) -> float | None:
    """σ of the last score, on [0, 1]; None where that is no number."""
    return expit(rewards[-1]) if rewards and math.isfinite(rewards[-1]) else None


def _labels(reply: Reply) -> dict[str, float] | None:
    return reply.labels if isinstance(reply, Completion) else None
