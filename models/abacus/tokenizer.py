"""The tokenizer: byte-level pairs in which every digit is a token of its own."""

from __future__ import annotations

import random
from collections.abc import Iterator

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from models.abacus.formats import NUMBER_WORDS, WORDS
from models.abacus.tasks import CHAT_TEMPLATE, Maker

VOCABULARY = 1024
PAD, END = "<|pad|>", "<|end|>"
SPECIAL = (PAD, END, "<|system|>", "<|user|>", "<|assistant|>")
MAX_LENGTH = 1024

PIECES = r"\d|[ \n]?[A-Za-z]+(?: (?=\d))?|[ \n]?[^\sA-Za-z\d]+(?: [^\sA-Za-z\d]+)*(?: (?=\d))?|\s"
"""A digit; a word; a run of signs. The space before a digit goes to what stands before it, so numbers cost no space."""


def _corpus() -> Iterator[str]:
    maker = Maker(random.Random("tokenizer"))
    for role, count in (
        ("solve", 4000),
        ("format", 1500),
        ("rate", 1500),
        ("check", 1500),
        ("compare", 1500),
        ("explain", 1500),
    ):
        for _ in range(count):
            example = maker.make(role)
            text = example.prompt + example.reply
            for special in SPECIAL:
                text = text.replace(special, "\0")
            yield from text.split("\0")
    # Often enough to be one token each: a word that is copied whole is copied surely.
    for word in NUMBER_WORDS:
        yield from (f"Answer: {word}",) * 10
    for word in WORDS:
        yield from (f" {word}.",) * 400


def build() -> PreTrainedTokenizerFast:
    """Train the tokenizer on the roles' own texts; the same code gives the same tokenizer."""
    bare = Tokenizer(models.BPE())
    bare.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PIECES), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    bare.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bare.train_from_iterator(_corpus(), trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=bare,
        eos_token=END,
        pad_token=PAD,
        additional_special_tokens=list(SPECIAL[2:]),
        chat_template=CHAT_TEMPLATE,
        model_max_length=MAX_LENGTH,
        padding_side="left",
        clean_up_tokenization_spaces=False,
    )
