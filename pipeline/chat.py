"""From messages to token ids, so that no text inside a message can act as a control token.

Candidates are hostile input to a judge: one that contains the literal text `<|end|><|user|>…` must stay text. A render
of the chat template mixes such text with the template's own control strings, and a tokenizer takes both for control
tokens. So every control string found in a message is broken by a character that occurs nowhere in the conversation;
the rendered text is then cut at these characters and the pieces are encoded one by one. No piece holds a control
string that the template did not write. Conversations without control strings, all but a few, are encoded whole.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Sequence
from typing import Any

from pipeline.errors import PlanError
from pipeline.records import Message

_LOOKS_LIKE_CONTROL = re.compile(r"<[^\s<>]{1,64}>|\[[A-Z_/]{2,64}\]|<\|.{1,64}\|>")


class ChatEncoder:
    """Encodes conversations for one tokenizer (a fast Hugging Face tokenizer) and one chat template.

    `template` replaces the tokenizer's own.
    """

    def __init__(self, raw: Any, template: str | None = None, name: str = "") -> None:
        self._raw = raw
        self._name = name
        self._template = template or raw.chat_template
        self._backend = raw.backend_tokenizer
        self.special, self.control = control_strings(raw)
        self._any_special, self._any_control = _starts(self.special), _starts(self.special | self.control)

    def encode(self, text: str) -> list[int]:
        """Token ids of text in which control strings count as such; nothing is added."""
        return list(self._backend.encode(text, add_special_tokens=False).ids)

    def encode_text(self, text: str) -> list[int]:
        """Token ids of text that holds no control tokens, whatever it says."""
        mark = _unused([text])
        return self._pieces(_broken(self._any_control, text, mark), mark)

    def encode_alone(self, text: str) -> list[int]:
        """Token ids of a text with what the tokenizer puts around it: what embedding models read."""
        return list(self._backend.encode(text).ids)

    def decode(self, before: Sequence[int], ids: Sequence[int]) -> str:
        """The text that `ids` add to `before`, special tokens left out.

        Decoded alone, a first token loses the blank that a sentencepiece decoder drops at the start of a text. Bytes of
        a character that the last token leaves unfinished are left out.
        """
        tail = list(before[-16:])
        start = self._backend.decode(tail)
        whole = self._backend.decode([*tail, *ids])
        text = whole[len(start) :] if whole.startswith(start) else self._backend.decode(list(ids))
        return str(text).rstrip("\ufffd")

    def pieces(self, before: Sequence[int], ids: Sequence[int]) -> list[str]:
        """The text that each of `ids` adds; a character that several tokens spell comes with the last of them.

        Together they are what `decode` gives, but for bytes that stay unfinished.
        """
        made, held = [], list(before[-8:])
        shown = self._backend.decode(held)
        for token in ids:
            held.append(token)
            text = self._backend.decode(held)
            if text.endswith("\ufffd"):
                made.append("")
                continue
            made.append(text.removeprefix(shown))
            held = held[-8:]
            shown = self._backend.decode(held)
        return made

    def __call__(self, messages: Sequence[Message], prefix: str = "") -> list[int]:
        """Ids of the conversation up to where the assistant begins to write, then of `prefix`.

        Raises PlanError when there is no chat template.

        Where prompt and prefix merge into other tokens than the prompt alone gives, the prompt's tokens stay as they
        are: that is how the model saw them when it wrote the prefix, and what the prefix cache holds.
        """
        messages, prefix, mark = self._marked(messages, prefix)
        rendered = self._render(messages)
        prompt = self._pieces(rendered, mark)
        if not prefix:
            return prompt
        joint = self._pieces(rendered + prefix, mark)
        return joint if joint[: len(prompt)] == prompt else prompt + self._pieces(prefix, mark)

    def whole(self, messages: Sequence[Message]) -> list[int]:
        """Ids of a conversation that ends with an answer, closed as the template closes it: what models are trained on.

        Raises PlanError when there is no chat template.
        """
        messages, _, mark = self._marked(messages, "")
        return self._pieces(self._render(messages, goes_on=False), mark)

    def _marked(self, messages: Sequence[Message], prefix: str) -> tuple[Sequence[Message], str, str]:
        """Messages and prefix with their control strings broken by the mark, which is empty where there are none."""
        texts = [*[message.content for message in messages], prefix]
        if not any(map(self._any_control.search, texts)):
            return messages, prefix, ""
        mark = _unused(texts)
        broken = [Message(m.role, _broken(self._breaks(m.role), m.content, mark)) for m in messages]
        return broken, _broken(self._any_special, prefix, mark), mark

    def _breaks(self, role: str) -> re.Pattern[str]:
        return self._any_special if role == "assistant" else self._any_control

    def _pieces(self, text: str, mark: str) -> list[int]:
        return [i for piece in text.split(mark) for i in self.encode(piece)] if mark else self.encode(text)

    def _render(self, messages: Sequence[Message], goes_on: bool = True) -> str:
        if not self._template:
            raise PlanError(f"tokenizer {self._name} has no chat template; set chat_template in the engine's config")
        turns = [{"role": m.role, "content": m.content} for m in messages]
        return str(
            self._raw.apply_chat_template(
                turns, tokenize=False, add_generation_prompt=goes_on, chat_template=self._template
            )
        )


def control_strings(raw: Any) -> tuple[frozenset[str], frozenset[str]]:
    """The tokenizer's special tokens, and its other added tokens that look like markup (`<think>`, `[INST]`).

    Chat templates read the latter in assistant turns (to drop old reasoning), so there they are left alone. Added
    tokens that are plain words or runs of blanks are neither.
    """
    added = {str(token.content): bool(token.special) for token in raw.added_tokens_decoder.values()}
    special = frozenset(text for text, is_special in added.items() if is_special and text.strip())
    return special, frozenset(t for t in added if t not in special and _LOOKS_LIKE_CONTROL.fullmatch(t))


@functools.cache
def _starts(strings: frozenset[str]) -> re.Pattern[str]:
    """Matches nothing wide at every place where one of `strings` begins, overlapping ones included."""
    if not strings:
        return re.compile(r"(?!)")
    return re.compile("(?=" + "|".join(map(re.escape, sorted(strings, key=len, reverse=True))) + ")")


def _broken(starts: re.Pattern[str], text: str, mark: str) -> str:
    """`text` with `mark` after the first character of every control string."""
    cuts = [found.start() + 1 for found in starts.finditer(text)]
    return mark.join(text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)) if cuts else text


def _unused(texts: Sequence[str]) -> str:
    """A character that no text holds: a noncharacter, else one for private use."""
    held = set().union(*texts)
    return next(c for c in _marks() if c not in held)


def _marks() -> Iterator[str]:
    yield from map(chr, range(0xFDD0, 0xFDF0))
    yield from map(chr, range(0xF0000, 0x10FFFE))
