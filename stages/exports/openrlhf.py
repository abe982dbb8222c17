"""What OpenRLHF's DPO and reward trainers read (0.11; spec pairs 16.1).

Carries pairs with one prompt. The flags below are needed: without a prompt key the trainer cuts both texts at the length
of the chosen prompt. A calibrated margin goes along with `margin: true`; pairs without one are then refused.
"""

from __future__ import annotations

from pipeline.pair import Pair
from pipeline.records import Record
from stages.exports.formats import PROMPTED, Format, PromptedRow, from_prompted, prompted
from stages.exports.labels import MARGIN, calibrated_margin
from stages.exports.wanted import Given
from stages.sources.columns import Row, number
from stages.sources.imports import Origin


class OpenrlhfRow(PromptedRow, frozen=True, kw_only=True):
    """One comparison."""


class OpenrlhfMarginRow(OpenrlhfRow, frozen=True, kw_only=True):
    """The same with the margin that the reward loss subtracts."""

    margin: float


def rows(pair: Pair, given: Given) -> list[Record]:
    """One row. Raises Rejected: no_margin, and as `conditional_arms`."""
    columns = prompted(pair, given.wanted)
    if given.wanted.margin:
        return [OpenrlhfMarginRow(**columns, margin=calibrated_margin(pair))]
    return [OpenrlhfRow(**columns)]


def imports(row: Row, origin: Origin) -> list[Record]:
    """The pair, and its margin where there is one. Raises Rejected as `compared`."""
    return from_prompted(row, origin, margin_logit=number(row.get("margin")))


FORMAT = Format(
    rows=rows,
    row=OpenrlhfRow,
    options={"margin": OpenrlhfMarginRow},
    imports=imports,
    columns={**PROMPTED, "margin": MARGIN},
    usage="""# or openrlhf.cli.train_rm, with --model.margin_loss_enable where the rows have a margin
# deepspeed --module openrlhf.cli.train_dpo --data.dataset path/to/this/folder --data.apply_chat_template \\
#   --data.prompt_key prompt --data.chosen_key chosen --data.rejected_key rejected --data.max_len {max_length}
""",
)
