"""Rows that ask again what an earlier row asked. Pure."""

from __future__ import annotations

import numpy as np


def repeated(digests: bytes | bytearray, adjacent_too: bool) -> dict[int, int]:
    """Number of each row that repeats an earlier row's digest (16 bytes per row; all zero: no prompt), in ascending
    order -> number of the first row that has it.

    With `adjacent_too` false, a row that continues an unbroken run of the digest's first appearance is no repetition.
    """
    table = np.frombuffer(bytes(digests), dtype=[("high", ">u8"), ("low", ">u8")])
    valid = np.flatnonzero((table["high"] != 0) | (table["low"] != 0))
    keys = table[valid]
    order = np.lexsort((np.arange(len(keys)), keys["low"], keys["high"]))
    sorted_keys = keys[order]
    same = np.zeros(len(keys), dtype=bool)
    same[1:] = sorted_keys[1:] == sorted_keys[:-1]
    places = np.arange(len(keys))
    begins = np.maximum.accumulate(np.where(same, 0, places))  # where in `order` the rows of a key begin
    first = order[begins]
    if not adjacent_too:
        # `order` is ascending within equal keys, so the first run is where positions go up by one from the start.
        same &= order - first != places - begins
    return dict(sorted(zip(valid[order[same]].tolist(), valid[first[same]].tolist(), strict=True)))
