"""What every story is told with: people, things, and the notes of the steps."""

from __future__ import annotations

import random

from models.abacus.problems import LARGEST, Num, Ref, Step, Unfit, apply

Story = tuple[str, tuple[Step, ...]]

PEOPLE = [(name, "She", "her") for name in "Mia Anna Ella Nora Lucy Rosa Ida Zoe Emma Lena Kate Amy".split()] + [
    (name, "He", "him") for name in "Tom Ben Leo Max Paul Sam Noah Omar Finn Hugo Jack Ivan".split()
]
THINGS = (
    "marbles stickers apples cards shells stamps beads coins buttons cookies pears nuts plums pencils "
    "balloons stones flowers eggs candies tickets"
).split()
GOODS = "books shirts cups lamps balls hats toys plates pens bags kites scarves".split()
BOXES = "boxes bags jars baskets packs".split()


class Teller:
    """A story being told: its sentences, its steps and the quantity the next event changes."""

    def __init__(self, rng: random.Random) -> None:
        """Choose who and what the story is about."""
        self.rng = rng
        (self.name, self.she, self.her), (self.other, _, _) = rng.sample(PEOPLE, 2)
        self.things = rng.choice(THINGS)
        self.good, self.good2 = rng.sample(GOODS, 2)
        self.box = rng.choice(BOXES)
        self.sentences: list[str] = []
        self.steps: list[Step] = []
        self.values: list[int] = []
        self.total: Num = 0

    def value(self) -> int:
        """The running quantity as a number."""
        return self.total if isinstance(self.total, int) else self.values[self.total.index]

    def number(self, low: int, high: int) -> int:
        """A number of the text."""
        if high < low:
            raise Unfit("no room for a number")
        return self.rng.randint(low, high)

    def plan(self, left: Num, op: str, right: Num) -> Ref:
        """Note a step; its result becomes the running quantity."""
        a, b = (n if isinstance(n, int) else self.values[n.index] for n in (left, right))
        if max(a, b) > LARGEST:
            raise Unfit("number too large")
        self.values.append(apply(op, a, b))
        self.steps.append(Step(left, op, right))
        self.total = Ref(len(self.steps) - 1)
        return self.total

    def say(self, *ways: str) -> None:
        """Tell one sentence in one of several ways; `{she}` and its like are filled in."""
        self.sentences.append(self.rng.choice(ways).format(**vars(self)))

    def divisor(self) -> int:
        """A small number that divides the running quantity."""
        fits = [k for k in range(2, 10) if self.value() % k == 0 and self.value() > k]
        if not fits:
            raise Unfit("nothing divides it")
        return self.rng.choice(fits)

    def done(self) -> Story:
        """The text and the steps."""
        return " ".join(self.sentences), tuple(self.steps)
