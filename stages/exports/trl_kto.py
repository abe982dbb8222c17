"""What TRL's KTOTrainer reads (1.16; unpaired answers with a thumb; spec pairs 16.1, 17.5).

Carries absolute labels only, never which of two answers was better: of pairs, finished answers scored at least 0.6 (thumb up)
or at most 0.4 (down), each answer once; with `table: thumbs`, steps with which the policy ended its answer (the trainer puts an
end-of-turn token behind every completion). The trainer estimates its KL term inside a batch: at least two rows a batch,
prompts mixed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from pipeline import ids
from pipeline.errors import Rejected
from pipeline.pair import Pair
from pipeline.records import Candidate, Judgment, Record
from pipeline.tree import Thumb
from stages.exports.arms import ChatMessage, Conversation, asked, check_text, conditional_arms, said
from stages.exports.formats import PROMPTED, Format
from stages.exports.labels import both_scores
from stages.exports.wanted import Given
from stages.sources import imports as back
from stages.sources.columns import Row

UP, DOWN = 0.6, 0.4


class TrlKtoRow(Record, frozen=True, kw_only=True):
    """One answer with its label."""

    source_id: str
    prompt: Conversation
    completion: tuple[ChatMessage, ...]
    label: bool


class Labelled(NamedTuple):
    """One arm of a pair: what makes two answers the same one, and its label (None between the thresholds)."""

    answer: tuple[Any, ...]
    label: bool | None


def rows(item: Pair | Thumb, given: Given) -> list[Record]:
    """Up to two rows of a pair, one of a thumb.

    Raises Rejected: as `both_scores`, undecided (no arm has a label), contradiction (another pair labels them
    otherwise), duplicate (earlier pairs carry them), not_terminal, and as `conditional_arms`.
    """
    if isinstance(item, Thumb):
        return [_row(item.thumb_id, asked(given), _ended(item, given), item.up, given)]
    arms = conditional_arms(item, given.wanted)
    both_scores(item)
    labelled = _labelled(item)
    others = [(pair.pair_id, arm) for pair in given.pairs for arm in _labelled(pair)] if len(given.pairs) > 1 else []
    states = [_state(item, arm, others) for arm in labelled]
    texts = zip((arms.chosen, arms.rejected), labelled, states, strict=True)
    made = [_row(item.pair_id, arms.prompt, text, bool(arm.label), given) for text, arm, why in texts if why is None]
    if not made:
        raise Rejected(*min(filter(None, states)))  # contradiction before duplicate before undecided
    return made


def _row(source_id: str, prompt: Conversation, text: str, label: bool, given: Given) -> Record:
    return TrlKtoRow(
        prompt_id=given.prompt.prompt_id, source_id=source_id, prompt=prompt, completion=(said(text),), label=label
    )


def _ended(thumb: Thumb, given: Given) -> str:
    """The whole answer that ends with the step."""
    if not thumb.ended:
        raise Rejected("not_terminal", "a step of an unfinished answer; it would teach stopping")
    if not (text := f"{thumb.prefix}{thumb.text}".strip()):
        raise Rejected("empty", "the answer has no text")
    check_text([text], given.wanted)
    return text


def _state(pair: Pair, arm: Labelled, others: Sequence[tuple[str, Labelled]]) -> tuple[str, str] | None:
    """Why an arm gives no row (reason, detail); None where it gives one. others: the arms of all pairs of the prompt."""
    if arm.label is None:
        return "undecided", f"both scores lie between {DOWN} and {UP}"
    same = [(pair_id, a.label) for pair_id, a in others if a.answer == arm.answer]
    if any(label is not None and label != arm.label for _, label in same):
        return "contradiction", "another pair gives the same answer the opposite label"
    first = next((pair_id for pair_id, label in same if label is not None), pair.pair_id)
    return ("duplicate", f"pair {first} carries the same answer") if first != pair.pair_id else None


def _labelled(pair: Pair) -> tuple[Labelled, Labelled]:
    shared = pair.prompt_messages, pair.assistant_prefix
    return (
        Labelled((*shared, pair.chosen_messages, pair.chosen_tail), _label(pair.chosen_score, pair.chosen_terminal)),
        Labelled(
            (*shared, pair.rejected_messages, pair.rejected_tail), _label(pair.rejected_score, pair.rejected_terminal)
        ),
    )


def _label(score: float | None, terminal: bool) -> bool | None:
    return None if score is None or not terminal or DOWN < score < UP else score >= UP


def imports(row: Row, origin: back.Origin) -> list[Record]:
    """The answer as a thumb, and as a candidate with a score of 1 or 0, of which `pair_responses` makes pairs. Raises
    Rejected: no_label, and as `turns` and `answer`."""
    if (up := row.get("label")) not in (True, False):
        raise Rejected("no_label", f"the label is {up!r:.20}, not true or false")
    prompt = back.asked(back.turns(row.get("prompt")), origin)
    text = back.answer(row.get("completion"), "completion")
    found = back.candidate(prompt, origin.job, None, 0, text)
    thumb = Thumb(
        prompt_id=prompt.prompt_id, thumb_id=ids.content_hash("given/3", found.candidate_id, bool(up)), tree_id="", node_id=0,
        prefix="", text=text, prompt_token_ids=(), token_ids=(), up=bool(up), weight=1.0, ended=True,
    )  # fmt: skip
    return [prompt, found, back.rated(found, float(up)), thumb]


FORMAT = Format(
    rows=rows,
    row=TrlKtoRow,
    reads=(Pair, Thumb),
    whole_groups=False,
    imports=imports,
    imported=(Candidate, Judgment, Thumb),
    columns={
        "source_id": "the pair or thumb that the label comes from",
        "prompt": PROMPTED["prompt"],
        "completion": "one assistant message",
        "label": "whether the answer is good",
    },
    usage="""from datasets import load_dataset
from trl import KTOConfig, KTOTrainer

data = load_dataset("path/to/this/folder", split="train")
arguments = KTOConfig(output_dir="kto", max_length={max_length}, per_device_train_batch_size=8)
KTOTrainer("your/model", args=arguments, train_dataset=data).train()
""",
)
