"""Answers cut into reasoning steps at token boundaries (spec mcts R1). Pure.

A step ends with the token that completes a delimiter; further characters of this token belong to it, so that the token
ids of a path are the very ones the policy sampled.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise

from pipeline.engine import Completion
from pipeline.errors import PlanError
from stages.search.tickets import Child


def first_step(completion: Completion, delimiters: Sequence[str]) -> Child:
    """The answer up to its first delimiter, or all of it where none came. Raises PlanError as `whole` does."""
    texts = _texts(completion)
    end = next(_ends(texts, delimiters), None)
    if end is not None:
        return _child(completion, 0, end, "stop")
    stopped = completion.stop_reason in delimiters  # at one with nothing before it
    return _child(completion, 0, len(texts), "stop" if stopped else _how_it_ended(completion))


def all_steps(completion: Completion, delimiters: Sequence[str], least: int = 0) -> tuple[Child, ...]:
    """The answer as steps of `least` tokens or more (the last may be shorter); what is blank behind the last delimiter
    stays with it. Raises PlanError as `whole` does."""
    texts = _texts(completion)
    ends = [0, *_ends(texts, delimiters, least)]
    if len(ends) > 1 and not "".join(texts[ends[-1] :]).strip():
        ends.pop()
    inner = [_child(completion, start, end, "stop") for start, end in pairwise(ends)]
    return (*inner, _child(completion, ends[-1], len(texts), _how_it_ended(completion)))


def whole(completion: Completion) -> Child:
    """The answer as one step. Raises PlanError for an engine that does not name the texts of its tokens."""
    return _child(completion, 0, len(_texts(completion)), _how_it_ended(completion))


def joined(step: Child, following: Child) -> Child:
    """Two steps as one, which ends as the second does."""
    sums = (step.logprob_sum, following.logprob_sum)
    return Child(
        step.text + following.text,
        step.token_ids + following.token_ids,
        None if sums[0] is None or sums[1] is None else sums[0] + sums[1],
        following.finish_reason,
    )


def _texts(completion: Completion) -> tuple[str, ...]:
    if completion.token_texts is None or completion.token_ids is None:
        raise PlanError("search needs the text and id of every token; this engine gave none, use kind vllm")
    return completion.token_texts


def _how_it_ended(completion: Completion) -> str:
    return "eos" if completion.finish_reason == "stop" else completion.finish_reason


def _ends(texts: Sequence[str], delimiters: Sequence[str], least: int = 0) -> Iterator[int]:
    """Behind which tokens a step ends; a delimiter ends none with nothing but blanks or too few tokens before it."""
    text, last = "", 0
    for place, piece in enumerate(texts, 1):
        text += piece
        if place - last < least:
            continue
        found = [text.find(d, max(0, len(text) - len(piece) - len(d) + 1)) for d in delimiters]
        if any(at > 0 and text[:at].strip() for at in found):
            yield place
            text, last = "", place


def _child(completion: Completion, start: int, end: int, finish_reason: str) -> Child:
    texts, ids, logps = completion.token_texts or (), completion.token_ids or (), completion.token_logps
    total = None if logps is None else sum(logps[start:end])
    if total is None and completion.mean_logp is not None and end - start == len(texts):
        total = completion.mean_logp * completion.n_tokens
    return Child("".join(texts[start:end]), ids[start:end], total, finish_reason)


def shown(before: str, step: str, delimiters: Sequence[str]) -> tuple[str, str]:
    """The text before a step and the step, as an evaluator reads them: parted at the delimiters, not at the tokens.

    A token may hold a delimiter and the beginning of what follows ("\\nStep "): the step then begins inside the last token
    of `before`, and what it begins of the next one is left out.
    """
    start = max((at + len(d) for d in delimiters if (at := before.rfind(d)) >= 0), default=0)
    end = max((at for d in delimiters if (at := step.rfind(d)) > 0), default=len(step))
    return before[:start].strip(), (before[start:] + step[:end]).strip()


def shown_steps(before: str, step: str, delimiters: Sequence[str]) -> tuple[str, ...]:
    """All steps up to and with `step`, as an evaluator reads them, without delimiters."""
    prefix, last = shown(before, step, delimiters)
    cuts = "|".join(map(re.escape, sorted(delimiters, key=len, reverse=True)))
    return (*[piece.strip() for piece in re.split(cuts, prefix) if piece.strip()], last)
