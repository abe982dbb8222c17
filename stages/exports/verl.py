"""What verl's reward-model data set reads (0.8; three strings; spec pairs 16.1). verl has no DPO trainer.

Carries pairs with one prompt. With `tokenizer` the prompt is rendered by its chat template; without, only prompts of one
user message go. The trainer tokenizes the strings apart and adds EOS to both answers.
"""

from __future__ import annotations

from pipeline.pair import Pair
from pipeline.records import Record
from stages.exports.arms import conditional_arms
from stages.exports.flat import RENDERED, rendered
from stages.exports.formats import Format, PairRow, from_prompted, identity
from stages.exports.wanted import Given


class VerlRow(PairRow, frozen=True, kw_only=True):
    """One comparison as strings."""

    prompt: str
    chosen: str
    rejected: str


def rows(pair: Pair, given: Given) -> list[Record]:
    """One row. Raises Rejected: several_turns, and as `conditional_arms`."""
    arms = conditional_arms(pair, given.wanted)
    prompt = rendered(arms.prompt, given.wanted.tokenizer)
    return [VerlRow(**identity(pair), prompt=prompt, chosen=arms.chosen, rejected=arms.rejected)]


FORMAT = Format(
    rows=rows,
    row=VerlRow,
    imports=from_prompted,
    columns={"prompt": RENDERED, "chosen": "the better answer", "rejected": "the worse answer"},
    usage="""from glob import glob

from verl.utils.dataset.rm_dataset import RMDataset

data = RMDataset(sorted(glob("path/to/this/folder/[0-9]*.parquet")), "your/model", max_length={max_length})
""",
)
