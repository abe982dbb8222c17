"""The rows of binarised UltraFeedback in the form with average ratings (spec judges C1).

Carries pairs with one prompt of one user message (or, with `tokenizer`, any prompt, rendered by the chat template) whose
arms have scores; these are put on the ratings' scale of 1 to 5.
"""

from __future__ import annotations

from msgspec.structs import replace

from pipeline.pair import Pair
from pipeline.records import Record
from stages.exports.arms import conditional_arms
from stages.exports.flat import RENDERED, rendered
from stages.exports.formats import Format, PairRow, identity
from stages.exports.labels import both_scores
from stages.exports.wanted import Given
from stages.sources.columns import Row, optional_text
from stages.sources.imports import Origin, answer, compared, scored, turns


class UltrafeedbackBinarizedRow(PairRow, frozen=True, kw_only=True):
    """One comparison."""

    source: str | None
    instruction: str
    chosen_response: str
    rejected_response: str
    chosen_avg_rating: float
    rejected_avg_rating: float
    chosen_model: str | None


def rows(pair: Pair, given: Given) -> list[Record]:
    """One row. Raises Rejected: several_turns, and as `both_scores` and `conditional_arms`."""
    arms = conditional_arms(pair, given.wanted)
    chosen, rejected = both_scores(pair)
    return [
        UltrafeedbackBinarizedRow(
            **identity(pair),
            source=pair.source.dataset,
            instruction=rendered(arms.prompt, given.wanted.tokenizer),
            chosen_response=arms.chosen,
            rejected_response=arms.rejected,
            chosen_avg_rating=1 + 4 * chosen,
            rejected_avg_rating=1 + 4 * rejected,
            chosen_model=pair.chosen_gen.model if pair.chosen_gen else None,
        )
    ]


def imports(row: Row, origin: Origin) -> list[Record]:
    """The pair with its scores, source and model. Raises Rejected as `compared` and `scored`."""
    source = replace(origin.source, dataset=optional_text(row.get("source"), "source"))
    chosen, rejected = (answer(row.get(f"{side}_response"), side) for side in ("chosen", "rejected"))
    label = scored(row.get("chosen_avg_rating"), row.get("rejected_avg_rating"), 1.0, 5.0)
    models = optional_text(row.get("chosen_model"), "model"), None
    return compared(
        turns(row.get("instruction")), (chosen, rejected), origin._replace(source=source), models=models, **label
    )


FORMAT = Format(
    rows=rows,
    row=UltrafeedbackBinarizedRow,
    imports=imports,
    columns={
        "source": "the data set that the prompt comes from",
        "instruction": RENDERED,
        "chosen_response": "the better answer",
        "rejected_response": "the worse answer",
        "chosen_avg_rating": "mean rating of the better answer, 1 to 5",
        "rejected_avg_rating": "mean rating of the worse answer",
        "chosen_model": "which model wrote the better answer",
    },
    usage="""from datasets import load_dataset

# max_length of your trainer: {max_length}
data = load_dataset("path/to/this/folder", split="train")
data = data.rename_columns({{"instruction": "prompt", "chosen_response": "chosen", "rejected_response": "rejected"}})
""",
)
