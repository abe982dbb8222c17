"""What TRL's RewardTrainer reads (1.16; two whole conversations; spec pairs 16.1, 17.5).

Carries pairs of every level, also those whose arms answer different prompts. With `margin: true` a calibrated margin
goes along and pairs without one are refused; without, the column is absent, because the trainer would use it.
"""

from __future__ import annotations

from pipeline.pair import Pair
from pipeline.records import Record
from stages.exports.formats import CONVERSATIONS, ConversationsRow, Format, from_conversations, rewarded
from stages.exports.labels import MARGIN, calibrated_margin
from stages.exports.wanted import Given
from stages.sources.columns import Row, number
from stages.sources.imports import Origin


class TrlRewardRow(ConversationsRow, frozen=True, kw_only=True):
    """One comparison."""


class TrlRewardMarginRow(TrlRewardRow, frozen=True, kw_only=True):
    """The same with the margin that the loss subtracts."""

    margin: float


def rows(pair: Pair, given: Given) -> list[Record]:
    """One row. Raises Rejected: no_margin, and as `rewarded`."""
    columns = rewarded(pair, given.wanted)
    if given.wanted.margin:
        return [TrlRewardMarginRow(**columns, margin=calibrated_margin(pair))]
    return [TrlRewardRow(**columns)]


def imports(row: Row, origin: Origin) -> list[Record]:
    """The pair, and its margin where there is one. Raises Rejected as `compared`."""
    return from_conversations(row, origin, margin_logit=number(row.get("margin")))


FORMAT = Format(
    rows=rows,
    row=TrlRewardRow,
    options={"margin": TrlRewardMarginRow},
    imports=imports,
    columns={**CONVERSATIONS, "margin": MARGIN},
    usage="""from datasets import load_dataset
from trl import RewardConfig, RewardTrainer

data = load_dataset("path/to/this/folder", split="train")
arguments = RewardConfig(output_dir="reward", max_length={max_length})
RewardTrainer("your/model", args=arguments, train_dataset=data).train()
""",
)
