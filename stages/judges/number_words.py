"""Numbers in words."""

from __future__ import annotations

import re

_ONES = {
    "zero": 0, "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9,
    "ten": 10, "eleven": 11, "twelve": 12, "thirteen": 13, "fourteen": 14, "fifteen": 15, "sixteen": 16,
    "seventeen": 17, "eighteen": 18, "nineteen": 19,
}  # fmt: skip
_TENS = {
    "twenty": 20, "thirty": 30, "forty": 40, "fifty": 50, "sixty": 60, "seventy": 70, "eighty": 80, "ninety": 90,
}  # fmt: skip
_POWERS = {"thousand": 1000, "million": 10**6, "billion": 10**9}
_WORD = re.compile(r"[a-z]+")
# One of these makes another number of the words beside it: `one half`, `two dozen`, `twenty-first`.
_OTHER_NUMBER = re.compile(
    r"\b(?:half|halves|thirds?|quarters?|(?:four|fif|six|seven|eigh|nin|ten|eleven|twelf|(?:thir|four|fif|six|seven|eigh|"
    r"nine)teen|(?:twen|thir|for|fif|six|seven|eigh|nine)tie|hundred|thousand)ths?|first|second|dozens?|point|over|couple|"
    r"than|least|most|not)\b"
)


def number_in_words(text: str) -> str | None:
    """`twenty-one`, `three hundred and five` as digits; None when no or more than one number is named."""
    text = text[:200].lower()
    if _OTHER_NUMBER.search(text):
        return None
    total = group = 0
    seen, last = False, ""
    negative = bool(re.match(r"\W*(?:negative|minus)\b", text))
    for word in _WORD.findall(text):
        if word in _ONES or word in _TENS:
            value = _ONES.get(word, 0) or _TENS.get(word, 0)
            if last and not (last in _TENS and 0 < value < 10) and last not in ("hundred", "and", *_POWERS):
                return None
            group += value
        elif word == "hundred" and seen:
            group *= 100
        elif word in _POWERS and seen:
            total, group = total + group * _POWERS[word], 0
        elif not (word == "and" and last in ("hundred", *_POWERS)):
            if seen and last:
                last = "other"
            continue
        seen, last = True, word
    return f"{'-' if negative and total + group else ''}{total + group}" if seen else None
