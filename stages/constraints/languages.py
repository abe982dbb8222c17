"""The family of the response's language, as far as the script tells it. Pure.

No language detector is among the dependencies, and IFEval's is random unless seeded and takes what it cannot read for
the language asked for. A script that one language uses alone decides; another script than the language's refutes; else
the answer is None.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from functools import lru_cache
from random import Random

from stages.constraints.family import Evidence, Family, Kwargs

_BLOCKS: tuple[tuple[int, int, str], ...] = (
    (0x41, 0x24F, "latin"), (0x370, 0x3FF, "greek"), (0x400, 0x52F, "cyrillic"), (0x530, 0x58F, "armenian"),
    (0x590, 0x5FF, "hebrew"), (0x600, 0x6FF, "arabic"), (0x900, 0x97F, "devanagari"), (0x980, 0x9FF, "bengali"),
    (0xA00, 0xA7F, "gurmukhi"), (0xA80, 0xAFF, "gujarati"), (0xB80, 0xBFF, "tamil"), (0xC00, 0xC7F, "telugu"),
    (0xC80, 0xCFF, "kannada"), (0xD00, 0xD7F, "malayalam"), (0xE00, 0xE7F, "thai"), (0x10A0, 0x10FF, "georgian"),
    (0x1E00, 0x1EFF, "latin"), (0x3040, 0x30FF, "kana"), (0x3400, 0x9FFF, "han"), (0xAC00, 0xD7A3, "hangul"),
)  # fmt: skip
_LATIN = {
    "en": "English", "es": "Spanish", "pt": "Portuguese", "fr": "French", "de": "German", "it": "Italian", "nl": "Dutch",
    "sv": "Swedish", "da": "Danish", "no": "Norwegian", "fi": "Finnish", "pl": "Polish", "cs": "Czech", "hu": "Hungarian",
    "ro": "Romanian", "hr": "Croatian", "tr": "Turkish", "vi": "Vietnamese", "id": "Indonesian", "sw": "Swahili",
    "tl": "Tagalog",
}  # fmt: skip
_OTHER: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "el": ("Greek", ("greek",)), "ru": ("Russian", ("cyrillic",)), "bg": ("Bulgarian", ("cyrillic",)),
    "uk": ("Ukrainian", ("cyrillic",)), "he": ("Hebrew", ("hebrew",)), "ar": ("Arabic", ("arabic",)),
    "fa": ("Persian", ("arabic",)), "ur": ("Urdu", ("arabic",)), "hi": ("Hindi", ("devanagari",)),
    "mr": ("Marathi", ("devanagari",)), "ne": ("Nepali", ("devanagari",)), "bn": ("Bengali", ("bengali",)),
    "pa": ("Punjabi", ("gurmukhi",)), "gu": ("Gujarati", ("gujarati",)), "ta": ("Tamil", ("tamil",)),
    "te": ("Telugu", ("telugu",)), "kn": ("Kannada", ("kannada",)), "ml": ("Malayalam", ("malayalam",)),
    "th": ("Thai", ("thai",)), "ko": ("Korean", ("hangul",)), "ja": ("Japanese", ("kana", "han")),
    "zh": ("Chinese", ("han",)),
}  # fmt: skip
LANGUAGES: Mapping[str, tuple[str, tuple[str, ...]]] = {
    **{code: (name, ("latin",)) for code, name in _LATIN.items()}, **_OTHER
}  # fmt: skip
_ALONE = {"el", "he", "pa", "gu", "ta", "te", "kn", "ml", "th", "ko"}  # the script is hardly used for another language
_MOST = 0.9  # share of the letters that settles which script a text is in


@lru_cache(64)  # asked of the same texts for one language after the other
def _scripts(text: str) -> Counter[str]:
    found: Counter[str] = Counter()
    for char, n in Counter(text).items():
        if char.isalpha():
            found[next((name for low, high, name in _BLOCKS if low <= ord(char) <= high), "other")] += n
    return found


def in_language(text: str, code: str) -> bool | None:
    """Whether a text is in a language (ISO 639-1): by its script alone, else None."""
    if code not in LANGUAGES:
        return None
    found, own = _scripts(text), LANGUAGES[code][1]
    letters, of_own = sum(found.values()), sum([found[name] for name in own])
    if letters < 8:
        return None
    if of_own <= (1 - _MOST) * letters:
        return False
    if of_own < _MOST * letters:
        return None
    if code == "ja" and found["kana"] > 0.2 * letters:
        return True
    return False if code == "zh" and found["kana"] else True if code in _ALONE else None


def _derive(evidence: Evidence, draw: Random) -> Kwargs | None:
    fitting = [
        code for code in sorted(LANGUAGES)
        if all(in_language(text, code) is True for text in evidence.met)
        and all(in_language(text, code) is False for text in evidence.broken)
    ]  # fmt: skip
    return {"language": draw.choice(fitting)} if fitting else None


LANGUAGE = Family(
    "language:response_language",
    lambda kwargs: f"Write your whole answer in {LANGUAGES[kwargs['language']][0]}.",
    lambda text, kwargs: in_language(text, kwargs["language"]),
    _derive,
    lambda kwargs: None,
    {"language": str},
)
