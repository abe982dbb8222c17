"""What Axolotl's DPO reads (0.18; `chat_template.default`; spec pairs 16.1).

Carries pairs with one prompt. The trainer finds an answer by its first occurrence in a rendered dialogue, so answers are
stripped, have at least 8 characters, and must not stand in what the chat template puts before them.
"""

from __future__ import annotations

from pipeline.errors import Rejected
from pipeline.pair import Pair
from pipeline.records import Message, Record
from pipeline.tokenizer import Tokenizer
from stages.exports.arms import ChatMessage, Conversation, conditional_arms, said
from stages.exports.formats import PROMPTED, Format, PairRow, from_prompted, identity
from stages.exports.wanted import Given
from stages.sources.columns import Row
from stages.sources.imports import Origin

SHORTEST = 8
DUMMY = "[[dummy_message]]"  # the question that the trainer puts before each answer
COMMON = f"<|start_header_id|>system <|im_start|>assistant <start_of_turn>model {DUMMY} You are a helpful assistant."


class AxolotlRow(PairRow, frozen=True, kw_only=True):
    """One comparison."""

    messages: Conversation
    chosen: ChatMessage
    rejected: ChatMessage


def rows(pair: Pair, given: Given) -> list[Record]:
    """One row. Raises Rejected: too_short, in_template, and as `conditional_arms`."""
    arms = conditional_arms(pair, given.wanted)
    before = _before_an_answer(given.wanted.tokenizer)
    for text in (arms.chosen, arms.rejected):
        if len(text) < SHORTEST:
            raise Rejected("too_short", f"an answer has {len(text)} characters, the trainer may find it elsewhere")
        if text in before:
            raise Rejected("in_template", "an answer occurs in the chat template, where the trainer would find it")
    return [
        AxolotlRow(**identity(pair), messages=arms.prompt, chosen=said(arms.chosen), rejected=said(arms.rejected))
    ]  # fmt: skip


def _before_an_answer(tokenizer: Tokenizer | None) -> str:
    """What stands before an answer by the model's template, else by common ones."""
    return tokenizer.render((Message("user", DUMMY),)) if tokenizer else COMMON


def imports(row: Row, origin: Origin) -> list[Record]:
    """The pair. Raises Rejected as `compared`."""
    return from_prompted({**row, "prompt": row.get("messages")}, origin)


FORMAT = Format(
    rows=rows,
    row=AxolotlRow,
    imports=imports,
    columns={
        "messages": PROMPTED["prompt"],
        "chosen": "the better answer: a message {role, content}",
        "rejected": "the worse answer",
    },
    usage="""# in the training's YAML
# rl: dpo
# chat_template: tokenizer_default
# sequence_len: {max_length}
# datasets:
#   - {{path: path/to/this/folder, split: train, type: chat_template.default}}
""",
)
