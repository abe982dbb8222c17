"""What LLaMA-Factory's ranking stages (dpo, orpo, simpo, rm) read (0.9.6; sharegpt form; spec pairs 16.1).

Carries pairs with one prompt whose turns alternate, user first and last, after at most one system message: the trainer
drops all others without a word. `dataset_info.json` beside the shards describes them; `"formatting": "openai"` would add
a system text, so it is sharegpt with the roles of OpenAI.
"""

from __future__ import annotations

import json

from pipeline.errors import Rejected
from pipeline.pair import Pair
from pipeline.records import Record
from pipeline.stage import Summary
from stages.exports.arms import ChatMessage, Conversation, conditional_arms, said
from stages.exports.formats import PROMPTED, Format, PairRow, from_prompted, identity
from stages.exports.wanted import Given
from stages.sources.columns import Row
from stages.sources.imports import Origin

COLUMNS = {"messages": "conversations", "chosen": "chosen", "rejected": "rejected"}
TAGS = {
    "role_tag": "role", "content_tag": "content", "user_tag": "user", "assistant_tag": "assistant", "system_tag": "system",
    "observation_tag": "tool", "function_tag": "function_call",
}  # fmt: skip


class LlamaFactoryRow(PairRow, frozen=True, kw_only=True):
    """One comparison; the answers are single messages, for lists lose their pair."""

    conversations: Conversation
    chosen: ChatMessage
    rejected: ChatMessage


def rows(pair: Pair, given: Given) -> list[Record]:
    """One row. Raises Rejected: not_alternating, and as `conditional_arms`."""
    arms = conditional_arms(pair, given.wanted)
    roles = [m.role for m in arms.prompt]
    turns = roles[1:] if roles[0] == "system" else roles
    if len(turns) % 2 == 0 or turns != (["user", "assistant"] * len(turns))[: len(turns)]:
        raise Rejected("not_alternating", f"turns are {', '.join(roles)}; user and assistant must alternate")
    return [
        LlamaFactoryRow(
            **identity(pair), conversations=arms.prompt, chosen=said(arms.chosen), rejected=said(arms.rejected)
        )
    ]  # fmt: skip


def dataset_info(summary: Summary, system: bool = False) -> dict[str, str]:
    """One entry for each shard: a folder with other files beside the shards cannot be one. system: rows have that column."""
    columns = COLUMNS | ({"system": "system"} if system else {})
    entry = {"formatting": "sharegpt", "ranking": True, "columns": columns, "tags": TAGS}
    entries = {f"pairs-{file.removesuffix('.parquet')}": {"file_name": file, **entry} for file in summary.shards}
    return {"dataset_info.json": f"{json.dumps(entries, indent=1)}\n"}


def imports(row: Row, origin: Origin) -> list[Record]:
    """The pair. Raises Rejected as `compared`."""
    return from_prompted({**row, "prompt": row.get("conversations")}, origin)


FORMAT = Format(
    rows=rows,
    row=LlamaFactoryRow,
    imports=imports,
    columns={
        "conversations": PROMPTED["prompt"],
        "chosen": "the better answer: a message {role, content}",
        "rejected": "the worse answer",
    },
    usage="""# in the training's YAML, with the names in dataset_info.json
# stage: dpo
# dataset_dir: path/to/this/folder
# dataset: pairs-00000,pairs-00001
# cutoff_len: {max_length}
""",
    files=dataset_info,
)
