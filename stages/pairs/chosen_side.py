"""What a chosen answer must not contain (spec pairs V10). Pure. The rejected one may: filters on it would teach nothing."""

from __future__ import annotations

import re
from collections import Counter

from stages.pairs.gate import Refusal

_IDENTITY = re.compile(
    r"\b(?:as|i\s+am|i'm)\s+(?:an?\s+)?(?:ChatGPT|GPT-?\d|Claude|Gemini|Bard|Qwen|Llama|Mistral|DeepSeek|Phi-?\d|OLMo|Tulu"
    r"|(?:large\s+)?language\s+model|ai\s+(?:language\s+)?(?:model|assistant))\b"
    r"|\b(?:developed|created|trained|made)\s+by\s+(?:OpenAI|Anthropic|Google|Alibaba|Meta|Mistral|DeepSeek|Ai2)\b",
    re.IGNORECASE,
)
_SPECIAL = re.compile(r"<\|[a-zA-Z0-9_ ]{1,40}\|>|</?s>|<(?:start|end)_of_turn>|\[/?INST\]|<</?SYS>>")
_GRAM, _MOST = 10, 3  # a run of ten words may stand there three times


def chosen_refusal(text: str) -> Refusal | None:
    """identity (says which model it is), special_token (control tokens as text), loop (repeats itself); None: clean."""
    if found := _IDENTITY.search(text):
        return "identity", f"the chosen arm says {found[0]!r}"
    if found := _SPECIAL.search(text):
        return "special_token", f"the chosen arm contains {found[0]!r}"
    words = text.split()
    grams = Counter(tuple(words[i : i + _GRAM]) for i in range(len(words) - _GRAM + 1))
    if grams and (most := max(grams.values())) > _MOST:
        return "loop", f"the chosen arm says the same ten words {most} times"
    return None
