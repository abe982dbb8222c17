"""A small world for the tests of contexts: a prompt, answers that carry conditions, and what judges said of them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import msgspec

from pipeline import ids
from pipeline.pair import Pair
from pipeline.records import Candidate, Judgment, LabelProb, Message, Prompt, Reject, Source
from pipeline.stage import Context, Example, Stage
from stages.contexts.conditions import NO_CONTEXT, Condition, context_id, group_id, sided

MESSAGES = (Message("user", "How do I boil an egg?"),)
PROMPT = Prompt(ids.prompt_id(MESSAGES), ids.prompt_id(MESSAGES), MESSAGES, source=Source("eggs"))
SHORT = Condition(name="short", text="Answer in five words.", scenario="Ann reads on a watch while she runs.")
FULL = Condition(name="full", text="Explain every step and why.", scenario="Bob has never seen a kitchen before.")
TEXTS = {"short": "Seven minutes in hot water.", "full": "First heat the water, because cold water cooks nothing."}


def context(job: str = "answers") -> Context:
    return Context(job, "run", 7, "f", {})


def answers(
    *conditions: Condition, texts: dict[str, str] | None = None, job: str = "answers", sample: int = 0,
    placement: Any = "system", generic: str | None = None, prompt: Prompt = PROMPT,
) -> list[Candidate]:  # fmt: skip
    """One answer for each condition, and the generic one."""
    group = group_id(prompt, conditions)
    said = {**TEXTS, **(texts or {})}
    sides = [(c.name, c.contexts(placement), said[c.name]) for c in conditions]
    if generic is not None:
        sides.append(("generic", (), generic))
    return [sided(prompt, text, (group, name, sample, held), context(job)) for name, held, text in sides]


def compared(
    one: Candidate, other: Candidate, condition: Any, p: float | None, orders: Sequence[int] = (0, 1), judge: str = "j"
) -> list[Judgment]:
    """What a judge said in both orders; `condition`: a Condition, a context of it, or None."""
    held = condition.contexts("system")[0] if isinstance(condition, Condition) else condition
    name = context_id(held) if held else NO_CONTEXT
    status: Any = "ok" if p is not None else "parse_error"
    who = (one.candidate_id, other.candidate_id)
    return [
        Judgment(PROMPT.prompt_id, f"{judge}/{who}/{name}/{order}", "compare_contexts", "context_compare", judge, who,
                 status, p, order=order, aspect=name)
        for order in orders
    ]  # fmt: skip


def effect(one: Candidate, other: Candidate, condition: Condition, nats: float) -> Judgment:
    """How far a condition moved a model."""
    held = condition.contexts("system")[0]
    told = msgspec.json.encode({"effect": nats}).decode()
    who = (one.candidate_id, other.candidate_id)
    return Judgment(PROMPT.prompt_id, f"e/{who}/{held.text}", "context_effect", "context_effect", "m", who, "ok",
                    0.5, aspect=context_id(held), raw_text=told)  # fmt: skip


def rated(candidate: Candidate, condition: Condition, trait: str, value: float | None) -> Judgment:
    """How well an answer meets a trait, from 1 to 3."""
    aspect = f"{context_id(condition.contexts('system')[0])}/{trait}"
    status: Any = "ok" if value is not None else "parse_error"
    return Judgment(PROMPT.prompt_id, f"r/{candidate.candidate_id}/{aspect}", "rate_contexts", "context_rate", "j",
                    (candidate.candidate_id,), status, value, None, 1.0, 3.0, aspect=aspect)  # fmt: skip


def stance(candidate: Candidate, **p: float) -> Judgment:
    """A distribution over stances."""
    labels = {"oppose": "1", "neutral": "2", "support": "3"}
    value = sum(int(labels[name]) * share for name, share in p.items())
    probs = tuple(LabelProb(labels[name], share) for name, share in p.items())
    return Judgment(PROMPT.prompt_id, f"s/{candidate.candidate_id}", "stances", "aspect", "j",
                    (candidate.candidate_id,), "ok", value, None, 1.0, 3.0, aspect="stance", label_probs=probs)  # fmt: skip


def checked(candidate: Candidate, outcome: bool) -> Judgment:
    """What a check found."""
    name = candidate.candidate_id
    return Judgment(PROMPT.prompt_id, f"v/{name}", "verify", "tool", "v", (name,), "ok", float(outcome))


def reversal(a: Candidate, b: Candidate, conditions: Sequence[Condition] = (SHORT, FULL), p: float = 0.9,
             control: float = 0.5) -> list[Judgment]:  # fmt: skip
    """All that a judge says of two answers which reverse, scenarios included."""
    rows = compared(a, b, None, control)
    for one, other, condition in ((a, b, conditions[0]), (b, a, conditions[1])):
        for held in condition.contexts("system"):
            rows += compared(one, other, held, p)
    return rows


def run(
    stage: Stage, candidates: Sequence[Candidate], judgments: Sequence[Judgment] = (), prompt: Prompt = PROMPT
) -> tuple[list[Pair], list[Reject], dict[str, int]]:
    """What a pair stage made of the prompt, its rejects and its counts."""
    ctx = context("pairs")
    example: Example[Any] = Example(prompt, candidates, judgments)
    rows = asyncio.run(stage.process(example, ctx))
    return [r for r in rows if isinstance(r, Pair)], [r for r in rows if isinstance(r, Reject)], ctx.counts


def arms(pair: Pair) -> tuple[str, str]:
    """The two texts, the better first."""
    return pair.chosen_messages[0].content, pair.rejected_messages[0].content
