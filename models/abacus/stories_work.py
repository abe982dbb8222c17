"""Stories of wages, books, halls and farms."""

from __future__ import annotations

import random

from models.abacus.telling import Story, Teller


def wages(rng: random.Random) -> Story:
    """What somebody earns, spends and saves."""
    t = Teller(rng)
    pay, hours = t.number(4, 60), t.number(2, 9)
    t.say(
        f"{{name}} earns {pay} coins an hour and works {hours} hours.",
        f"For {hours} hours of work {{name}} gets {pay} coins an hour.",
    )
    t.plan(pay, "x", hours)
    if rng.random() < 0.45:
        tip = t.number(3, 80)
        t.say(f"{{she}} gets a tip of {tip} coins.", f"{{other}} adds {tip} coins.")
        t.plan(t.total, "+", tip)
    if rng.random() < 0.45:
        cost = t.number(4, min(t.value() - 2, 90))
        t.say(f"{{she}} spends {cost} coins on lunch.", f"A ticket costs {{her}} {cost} coins.")
        t.plan(t.total, "-", cost)
    if rng.random() < 0.25:
        weeks = t.number(2, 6)
        t.say(f"It is the same every week for {weeks} weeks.")
        t.plan(t.total, "x", weeks)
    way = rng.randrange(4)
    if way == 0:
        goal = t.value() + t.number(4, 250)
        t.say(
            f"A bike costs {goal} coins. How many coins are missing?",
            f"{{she}} saves for a coat of {goal} coins. How many more are needed?",
        )
        t.plan(goal, "-", t.total)
    elif way == 1:
        n = t.divisor()
        t.say(f"{{she}} divides it equally among {n} children. How many coins does each get?")
        t.plan(t.total, "/", n)
    elif way == 2:
        n, before = t.divisor(), t.total
        t.say(f"{{she}} gives one of {n} equal parts away. How many coins are left?")
        t.plan(before, "-", t.plan(t.total, "/", n))
    else:
        t.say("How many coins does {name} have in the end?")
    return t.done()


def book(rng: random.Random) -> Story:
    """Pages read and pages left."""
    t = Teller(rng)
    pages, days = t.number(4, 60), t.number(2, 9)
    t.say(
        f"{{name}} reads {pages} pages a day for {days} days.", f"In {days} days {{name}} reads {pages} pages each day."
    )
    t.plan(pages, "x", days)
    if rng.random() < 0.5:
        more = t.number(4, 90)
        t.say(f"On Sunday {{name}} reads {more} pages more.", f"Then come {more} pages at night.")
        t.plan(t.total, "+", more)
    way = rng.randrange(4)
    if way == 0:
        t.say("How many pages is that?")
        return t.done()
    whole = t.value() + t.number(8, 240)
    t.say(f"The book has {whole} pages.")
    t.plan(whole, "-", t.total)
    if way == 1:
        t.say("How many pages are left?")
    elif way == 2:
        n = t.divisor()
        t.say(
            f"The rest is read in {n} days. How many pages a day is that?",
            f"{{other}} reads the rest in {n} equal parts. How long is one?",
        )
        t.plan(t.total, "/", n)
    else:
        extra = t.number(3, 90)
        t.say(f"A second book has {extra} pages more than what is left. How many pages has the second book?")
        t.plan(t.total, "+", extra)
    return t.done()


def hall(rng: random.Random) -> Story:
    """Seats, guests and free places."""
    t = Teller(rng)
    rows, seats = t.number(3, 9), t.number(5, 70)
    t.say(f"A hall has {rows} rows of {seats} seats.", f"There are {rows} rows with {seats} chairs in each.")
    t.plan(rows, "x", seats)
    if rng.random() < 0.4:
        more = t.number(3, 98)
        t.say(f"{{name}} brings {more} more.", f"{more} chairs are added.")
        t.plan(t.total, "+", more)
    if rng.random() < 0.5:
        gone = t.number(4, min(t.value() - 2, 98))
        t.say(f"{gone} are broken.", f"{gone} of them are taken away.")
        t.plan(t.total, "-", gone)
    if rng.random() < 0.5:
        k, before = t.number(2, 9), t.total
        group = t.number(4, min((t.value() - 2) // k, 100))
        t.say(f"{k} groups of {group} people sit down.")
        t.plan(before, "-", t.plan(k, "x", group))
    way = rng.randrange(3)
    if way == 0:
        t.say("How many seats are free?", "How many places are there now?")
    elif way == 1:
        n = t.divisor()
        t.say(f"{n} classes share the places equally. How many does each get?")
        t.plan(t.total, "/", n)
    else:
        people = t.number(4, min(t.value() - 2, 200))
        t.say(f"{people} people come. How many places stay empty?")
        t.plan(t.total, "-", people)
    return t.done()


def farm(rng: random.Random) -> Story:
    """Harvests that are packed, eaten and sold."""
    t = Teller(rng)
    a, b = t.number(16, 300), t.number(10, 250)
    if rng.random() < 0.6:
        t.say(
            f"A farm picks {a} {{things}} in May and {b} in June.",
            f"{{name}} picks {a} {{things}} and {{other}} picks {b}.",
        )
        t.plan(a, "+", b)
    else:
        trees, each = t.number(3, 9), t.number(6, 80)
        t.say(f"There are {trees} fields with {each} {{things}} each.")
        t.plan(trees, "x", each)
    if rng.random() < 0.7:
        bad = t.number(3, min(t.value() - 2, 90))
        t.say(f"{bad} go bad.", f"Birds take {bad}.")
        t.plan(t.total, "-", bad)
    way = rng.randrange(4)
    if way == 0:
        t.say("How many {things} are good?", "How many {things} remain?")
        return t.done()
    n = t.divisor()
    t.say(f"The rest is put equally into {n} {{box}}.", f"{n} shops get equal parts of them.")
    t.plan(t.total, "/", n)
    if way == 1:
        t.say("How many are in one part?")
    elif way == 2:
        price = t.number(2, 9)
        t.say(f"One of them costs {price} coins. What does one part cost?")
        t.plan(t.total, "x", price)
    else:
        gift = t.number(2, 40)
        t.say(f"One part gets {gift} extra. How many are in that one?")
        t.plan(t.total, "+", gift)
    return t.done()
