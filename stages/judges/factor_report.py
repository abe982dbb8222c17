"""Kendall's tau of a factor over pairs, and tables of it. Pure."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence

from msgspec import Struct

_Z = 1.96  # of 95 %
ALL = "all"


class Tau(Struct, frozen=True):
    """Concordant, discordant and tied pairs; tau with its 95 % interval."""

    more: int
    less: int
    same: int

    @property
    def n(self) -> int:
        """Pairs."""
        return self.more + self.less + self.same

    @property
    def tau(self) -> float:
        """(C - D) / (C + D + T)."""
        return (self.more - self.less) / self.n if self.n else 0.0

    @property
    def interval(self) -> tuple[float, float]:
        """tau ± 1.96 standard errors of the mean of +1, -1 and 0 over n pairs."""
        if not self.n:
            return -1.0, 1.0
        error = _Z * math.sqrt(max(0.0, (self.more + self.less) / self.n - self.tau**2) / self.n)
        # All alike is no proof: one more pair of the other sort is always possible (rule of three).
        error = max(error, 3 / self.n)
        return max(-1.0, self.tau - error), min(1.0, self.tau + error)

    @property
    def separates(self) -> bool:
        """Whether 0 lies outside of the interval."""
        return self.interval[0] > 0 or self.interval[1] < 0


def taus(counts: Mapping[str, int]) -> dict[str, dict[str, Tau]]:
    """kind -> factor -> tau, of the ledger of a `factors` job; first `all`, the kinds together."""
    found: dict[str, dict[str, Counter[str]]] = {ALL: {}}
    for name, n in sorted(counts.items()):
        if name.startswith("factor:"):
            kind, rest = name.removeprefix("factor:").split(":", 1)
            factor, sign = rest.rsplit(":", 1)
            for group in (ALL, kind):
                found.setdefault(group, {}).setdefault(factor, Counter())[sign] += n
    return {
        kind: {name: Tau(n["more"], n["less"], n["same"]) for name, n in by_name.items()}
        for kind, by_name in found.items()
    }


def report(run: str, found: Mapping[str, Mapping[str, Tau]]) -> str:
    """The tables; where all pairs are of one kind, one of them."""
    kinds = [kind for kind in found if kind == ALL or len(found) > 2]
    about = (
        "tau = (more - less) / n: how much oftener the chosen answer has more of the factor; 95 % interval. "
        "Factors in bold separate: their interval does not contain 0."
    )
    parts = [
        f"# What separates chosen from rejected in {run}",
        about,
        *[f"## {'All pairs' if kind == ALL else kind}\n\n{_table(found[kind])}" for kind in kinds],
    ]
    return "\n\n".join(parts) + "\n"


def _table(by_name: Mapping[str, Tau]) -> str:
    strongest: Sequence[tuple[str, Tau]] = sorted(by_name.items(), key=lambda item: (-abs(item[1].tau), item[0]))
    lines = ["| factor | tau | interval | chosen has more | less | the same | n |", "|---|---|---|---|---|---|---|"]
    for name, tau in strongest:
        if tau.more or tau.less:
            low, high = tau.interval
            shown = f"**{name}**" if tau.separates else name
            numbers = f"{tau.more} | {tau.less} | {tau.same} | {tau.n}"
            lines.append(f"| {shown} | {tau.tau:+.2f} | {low:+.2f} to {high:+.2f} | {numbers} |")
    if alike := sorted(name for name, tau in by_name.items() if not tau.more and not tau.less):
        lines += ["", f"No pair differs in: {', '.join(alike)}."]
    return "\n".join(lines)
