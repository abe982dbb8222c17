"""Stories of collections, shops and roads: each tells one in sentences and notes the steps that answer it."""

from __future__ import annotations

import random
from collections.abc import Callable

from models.abacus.telling import Story, Teller


def _events(teller: Teller, events: list[Callable[[Teller], None]], most: int) -> None:
    for event in teller.rng.choices(events, k=teller.rng.randint(0, most)):
        event(teller)


def _gain(t: Teller) -> None:
    n = t.number(4, 150)
    t.say(f"{{she}} finds {n} more.", f"{{she}} buys {n} more.", f"{{other}} gives {{her}} {n} more.")
    t.plan(t.total, "+", n)


def _lose(t: Teller) -> None:
    n = t.number(5, min(t.value() - 2, 150))
    t.say(f"{{she}} gives {n} to {{other}}.", f"{{she}} loses {n} of them.", f"{{she}} uses {n} of them.")
    t.plan(t.total, "-", n)


def _packs(t: Teller) -> None:
    k, n, before = t.number(2, 9), t.number(4, 30), t.total
    t.say(
        f"{{she}} buys {k} {{box}} with {n} {{things}} each.",
        f"{{other}} brings {{her}} {k} {{box}} of {n} {{things}}.",
    )
    t.plan(before, "+", t.plan(k, "x", n))


