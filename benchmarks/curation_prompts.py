"""Synthetic prompts with planted duplicates, near-duplicates, near-misses and contaminations, and the truth about them."""

from __future__ import annotations

import json
import random
import unicodedata
from dataclasses import dataclass, field
from pathlib import Path

OPENINGS = [
    f"{verb} {what} {link} "
    for verb in ("Write", "Draft", "Summarise", "Translate", "Explain", "Improve", "Review", "Compare")
    for what in ("a short story", "a letter", "an essay", "a poem", "the text", "a speech", "a recipe", "the notes")
    for link in ("about", "for", "with")
]
# shares of the prompts; the rest is new
EXACT, NEAR, MISS, CONTAMINATED = 0.03, 0.07, 0.02, 0.01
ITEMS = 2000  # of the benchmark


@dataclass
class Planted:
    """What was written: per line its prompt, which prompt it descends from, and how."""

    texts: list[str] = field(default_factory=list)
    origin: list[int] = field(default_factory=list)  # equal: duplicates of each other
    how: list[str] = field(default_factory=list)  # new, exact, near, miss, contaminated


def shingles(text: str) -> set[str]:
    """Runs of five characters of the lower-cased text; written apart from the code that is measured."""
    text = " ".join(text.lower().split())
    return {text[i : i + 5] for i in range(len(text) - 4)}


def similarity(a: str, b: str) -> float:
    """Jaccard similarity of the sets of runs."""
    one, two = shingles(a), shingles(b)
    return len(one & two) / len(one | two)


def plant(n: int, folder: Path, seed: int = 11) -> Planted:
    """Writes `prompts.jsonl` (n lines) and `items.jsonl` to `folder`."""
    draw = random.Random(seed)
    syllables = [a + b + c for a in "bdfgklmnprstvz" for b in "aeiou" for c in ("", "n", "r", "s", "l")]
    words = list(dict.fromkeys("".join(draw.choices(syllables, k=draw.choice((2, 2, 3)))) for _ in range(40_000)))
    items = [" ".join(draw.choices(words, k=draw.randint(16, 30))) for _ in range(ITEMS)]
    made = Planted()
    for line in range(n):
        how = draw.choices(("exact", "near", "miss", "contaminated", "new"), (EXACT, NEAR, MISS, CONTAMINATED, 1))[0]
        parent = draw.randrange(line) if line else 0
        while line and made.how[parent] != "new":
            parent = draw.randrange(line)
        text, origin = None, line
        if line and how in ("exact", "near", "miss"):
            text = _copy(how, made.texts[parent], words, draw)
            origin = parent if how != "miss" else line
        if how == "contaminated":
            item = draw.choice(items).split()
            at = draw.randrange(len(item) - 14)
            text = f"{_new(words, draw)} {' '.join(item[at : at + 15]).capitalize()}? {_new(words, draw)}"
        if text is None or not line:
            how, text, origin = "new", _new(words, draw), line
        made.texts.append(text)
        made.origin.append(origin)
        made.how.append(how)
    _write(folder / "prompts.jsonl", "prompt", made.texts)
    _write(folder / "items.jsonl", "question", items)
    return made


def _new(words: list[str], draw: random.Random) -> str:
    return f"{draw.choice(OPENINGS)}{' '.join(draw.choices(words, k=draw.randint(12, 20)))}."


def _copy(how: str, text: str, words: list[str], draw: random.Random) -> str:
    """A duplicate in other case and spacing, an edited text of similarity 0.8 or more, or one of 0.5 to 0.75."""
    if how == "exact":
        return draw.choice(
            (text.upper(), text.replace(" ", "  "), f" {text}\n", unicodedata.normalize("NFD", text) + " ")
        )
    tokens = text.split()
    while True:
        if how == "near" and draw.random() < 0.3:
            tokens.append(draw.choice(words))
        else:
            tokens[draw.randrange(len(tokens))] = draw.choice(words)
        reached = similarity(text, " ".join(tokens))
        if how == "near" and reached >= 0.8:
            return " ".join(tokens)
        if how == "miss" and 0.5 <= reached <= 0.75:
            return " ".join(tokens)
        if reached < (0.8 if how == "near" else 0.5):
            tokens = text.split()


def _write(file: Path, column: str, texts: list[str]) -> None:
    with file.open("w", encoding="utf-8") as out:
        out.writelines(json.dumps({column: text}) + "\n" for text in texts)
