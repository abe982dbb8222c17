"""What TRL's DPOTrainer reads (1.16; explicit prompt, messages; spec pairs 16.1, 17.5).

Carries pairs with one prompt. A step goes as a whole answer (prefix + step + tail), because the trainer puts an
end-of-turn token behind every arm; a step of an unfinished answer without a tail is refused.
"""

from __future__ import annotations

from pipeline.pair import Pair
from pipeline.records import Candidate, Rationale, Record
from stages.exports.formats import PROMPTED, Format, PromptedRow, from_prompted, prompted
from stages.exports.wanted import Given
from stages.sources.columns import Row
from stages.sources.imports import Origin, explained


class TrlDpoRow(PromptedRow, frozen=True, kw_only=True):
    """One comparison."""


class TrlDpoRationaleRow(TrlDpoRow, frozen=True, kw_only=True):
    """The same with the reason why; None where no rationale passed its gate."""

    rationale: str | None = None
    rationale_kind: str | None = None
    rationale_response_a: str | None = None


def rows(pair: Pair, given: Given) -> list[Record]:
    """One row. Raises Rejected as `conditional_arms`."""
    columns = prompted(pair, given.wanted)
    if not given.wanted.rationales:
        return [TrlDpoRow(**columns)]
    why = given.explanations.get(pair.pair_id)
    if why:
        columns |= {
            "rationale": why.text, "rationale_kind": why.kind, "rationale_response_a": why.response_a
        }  # fmt: skip
    return [TrlDpoRationaleRow(**columns)]


def imports(row: Row, origin: Origin) -> list[Record]:
    """The pair, and its rationale where there is one. Raises Rejected as `compared` and `explained`."""
    made = from_prompted(row, origin)
    return explained(made, row.get("rationale"), row.get("rationale_response_a"), row.get("rationale_kind"))


FORMAT = Format(
    rows=rows,
    row=TrlDpoRow,
    options={"rationales": TrlDpoRationaleRow},
    imports=imports,
    imported=(Candidate, Pair, Rationale),
    columns={
        **PROMPTED,
        "rationale": "why the chosen answer is better; speaks of Response A and Response B",
        "rationale_kind": "step, detailed, contrastive or general",
        "rationale_response_a": "which arm the rationale calls Response A: chosen or rejected",
    },
    usage="""from datasets import load_dataset
from trl import DPOConfig, DPOTrainer

data = load_dataset("path/to/this/folder", split="train")
arguments = DPOConfig(output_dir="dpo", max_length={max_length})
DPOTrainer("your/model", args=arguments, train_dataset=data).train()
""",
)
