"""Connected components: items that are linked, directly or through others, are one cluster. Pure."""

from __future__ import annotations

import numpy as np


class Clusters:
    """Items 0 … n-1, each alone at first (union by the smaller number, paths halved)."""

    def __init__(self, n: int) -> None:
        self._parent = list(range(n))

    def root(self, item: int) -> int:
        """The smallest item of its cluster."""
        parent = self._parent
        while parent[item] != item:
            parent[item] = parent[parent[item]]
            item = parent[item]
        return item

    def link(self, a: int, b: int) -> None:
        """Makes the clusters of two items one."""
        first, second = sorted((self.root(a), self.root(b)))
        self._parent[second] = first

    def link_equal(self, keys: np.ndarray) -> None:
        """Links items with the same key (one whole number each)."""
        order = np.argsort(keys, kind="stable")
        same = np.flatnonzero(keys[order][1:] == keys[order][:-1])
        for a, b in zip(order[same].tolist(), order[same + 1].tolist(), strict=True):
            self.link(a, b)

    def roots(self) -> np.ndarray:
        """The root of each item."""
        return np.fromiter((self.root(item) for item in range(len(self._parent))), dtype=np.int64)
