"""Pairs with the reason why, for DPO that also learns the reason (RDPO; spec judges 1, C2).

Carries pairs with one prompt of one user message (or, with `tokenizer`, any prompt, rendered by the chat template) that have
a rationale which passed its gate. Which answer is Response A is drawn from their texts: were it always the chosen one, a
model could write the rationale without reading.
"""

from __future__ import annotations

from pipeline.errors import Rejected
from pipeline.pair import Pair
from pipeline.records import Candidate, Rationale, Record
from stages.exports.arms import ChatMessage, Conversation, as_messages, conditional_arms, said
from stages.exports.flat import RENDERED, rendered
from stages.exports.formats import Format, PairRow, from_prompted, identity
from stages.exports.labels import drawn_first, told
from stages.exports.wanted import Given, Wanted
from stages.judges.hygiene import prompt_text
from stages.rationales.training import answered_why, asked_why
from stages.sources.columns import Row, text
from stages.sources.imports import Origin, explained


class RdpoRow(PairRow, frozen=True, kw_only=True):
    """One comparison with its reason."""

    prompt: str
    chosen: str
    rejected: str
    rationale_prompt: str
    rationale: str
    rationale_response_a: str
    rationale_n_tokens: int | None


def rows(pair: Pair, given: Given) -> list[Record]:
    """One row. Raises Rejected: no_rationale, rationale_too_long, several_turns, and as `conditional_arms`."""
    arms = conditional_arms(pair, given.wanted)
    if (why := given.explanations.get(pair.pair_id)) is None:
        raise Rejected("no_rationale", "no rationale of this pair passed its gate")
    first = drawn_first("rdpo", arms, why)
    texts = (arms.chosen, arms.rejected) if first == "chosen" else (arms.rejected, arms.chosen)
    question = asked_why(prompt_text(as_messages(arms.prompt)), *texts)
    reason = told(why, first)
    answer = answered_why(reason.text, reason.statement)
    return [
        RdpoRow(
            **identity(pair), prompt=rendered(arms.prompt, given.wanted.tokenizer), chosen=arms.chosen,
            rejected=arms.rejected, rationale_prompt=rendered(_asked(question), given.wanted.tokenizer),
            rationale=answer, rationale_response_a=first, rationale_n_tokens=_tokens(question, answer, given.wanted),
        )
    ]  # fmt: skip


def _asked(question: str) -> Conversation:
    return (ChatMessage("user", question),)


def _tokens(question: str, answer: str, wanted: Wanted) -> int | None:
    """Tokens of the rationale; None without a tokenizer. Raises Rejected: rationale_too_long, where question and answer
    would be cut in training (a rationale of half the evidence teaches to invent the other half)."""
    if wanted.tokenizer is None:
        return None
    n = len(wanted.tokenizer.chat(as_messages((*_asked(question), said(answer)))))
    if n > wanted.max_length:
        raise Rejected(
            "rationale_too_long", f"question and rationale have {n} tokens, max_length is {wanted.max_length}"
        )
    return n - len(wanted.tokenizer.chat(as_messages(_asked(question))))


def imports(row: Row, origin: Origin) -> list[Record]:
    """The pair and its rationale. Raises Rejected as `compared` and `explained`."""
    why = text(row.get("rationale"), "rationale")
    return explained(from_prompted(row, origin), why, row.get("rationale_response_a"))


FORMAT = Format(
    rows=rows,
    row=RdpoRow,
    beside=(Rationale,),
    imports=imports,
    imported=(Candidate, Pair, Rationale),
    columns={
        "prompt": RENDERED,
        "chosen": "the better answer",
        "rejected": "the worse answer",
        "rationale_prompt": "what the rationale answers: the prompt and both answers, as Response A and Response B",
        "rationale": "why, and which is better at its end; it names the answers as rationale_prompt does",
        "rationale_response_a": "which answer is Response A: chosen or rejected, by lot",
        "rationale_n_tokens": "length of the rationale in tokens of `tokenizer`; null without one",
    },
    usage="""from datasets import load_dataset

# loss: nls(beta * logits) - gamma * log p(rationale | rationale_prompt) / rationale_n_tokens, where nls(z) = log(1 + exp(-z)).
# gamma 0.1 to 1 for this mean over tokens, 0.001 to 0.1 for a sum: published values differ a thousandfold for that reason.
# max_length: {max_length}
data = load_dataset("path/to/this/folder", split="train")
""",
)
