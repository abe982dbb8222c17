"""What NeMo-Aligner's DPO reads (JSON lines of three strings; spec pairs 16.1).

Carries pairs with one prompt. The trainer applies no template: with `tokenizer` the prompt is rendered by its chat template
and the answers end with its end-of-turn token; without, only prompts of one user message go, as plain text. `scores: true`
adds the rewards that RPO needs, and refuses pairs without scores.
"""

from __future__ import annotations

from pipeline.pair import Pair
from pipeline.records import Record
from stages.exports.arms import conditional_arms
from stages.exports.flat import RENDERED, closing, rendered
from stages.exports.formats import Format, PairRow, identity
from stages.exports.labels import both_scores
from stages.exports.wanted import Given
from stages.sources.columns import Row
from stages.sources.imports import Origin, answer, compared, scored, turns


class NemoAlignerRow(PairRow, frozen=True, kw_only=True):
    """One comparison as strings."""

    prompt: str
    chosen_response: str
    rejected_response: str


class NemoAlignerRewardRow(NemoAlignerRow, frozen=True, kw_only=True):
    """The same with the rewards of both answers."""

    chosen_reward: float
    rejected_reward: float


def rows(pair: Pair, given: Given) -> list[Record]:
    """One row. Raises Rejected: several_turns, and as `both_scores` and `conditional_arms`."""
    arms, tokenizer = conditional_arms(pair, given.wanted), given.wanted.tokenizer
    end = closing(arms.prompt, tokenizer)
    columns = {
        **identity(pair), "prompt": rendered(arms.prompt, tokenizer),
        "chosen_response": arms.chosen + end, "rejected_response": arms.rejected + end,
    }  # fmt: skip
    if not given.wanted.scores:
        return [NemoAlignerRow(**columns)]
    chosen, rejected = both_scores(pair)
    return [NemoAlignerRewardRow(**columns, chosen_reward=chosen, rejected_reward=rejected)]


def imports(row: Row, origin: Origin) -> list[Record]:
    """The pair, and its scores where there are rewards. Raises Rejected as `compared` and `scored`."""
    chosen, rejected = (answer(row.get(f"{side}_response"), side) for side in ("chosen", "rejected"))
    rewards = row.get("chosen_reward"), row.get("rejected_reward")
    return compared(
        turns(row.get("prompt")), (chosen, rejected), origin, **(scored(*rewards) if rewards != (None, None) else {})
    )


FORMAT = Format(
    rows=rows,
    row=NemoAlignerRow,
    options={"scores": NemoAlignerRewardRow},
    imports=imports,
    columns={
        "prompt": RENDERED,
        "chosen_response": "the better answer",
        "rejected_response": "the worse answer",
        "chosen_reward": "score of the better answer on [0, 1]",
        "rejected_reward": "score of the worse answer on [0, 1]",
    },
    usage="""from datasets import load_dataset

# it reads JSON lines: model.data.data_prefix={{train: [train.jsonl], …}}, model.encoder_seq_length={max_length}
load_dataset("path/to/this/folder", split="train").to_json("train.jsonl", force_ascii=False)
""",
)
