"""Format `trl-dpo`: what TRL's DPOTrainer reads (1.16; explicit prompt, messages; spec pairs 16.1, 17.5). Pure."""

from __future__ import annotations

from collections.abc import Mapping

from pipeline.errors import Rejected
from pipeline.pair import Pair
from pipeline.records import Message, Record
from stages.exports.arms import ChatMessage, Explanation, Wanted, conditional_arms


class TrlDpoRow(Record, frozen=True, kw_only=True):
    """One comparison. None of the names that the trainer treats specially (spec pairs 0.10) beside its own three."""

    pair_id: str
    prompt: tuple[ChatMessage, ...]
    chosen: tuple[ChatMessage, ...]
    rejected: tuple[ChatMessage, ...]


class TrlDpoRationaleRow(TrlDpoRow, frozen=True, kw_only=True):
    """The same with the reason why; None where no rationale passed its gate."""

    rationale: str | None = None
    rationale_kind: str | None = None
    rationale_response_a: str | None = None


COLUMNS: Mapping[str, str] = {
    "prompt_id": "identity of the prompt (hash of its messages)",
    "pair_id": "identity of the pair; the canonical pair with scores and provenance has the same",
    "prompt": "the conversation up to the question: list of {role, content}",
    "chosen": "the better answer: one assistant message",
    "rejected": "the worse answer: one assistant message",
    "rationale": "why the chosen answer is better; speaks of Response A and Response B",
    "rationale_kind": "general, detailed or contrastive",
    "rationale_response_a": "which arm the rationale calls Response A: chosen or rejected",
}

USAGE = """from datasets import load_dataset
from trl import DPOConfig, DPOTrainer

data = load_dataset("path/to/this/folder", split="train")
arguments = DPOConfig(output_dir="dpo", max_length={max_length})
DPOTrainer("your/model", args=arguments, train_dataset=data).train()
"""


def row_type(rationales: bool) -> type[Record]:
    """The type of this format's rows."""
    return TrlDpoRationaleRow if rationales else TrlDpoRow


def rows(pair: Pair, explanation: Explanation | None, wanted: Wanted) -> list[Record]:
    """The rows of one pair. Raises Rejected with the reason why the format cannot hold it."""
    arms = conditional_arms(pair)
    if wanted.length is not None:
        prompt = [Message(m.role, m.content) for m in arms.prompt]
        if why := wanted.length.why_refused(prompt, arms.chosen, arms.rejected):
            raise Rejected(*why)
    chosen = (ChatMessage("assistant", arms.chosen),)
    rejected = (ChatMessage("assistant", arms.rejected),)
    if not wanted.rationales:
        return [
            TrlDpoRow(
                prompt_id=pair.prompt_id, pair_id=pair.pair_id, prompt=arms.prompt, chosen=chosen, rejected=rejected
            )
        ]  # fmt: skip
    return [
        TrlDpoRationaleRow(
            prompt_id=pair.prompt_id, pair_id=pair.pair_id, prompt=arms.prompt, chosen=chosen, rejected=rejected,
            rationale=explanation.text if explanation else None,
            rationale_kind=explanation.kind if explanation else None,
            rationale_response_a=explanation.response_a if explanation else None,
        )
    ]  # fmt: skip
