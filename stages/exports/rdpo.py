"""Pairs with the reason why, for DPO that also learns the reason (RDPO; spec judges 1, C1).

Carries pairs with one prompt of one user message (or, with `tokenizer`, any prompt, rendered by the chat template) that have
a rationale which passed its gate. The rationale's Response A is always the chosen one.
"""

from __future__ import annotations

from pipeline.errors import Rejected
from pipeline.pair import Pair
from pipeline.records import Rationale, Record
from stages.exports.arms import conditional_arms
from stages.exports.flat import RENDERED, rendered
from stages.exports.formats import Format, PairRow, identity
from stages.exports.labels import told
from stages.exports.wanted import Given


class RdpoRow(PairRow, frozen=True, kw_only=True):
    """One comparison with its reason."""

    prompt: str
    chosen: str
    rejected: str
    rationale: str


def rows(pair: Pair, given: Given) -> list[Record]:
    """One row. Raises Rejected: no_rationale, several_turns, and as `conditional_arms`."""
    arms = conditional_arms(pair, given.wanted)
    if (why := given.explanations.get(pair.pair_id)) is None:
        raise Rejected("no_rationale", "no rationale of this pair passed its gate")
    prompt = rendered(arms.prompt, given.wanted.tokenizer)
    return [
        RdpoRow(
            **identity(pair), prompt=prompt, chosen=arms.chosen, rejected=arms.rejected, rationale=told(why, "chosen")
        )
    ]  # fmt: skip


FORMAT = Format(
    rows=rows,
    row=RdpoRow,
    beside=(Rationale,),
    columns={
        "prompt": RENDERED,
        "chosen": "the better answer",
        "rejected": "the worse answer",
        "rationale": "why; Response A is chosen, Response B rejected",
    },
    usage="""from datasets import load_dataset

# loss: DPO(chosen, rejected) - gamma * log p(rationale | prompt, chosen, rejected); say whether gamma multiplies a sum
# or a mean over tokens: published values differ a thousandfold for that reason. max_length: {max_length}
data = load_dataset("path/to/this/folder", split="train")
""",
)