def _friends(t: Teller) -> None:
    k, before = t.number(2, 9), t.total
    n = t.number(3, min((t.value() - 2) // k, 80))
    t.say(f"{{she}} gives {n} to each of {k} friends.", f"{k} friends take {n} {{things}} each.")
    t.plan(before, "-", t.plan(k, "x", n))


def _grow(t: Teller) -> None:
    k = t.rng.choice((2, 3))
    word = {2: "doubles", 3: "triples"}[k]
    t.say(f"Then {{other}} {word} what {{she}} has.".replace("{she}", "{name}"))
    t.plan(t.total, "x", k)


def _start_things(t: Teller) -> None:
    a, b, k, way = t.number(8, 160), t.number(4, 120), t.number(2, 9), t.rng.randrange(6)
    if way == 0:
        t.say(f"{{name}} has {a} {{things}}.", f"{{name}} collects {a} {{things}}.")
        t.total = a
    elif way == 1:
        n = t.number(4, 60)
        t.say(
            f"{{name}} has {k} {{box}} with {n} {{things}} in each.",
            f"{{name}} fills {k} {{box}} with {n} {{things}} each.",
        )
        t.plan(k, "x", n)
    elif way == 2:
        t.say(f"{{name}} has {a} {{things}} and {{other}} has {b}. They put them together.")
        t.plan(a, "+", b)
    elif way == 3:
        more = t.rng.random() < 0.5
        t.say(f"{{name}} has {a} {{things}}. {{other}} has {b} {'more' if more else 'fewer'}. They put them together.")
        t.plan(a, "+", t.plan(a, "+" if more else "-", b))
    elif way == 4:
        t.say(f"{{name}} has {a} {{things}}. {{other}} has {k} times as many. They put them together.")
        t.plan(a, "+", t.plan(a, "x", k))
    else:
        n, j, m = t.number(4, 40), t.number(2, 9), t.number(4, 40)
        t.say(f"{{name}} has {k} bags of {n} {{things}} and {j} jars of {m} {{things}}.")
        first = t.plan(k, "x", n)
        t.plan(first, "+", t.plan(j, "x", m))


def things(rng: random.Random) -> Story:
    """Collections that grow, shrink and are shared."""
    t = Teller(rng)
    _start_things(t)
    _events(t, [_gain, _lose, _packs, _friends, _grow], 3)
    way = rng.randrange(6)
    if way == 0:
        t.say("How many {things} are there now?", "How many {things} does that make?")
    elif way in (1, 2):
        k = t.divisor()
        t.say(
            f"{k} children share them equally. How many does each get?",
            f"They are packed equally into {k} {{box}}. How many are in each?",
        )
        t.plan(t.total, "/", k)
    elif way == 3:
        p = t.number(2, 9)
        t.say(
            f"Each one is sold for {p} coins. How many coins is that?",
            f"They cost {p} coins each. What do they cost in all?",
        )
        t.plan(t.total, "x", p)
    elif way == 4:
        goal = t.value() + t.number(3, 200)
        t.say(f"{{she}} wants {goal}. How many are missing?", f"The goal is {goal}. How many more are needed?")
        t.plan(goal, "-", t.total)
    else:
        k, p = t.divisor(), t.number(2, 30)
        t.say(f"They are packed in bags of {k}, and each bag is sold for {p} coins. How many coins is that?")
        t.plan(t.plan(t.total, "/", k), "x", p)
    return t.done()


def shop(rng: random.Random) -> Story:
    """Prices, coupons and change."""
    t = Teller(rng)
    k, p, j, q = t.number(2, 9), t.number(4, 60), t.number(2, 9), t.number(4, 60)
    if rng.random() < 0.55:
        t.say(f"{{name}} buys {k} {{good}} at {p} coins each and {j} {{good2}} at {q} coins each.")
        first = t.plan(k, "x", p)
        t.plan(first, "+", t.plan(j, "x", q))
    else:
        t.say(
            f"{{name}} buys {k} {{good}} for {p} coins each.",
            f"One of the {{good}} costs {p} coins. {{name}} takes {k}.",
        )
        t.plan(k, "x", p)
    off, extra = t.number(4, min(120, t.value() - 2)), t.number(2, 60)
    if rng.random() < 0.5:
        t.say(f"A coupon takes {off} coins off.", f"The shop lowers the bill by {off} coins.")
        t.plan(t.total, "-", off)
    if rng.random() < 0.4:
        t.say(f"Sending it costs {extra} coins more.", f"{{she}} also buys a cake for {extra} coins.")
        t.plan(t.total, "+", extra)
    way = rng.randrange(3)
    if way == 0:
        t.say("How many coins does {name} pay?", "What does it cost in all?")
    elif way == 1:
        paid = t.value() + t.number(2, 150)
        t.say(
            f"{{she}} pays with {paid} coins. How many coins come back?",
            f"{{name}} had {paid} coins. How many are left?",
        )
        t.plan(paid, "-", t.total)
    else:
        n = t.divisor()
        t.say(f"{n} friends split the bill equally. What does each pay?")
        t.plan(t.total, "/", n)
    return t.done()


def road(rng: random.Random) -> Story:
    """Distances by day, what is left of a trip, fuel."""
    t = Teller(rng)
    k, d = t.number(2, 9), t.number(7, 90)
    if rng.random() < 0.6:
        t.say(f"{{name}} drives {d} km a day for {k} days.", f"For {k} days {{name}} rides {d} km every day.")
        t.plan(d, "x", k)
    else:
        e = t.number(7, 150)
        t.say(f"{{name}} drives {d} km on Monday and {e} km on Tuesday.")
        t.plan(d, "+", e)
    if rng.random() < 0.5:
        c = t.number(5, 120)
        t.say(f"Then {{she}} goes {c} km further.".replace("{she}", "{name}"), f"The next day adds {c} km.")
        t.plan(t.total, "+", c)
    if rng.random() < 0.4:
        j, c, before = t.number(2, 9), t.number(3, 40), t.total
        t.say(f"After that come {j} trips of {c} km.")
        t.plan(before, "+", t.plan(j, "x", c))
    way = rng.randrange(4)
    if way == 0:
        whole = t.value() + t.number(6, 300)
        t.say(f"The whole way is {whole} km. How many km are left?")
        t.plan(whole, "-", t.total)
    elif way == 1:
        n = t.divisor()
        t.say(f"The car needs one litre for {n} km. How many litres is that?")
        t.plan(t.total, "/", n)
    elif way == 2:
        t.say("{she} drives the same way back. How many km is that in all?")
        t.plan(t.total, "x", 2)
    else:
        t.say("How many km is that in all?", "How far does {name} go?")
    return t.done()
