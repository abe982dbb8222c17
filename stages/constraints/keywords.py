"""Families about which words occur, and which stand first and last. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable
from random import Random

from stages.constraints.counts import occurrences
from stages.constraints.family import Evidence, Family, Kwargs
from stages.constraints.wording import content_words, listed, quoted, shared_words

_EDGE = "\"'“”‘’*_`()[]<>#.,;:!?…-– \t\n"
_LAST_WORDS = re.compile(r"\S+(?:[ \t]+\S+){0,4}\Z")


def contains(text: str, word: str) -> bool | None:
    """Whether a text has a word; None where it stands within other words alone ("art" in "party")."""
    whole, inside = occurrences(text, word)
    return True if whole else None if inside else False


def _all(text: str, words: list[str]) -> bool | None:
    found = [contains(text, word) for word in words]
    return False if False in found else None if None in found or not found else True


def _none(text: str, words: list[str]) -> bool | None:
    found = [contains(text, word) for word in words]
    return False if True in found else None if None in found or not found else True


def _word(with_it: tuple[str, ...], without: tuple[str, ...], evidence: Evidence, draw: Random) -> str | None:
    """A word that all texts of the one kind have and none of the other; of a lone kind of text without it, a word of
    the prompt or of the texts near it."""
    if with_it:
        words = shared_words(with_it)
    else:
        words = list(dict.fromkeys([w for text in (*evidence.near, evidence.prompt) for w in content_words(text)]))
    fitting = [word for word in words if all(contains(text, word) is False for text in without)]
    return draw.choice(fitting) if fitting else None


def _existing(evidence: Evidence, draw: Random) -> Kwargs | None:
    word = _word(evidence.met, evidence.broken, evidence, draw)
    return {"keywords": [word]} if word else None


def _forbidden(evidence: Evidence, draw: Random) -> Kwargs | None:
    word = _word(evidence.broken, evidence.met, evidence, draw)
    return {"forbidden_words": [word]} if word else None


def _no_opposite(kwargs: Kwargs) -> None:
    """Nobody would ask for the contrary."""


def _swapped(key: str, family: str, other: str) -> Callable[[Kwargs], tuple[str, Kwargs] | None]:
    """Of one word, to use it and not to use it are opposites; of several they are not."""
    return lambda kwargs: (family, {other: kwargs[key]}) if len(kwargs[key]) == 1 else None


def _plural(words: list[str]) -> str:
    return f"{'word' if len(words) == 1 else 'words'} {listed(words)}"


def end_phrase(text: str, phrase: str) -> bool | None:
    """Whether a text ends with a phrase, letter by letter. None: but for case, quotes or punctuation behind it."""
    text, phrase = text.strip(), phrase.strip()
    if text.endswith(phrase):
        before = text[: -len(phrase)]
        return True if not before or not (before[-1].isalnum() and phrase[:1].isalnum()) else None
    same = text.strip(_EDGE).lower().endswith(phrase.strip(_EDGE).lower())
    return None if same else False


def first_word(text: str) -> str:
    """The first word in lower case without what encloses it; empty where there is none."""
    return next((bare for part in text.split() if (bare := part.strip(_EDGE).lower())), "")


def last_word(text: str) -> str:
    """The last word, as `first_word`."""
    return next((bare for part in reversed(text.split()) if (bare := part.strip(_EDGE).lower())), "")


def _edge(read: Callable[[str], str]) -> Callable[[Evidence, Random], str | None]:
    """Derives the word that `read` finds in all texts of `met` and in none of `broken`."""

    def derive(evidence: Evidence, draw: Random) -> str | None:
        if evidence.met:
            words = {read(text) for text in evidence.met}
            words = words if len(words) == 1 else set()
        else:  # words that the texts have elsewhere
            words = {word for text in evidence.broken for word in content_words(text)}
        wrong = {read(text) for text in evidence.broken}
        fitting = sorted(word for word in words - wrong if word.isalpha())
        return draw.choice(fitting) if fitting and "" not in wrong else None  # a text without words breaks nothing

    return derive


_first, _last = _edge(first_word), _edge(last_word)


def _paragraphs(text: str) -> list[str]:
    return [part for part in re.split(r"\n[ \t]*\n\s*", text.strip()) if part.strip()]


def _nth(text: str, kwargs: Kwargs) -> bool | None:
    """Paragraphs between blank lines; None where single line breaks or blank ones make their number doubtful."""
    parts, n = _paragraphs(text), kwargs["nth_paragraph"]
    if not 1 <= n <= kwargs["num_paragraphs"]:
        return None  # no text can be meant
    if len(parts) != kwargs["num_paragraphs"]:
        return False
    doubtful = [part.strip() for part in text.split("\n\n")] != [part.strip() for part in parts]
    plain = re.split(r"[.,?!'\"]", parts[n - 1].split()[0].lstrip("'\""))[0].lower()  # IFEval's reading
    found = {word == kwargs["first_word"].strip().lower() for word in (first_word(parts[n - 1]), plain)}
    return None if doubtful or len(found) > 1 else found.pop()


def _nth_derived(evidence: Evidence, draw: Random) -> Kwargs | None:
    texts = evidence.met or evidence.broken
    parts = [_paragraphs(text) for text in texts]
    if len(texts) != 1 or len(parts[0]) < 2:
        return None
    n = draw.randint(1, len(parts[0]))
    word = first_word(parts[0][n - 1])
    if not evidence.met:
        words = [w for w in content_words(texts[0]) if w != word]
        word = draw.choice(words) if words else ""
    kwargs = {"num_paragraphs": len(parts[0]), "nth_paragraph": n, "first_word": word}
    kept = all(_nth(text, kwargs) is True for text in evidence.met)
    return kwargs if word.isalpha() and kept and all(_nth(text, kwargs) is False for text in evidence.broken) else None


def _ending(evidence: Evidence, draw: Random) -> Kwargs | None:
    sources = evidence.met[:1] or evidence.near
    tails = [found[0] for text in sources if (found := _LAST_WORDS.search(text.strip().rsplit("\n", 1)[-1]))]
    fitting = [
        tail for tail in tails
        if '"' not in tail  # which the instruction puts around it
        and all(end_phrase(text, tail) is True for text in evidence.met)
        and all(end_phrase(text, tail) is False for text in evidence.broken)
    ]  # fmt: skip
    return {"end_phrase": draw.choice(fitting)} if fitting else None


def _of_word(name: str, key: str, text: str, read: Callable[[str], str], drawn: Callable[..., str | None]) -> Family:
    def derive(evidence: Evidence, draw: Random) -> Kwargs | None:
        word = drawn(evidence, draw)
        return {key: word} if word else None

    return Family(
        name,
        lambda kwargs: text.format(kwargs[key]),
        lambda response, kwargs: read(response) == kwargs[key].strip().lower() if read(response) else None,
        derive, _no_opposite, {key: str},
    )  # fmt: skip


KEYWORDS: tuple[Family, ...] = (
    Family(
        "keywords:existence",
        lambda kwargs: f"Include the {_plural(kwargs['keywords'])}.",
        lambda text, kwargs: _all(text, kwargs["keywords"]),
        _existing, _swapped("keywords", "keywords:forbidden_words", "forbidden_words"), {"keywords": list},
    ),
    Family(
        "keywords:forbidden_words",
        lambda kwargs: f"Do not use the {_plural(kwargs['forbidden_words'])}.",
        lambda text, kwargs: _none(text, kwargs["forbidden_words"]),
        _forbidden, _swapped("forbidden_words", "keywords:existence", "keywords"), {"forbidden_words": list},
    ),
    Family(
        "startend:end_checker",
        lambda kwargs: f"Finish your answer with this exact phrase and nothing behind it: {quoted(kwargs['end_phrase'])}",
        lambda text, kwargs: end_phrase(text, kwargs["end_phrase"]),
        _ending, _no_opposite, {"end_phrase": str},
    ),
    Family(
        "length_constraints:nth_paragraph_first_word",
        lambda kwargs: (
            f"Write exactly {kwargs['num_paragraphs']} paragraphs, separated by blank lines; paragraph "
            f"{kwargs['nth_paragraph']} must start with the word {quoted(kwargs['first_word'])}."
        ),
        _nth, _nth_derived, _no_opposite, {"num_paragraphs": int, "nth_paragraph": int, "first_word": str},
    ),
    _of_word("first_word:first_word_answer", "first_word", "Begin with the word {}.", first_word, _first),
    _of_word("last_word:last_word_answer", "last_word", "End with the word {}.", last_word, _last),
)  # fmt: skip
