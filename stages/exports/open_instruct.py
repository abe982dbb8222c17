"""What open-instruct's DPO reads (two whole conversations of which only the last turn differs; spec pairs 16.1).

Carries pairs with one prompt.
"""

from __future__ import annotations

from pipeline.pair import Pair
from pipeline.records import Record
from stages.exports.arms import check_same_prompt
from stages.exports.formats import CONVERSATIONS, ConversationsRow, Format, conversations, from_conversations
from stages.exports.wanted import Given


class OpenInstructRow(ConversationsRow, frozen=True, kw_only=True):
    """One comparison."""


def rows(pair: Pair, given: Given) -> list[Record]:
    """One row. Raises Rejected as `conditional_arms`."""
    check_same_prompt(pair)
    return [OpenInstructRow(**conversations(pair, given.wanted))]


FORMAT = Format(
    rows=rows,
    row=OpenInstructRow,
    columns=CONVERSATIONS,
    imports=from_conversations,
    usage="""# --dataset_mixer_list in older versions
# accelerate launch open_instruct/dpo_tune_cache.py --mixer_list path/to/this/folder 1.0 \\
#   --max_seq_length {max_length}
""",
)
