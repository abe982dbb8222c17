"""Candidate text as data: what a judge is shown can neither end its own quotation nor speak as another role."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

from pipeline.records import Message

# Special tokens of common chat formats. They are removed: a tokenizer may map them to control tokens.
_SPECIAL = re.compile(
    r"<\|[a-zA-Z0-9_ ]{1,40}\|>|</?s>|<(?:start|end)_of_turn>|\[/?INST\]|<</?SYS>>|<｜[^｜<>]{1,40}｜>"
    r"|<(?:bos|eos|pad|unk)>"
)
# The tags in which the shipped templates quote texts, behind their bracket.
_NAME = (
    r"\s{0,3}/?\s{0,3}(?:prompt|conversation|reference|response(?:_[a-z0-9]{1,4})?|steps?|criterion|observation|"
    r"notes|claim|rubric|critique|context|advice)"
)
_TAG_END = r"(?:[\s/][^<>]{0,100})?[>＞﹥›〉⟩❯ᐳ˃]"
_TAG = re.compile(rf"<(?={_NAME}{_TAG_END})", re.IGNORECASE)
_DISGUISED = re.compile(_NAME + _TAG_END)
_PASSES = 8
_NEWLINES = re.compile(r"\r\n?|[\u2028\u2029\x85\v\f]")
# What is not seen and can hide or reorder what is: control characters, zero-width blanks, bidirectional overrides,
# tag characters. The joiners that emoji and many scripts need stay, unless they stand in a row.
_UNSEEN = re.compile(
    "[\x00-\x08\x0e-\x1f\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\u3164"
    "\ufeff\uffa0\ufff9-\ufffb\U000e0000-\U000e0fff]"
)
_ASCII_UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f]")
_JOINERS = re.compile("[\u200c\u200d]{2,}")
# Tags in disguise: brackets, slashes and letters that look like those of a tag.
_BRACKET = re.compile("[<＜﹤‹〈⟨❮ᐸ˂𝈶]")
_ALIKE = str.maketrans(
    "аеорсухіѕјкптԁԛԍɡոսօαεηικνορτυχıɪꜱʀɴᴘᴏᴇᴛ⁄∕／⧸╱",
    "aeopcyxisjkntdqggnuoaenikvoptuxiisrnpoet/////",
)
_MOST = 200  # characters from a bracket that can still be the head of a tag


def as_data(text: str) -> str:
    """`text` with \\n newlines, without special tokens and unseen characters, with the templates' own tags defused
    (`<` becomes `&lt;`), also where look-alike characters write them."""
    if not text.isascii() or _ASCII_UNSEEN.search(text):
        text = _JOINERS.sub("", _UNSEEN.sub("", _NEWLINES.sub("\n", text)))
    if "<" in text or "[" in text:
        text = _TAG.sub("&lt;", _without_special(text))
    return text if text.isascii() else _BRACKET.sub(_defused, text)


def _without_special(text: str) -> str:
    for _ in range(_PASSES):
        if (cleaned := _SPECIAL.sub("", text)) == text:
            return text
        text = cleaned  # again: what is left may join to a new token
    return text.replace("<", "").replace("[", "")  # nested ever deeper, which no honest text is


def _defused(bracket: re.Match[str]) -> str:
    head = bracket.string[bracket.end() : bracket.end() + _MOST]
    plain = "".join(c for c in unicodedata.normalize("NFKD", head) if unicodedata.category(c) not in ("Cf", "Mn", "Me"))
    return "&lt;" if _DISGUISED.match(plain.casefold().translate(_ALIKE)) else bracket[0]


def prompt_text(messages: Sequence[Message], prefix: str = "") -> str:
    """The prompt as one text: the user's message, or for longer conversations all turns under their roles.

    prefix: what the assistant's answer already begins with, shown as its last turn.
    """
    if len(messages) == 1 and messages[0].role == "user" and not prefix:
        return as_data(messages[0].content)
    turns = [f"{m.role.capitalize()}: {as_data(m.content)}" for m in messages]
    if prefix:
        turns.append(f"Assistant (begins with): {as_data(prefix)}")
    return "\n\n".join(turns)
