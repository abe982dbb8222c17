"""Two whole conversations with the strength of the preference as margin: reward models with an adaptive margin
(-log sigmoid(difference - margin); Secrets of RLHF II; spec judges 5, C1, C4). TRL's RewardTrainer reads it.

Carries pairs of every level whose strength (mean standardised gap over judges) is known.
"""

from __future__ import annotations

from pipeline.errors import Rejected
from pipeline.pair import Pair, Score
from pipeline.records import Record
from stages.exports.formats import CONVERSATIONS, ConversationsRow, Format, from_conversations, rewarded
from stages.exports.wanted import Given
from stages.sources.columns import Row, number
from stages.sources.imports import Origin, column

LARGEST = 4.0


class MarginRewardRow(ConversationsRow, frozen=True, kw_only=True):
    """One comparison with its strength."""

    margin: float
    mean_preference_difference: float
    std_preference_difference: float | None
    chosen_scores: tuple[float, ...]
    rejected_scores: tuple[float, ...]


def rows(pair: Pair, given: Given) -> list[Record]:
    """One row. Raises Rejected: no_strength, and as `rewarded`."""
    columns = rewarded(pair, given.wanted)
    if pair.strength is None:
        raise Rejected("no_strength", "the strength is not known; it takes scores of judges over a pool of answers")
    return [
        MarginRewardRow(
            **columns,
            margin=min(max(pair.strength, 0.0), LARGEST),
            mean_preference_difference=pair.strength,
            std_preference_difference=pair.strength_std,
            chosen_scores=tuple([s.normalized for s in pair.scores if s.arm == "chosen"]),
            rejected_scores=tuple([s.normalized for s in pair.scores if s.arm == "rejected"]),
        )
    ]


def imports(row: Row, origin: Origin) -> list[Record]:
    """The pair with its strength and scores. Raises Rejected: no_strength, and as `compared` and `column`."""
    if (strength := number(row.get("mean_preference_difference"))) is None:
        raise Rejected("no_strength", "mean_preference_difference is no number")
    scores = tuple([
        Score(side, f"given_{place}", None, score, score, 0.0, 1.0, 1, 0.0)
        for side in ("chosen", "rejected") for place, score in enumerate(column(row, f"{side}_scores", float))
    ])  # fmt: skip
    spread = number(row.get("std_preference_difference"))
    return from_conversations(row, origin, strength=strength, strength_std=spread, scores=scores)


FORMAT = Format(
    rows=rows,
    row=MarginRewardRow,
    imports=imports,
    columns={
        **CONVERSATIONS,
        "margin": "the strength, clipped to [0, 4]; the trainer subtracts it",
        "mean_preference_difference": "mean over judges of the standardised gap of the two answers",
        "std_preference_difference": "its deviation over judges; none for a single judge",
        "chosen_scores": "the judges' scores of the better answer on [0, 1]",
        "rejected_scores": "and of the worse",
    },
    usage="""from datasets import load_dataset
from trl import RewardConfig, RewardTrainer

data = load_dataset("path/to/this/folder", split="train")
arguments = RewardConfig(output_dir="reward", max_length={max_length})
RewardTrainer("your/model", args=arguments, train_dataset=data).train()
""",
)
