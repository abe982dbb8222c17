"""Token ids for TRL's DPOTrainer (1.16) through the subclass of docs/token_dpo.md; true step-level DPO.

Carries pairs with one prompt, unfinished steps included: nothing is tokenized again, and an end-of-sequence token stands
only where the policy ended the answer. What the arms begin with in common belongs to the prompt, so no loss is taken on
it. Pairs that come from no search tree need `tokenizer`; then they are tokenized by its chat template.
"""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.errors import Rejected
from pipeline.pair import Pair
from pipeline.records import Record
from pipeline.tokenizer import Tokenizer
from stages.exports.arms import as_messages, both_arms, check_same_prompt, checked
from stages.exports.formats import Format, PairRow, identity
from stages.exports.wanted import Given, Wanted
from stages.pairs.finished import common_prefix


class TokenDpoRow(PairRow, frozen=True, kw_only=True):
    """One comparison as token ids."""

    prompt_ids: tuple[int, ...]
    chosen_ids: tuple[int, ...]
    rejected_ids: tuple[int, ...]
    lcp_tokens: int


def rows(pair: Pair, given: Given) -> list[Record]:
    """One row. Raises Rejected: no_token_ids, prefix_arm (an arm is all of what the other begins with), too_long,
    and as `conditional_arms`."""
    check_same_prompt(pair)
    prompt, chosen, rejected = _ids(pair, given.wanted)
    shared = common_prefix(chosen, rejected)
    if shared in (len(chosen), len(rejected)):
        raise Rejected("prefix_arm", "one arm is how the other begins, so it has no token of its own")
    if len(prompt) + shared >= given.wanted.max_length:
        raise Rejected("too_long", f"the arms part after {len(prompt) + shared} tokens, max_length is "
                                   f"{given.wanted.max_length}")  # fmt: skip
    return [
        TokenDpoRow(
            **identity(pair), prompt_ids=(*prompt, *chosen[:shared]),
            chosen_ids=tuple(chosen[shared:]), rejected_ids=tuple(rejected[shared:]), lcp_tokens=shared,
        )
    ]  # fmt: skip


def _ids(pair: Pair, wanted: Wanted) -> tuple[Sequence[int], Sequence[int], Sequence[int]]:
    """Prompt, chosen, rejected; the very tokens of the policy where a tree kept them."""
    fork, tokenizer = pair.tree, wanted.tokenizer
    if fork and fork.prompt_token_ids and fork.chosen_token_ids and fork.rejected_token_ids:
        checked(pair.prompt_messages, pair.context_id, pair.context)
        chosen = _ended(fork.chosen_token_ids, pair.chosen_terminal, tokenizer)
        return fork.prompt_token_ids, chosen, _ended(fork.rejected_token_ids, pair.rejected_terminal, tokenizer)
    if tokenizer is None:
        raise Rejected("no_token_ids", "the pair keeps no token ids; name the tokenizer of the model to be trained")
    if not pair.chosen_terminal or not pair.rejected_terminal:
        raise Rejected("no_token_ids", "an unfinished step without the ids of its tokens")
    return _tokenized(pair, wanted, tokenizer)


def _tokenized(pair: Pair, wanted: Wanted, tokenizer: Tokenizer) -> tuple[list[int], list[int], list[int]]:
    arms = both_arms(pair, wanted)
    prompt = tokenizer.chat(as_messages(arms.prompt))
    chosen, rejected = (tuple(tokenizer.encode(text)) for text in (arms.chosen, arms.rejected))
    return prompt, [*_ended(chosen, True, tokenizer)], [*_ended(rejected, True, tokenizer)]


def _ended(ids: tuple[int, ...], ended: bool, tokenizer: Tokenizer | None) -> tuple[int, ...]:
    """`ids` with an end where the policy set one. Recorded answers may lack the token; a sampled one has it."""
    if not ended or tokenizer is None or tokenizer.eos_id is None or ids[-1] in tokenizer.special.values():
        return ids
    return (*ids, tokenizer.eos_id)


FORMAT = Format(
    rows=rows,
    row=TokenDpoRow,
    columns={
        "prompt_ids": "prompt, shared prefix, and what both arms begin with; masked from the loss",
        "chosen_ids": "the better step or answer from where the arms part; EOS at its end only if the policy ended there",
        "rejected_ids": "the worse one",
        "lcp_tokens": "how many tokens at the end of prompt_ids both arms begin with",
    },
    usage="""from datasets import load_dataset
from trl import DPOConfig, DPOTrainer


class TokenDPOTrainer(DPOTrainer):
    def _prepare_dataset(self, dataset, *args, **kwargs):
        return dataset  # it holds token ids


data = load_dataset("path/to/this/folder", split="train")
arguments = DPOConfig(output_dir="dpo", max_length={max_length})
TokenDPOTrainer("your/model", args=arguments, train_dataset=data).train()
""",
)
