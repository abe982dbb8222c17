"""Which pairs judges of a prompt's answers can speak about. Pure."""

from __future__ import annotations

from pipeline.pair import Pair
from pipeline.records import Prompt


def plain_arms(pair: Pair, prompt: Prompt) -> tuple[str, str] | None:
    """(chosen, rejected) candidate ids where the pair says which of two whole answers to `prompt` is better.

    None for steps, for arms of two prompts, and for what holds under another prompt (instructions added or turned over, a
    context) or for one person: judgments and outcomes of the candidates are about `prompt` itself, under which the other
    answer may well be the better one.
    """
    if pair.level != "response" or pair.rejected_prompt_messages is not None or pair.rater is not None:
        return None
    if pair.prompt_messages != prompt.messages or pair.context_id != prompt.context_id:
        return None
    if pair.chosen_gen is None or pair.rejected_gen is None:
        return None
    return pair.chosen_gen.candidate_id, pair.rejected_gen.candidate_id
