"""Rows that ask again what an earlier row asked. Pure."""

from __future__ import annotations

import numpy as np

TOGETHER = 1 << 20  # rows that are sorted at a time, about: 100 MB


def repeated(digests: bytes | bytearray, adjacent_too: bool) -> dict[int, int]:
    """Number of each row that repeats an earlier row's digest (16 bytes per row; all zero: no prompt), in ascending
    order -> number of the first row that has it.

    With `adjacent_too` false, a row that continues an unbroken run of the digest's first appearance is no repetition.
    Digests are looked at in groups that begin alike, so that memory beyond them does not grow with the input.
    """
    table = np.frombuffer(digests, dtype=[("high", ">u8"), ("low", ">u8")])
    begin = np.frombuffer(digests, dtype=np.uint8)[::16]
    groups = min(256, 1 << (len(table) // TOGETHER).bit_length())
    # which prompt of all a row is: runs are not broken by rows that hold none
    numbers = None if adjacent_too else np.cumsum((table["high"] != 0) | (table["low"] != 0), dtype=np.uint32)
    found: list[tuple[int, int]] = []
    for group in range(groups):
        rows = np.flatnonzero(begin & (groups - 1) == group)
        keys = table[rows]
        valid = (keys["high"] != 0) | (keys["low"] != 0)
        found += _repeated(rows[valid], keys[valid], numbers)
    return dict(sorted(found))


def _repeated(rows: np.ndarray, keys: np.ndarray, numbers: np.ndarray | None) -> list[tuple[int, int]]:
    """(row, first row with its key) of the repetitions among these rows; with `numbers`, without those of first runs."""
    order = np.lexsort((rows, keys["low"], keys["high"]))
    sorted_keys = keys[order]
    same = np.zeros(len(keys), dtype=bool)
    same[1:] = sorted_keys[1:] == sorted_keys[:-1]
    places = np.arange(len(keys))
    begins = np.maximum.accumulate(np.where(same, 0, places))  # where in `order` the rows of a key begin
    first = order[begins]
    if numbers is not None:
        # rows are ascending within equal keys, so the first run is where their numbers go up by one from the start.
        same &= numbers[rows[order]] - numbers[rows[first]] != places - begins
    return list(zip(rows[order[same]].tolist(), rows[first[same]].tolist(), strict=True))
