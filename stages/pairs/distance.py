"""How far two texts are apart. Pure."""

from __future__ import annotations


def edit_distance(a: str, b: str) -> int:
    """Levenshtein distance in characters; bit-parallel (Hyyrö 2003), one big-integer step for each character of `b`."""
    if a == b:
        return 0
    if not a or not b:
        return len(a) + len(b)
    masks: dict[str, int] = {}
    for i, char in enumerate(a):
        masks[char] = masks.get(char, 0) | 1 << i
    full, last = (1 << len(a)) - 1, 1 << (len(a) - 1)
    plus, minus, distance = full, 0, len(a)
    for char in b:
        equal = masks.get(char, 0)
        x = equal | minus
        equal |= ((equal & plus) + plus) ^ plus
        up = (minus | ~(equal | plus)) & full
        down = plus & equal
        distance += bool(up & last) - bool(down & last)
        up = (up << 1 | 1) & full
        plus = (down << 1 | ~(x | up)) & full
        minus = up & x
    return distance


def normalised_distance(a: str, b: str) -> float:
    """Edit distance over the length of the longer text, on [0, 1]."""
    return edit_distance(a, b) / max(len(a), len(b), 1)
