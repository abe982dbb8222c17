"""Tokenizers by path or name: token counts, truncation and chat rendering outside an engine."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.errors import PlanError
from pipeline.model_files import find_model
from pipeline.records import Message


class Tokenizer:
    """The little of a Hugging Face tokenizer that stages and plans need. `raw` is the real one."""

    def __init__(self, raw: Any, name: str) -> None:
        self.raw = raw
        self.name = name

    def encode(self, text: str) -> list[int]:
        """Token ids of plain text, no special tokens added."""
        return list(self.raw.encode(text, add_special_tokens=False))

    def decode(self, token_ids: Sequence[int]) -> str:
        """Text of token ids, special tokens left out."""
        return str(self.raw.decode(list(token_ids), skip_special_tokens=True))

    def chat(self, messages: Sequence[Message], prefix: str = "", template: str | None = None) -> list[int]:
        """Token ids of what `render` gives, then `prefix`. Raises PlanError as it does."""
        return self.encode(self.render(messages, template) + prefix)

    def render(self, messages: Sequence[Message], template: str | None = None) -> str:
        """Text of a conversation with its control tokens, up to where the assistant begins to write, or has written.

        Raises PlanError when neither the tokenizer nor the config has a chat template.
        """
        if not (template or self.raw.chat_template):
            raise PlanError(f"tokenizer {self.name} has no chat template; set chat_template in the engine's config")
        return str(self.raw.apply_chat_template(
            [{"role": m.role, "content": m.content} for m in messages],
            tokenize=False, add_generation_prompt=messages[-1].role != "assistant",
            **({"chat_template": template} if template else {}),
        ))  # fmt: skip

    @functools.cached_property
    def special(self) -> Mapping[str, int]:
        """Its control tokens: text -> id."""
        return dict(zip(self.raw.all_special_tokens, self.raw.all_special_ids, strict=True))

    @property
    def eos_id(self) -> int | None:
        """The token that ends an answer."""
        found: int | None = self.raw.eos_token_id
        return found


def check_tokenizer(path: str | None) -> None:
    """Raises PlanError for a path that does not exist; loads nothing."""
    if path is not None:
        find_model(path, "tokenizer")


@functools.cache
def load_tokenizer(path: str) -> Tokenizer:
    """The tokenizer at a local path (as given, or below the installation) or, where a hub is at hand, by its name.

    Raises PlanError when there is none.
    """
    found = find_model(path, "tokenizer")
    from transformers import AutoTokenizer  # a second of import time that most commands never need

    try:
        return Tokenizer(AutoTokenizer.from_pretrained(found), path)
    except (OSError, ValueError, KeyError) as error:
        first = str(error).strip().split("\n")[0]
        raise PlanError(
            f"no tokenizer at {path!r} ({first}); give a folder with tokenizer.json or a model name"
        ) from None
