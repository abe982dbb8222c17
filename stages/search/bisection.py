"""Finding the first wrong step of a wrong trajectory by halving (OmegaPRM; spec mcts R5, S6). Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Bisection:
    """The first wrong of `n` steps, given that the whole is wrong and that no right answer follows a wrong step.

    `probe` is the step whose prefix must be tried next, None when `first_error` is known; at most
    ceil(log2(n)) answers are needed.
    """

    n: int
    low: int = 0
    high: int = -1

    def __post_init__(self) -> None:
        if self.n < 1:
            raise ValueError("a trajectory has at least one step")
        if self.high < 0:
            self.high = self.n - 1

    @property
    def probe(self) -> int | None:
        """Index (from 0) of the step to try."""
        return (self.low + self.high) // 2 if self.low < self.high else None

    def tell(self, solvable: bool) -> None:
        """Whether some completion after the probed step is right."""
        middle = (self.low + self.high) // 2
        if solvable:
            self.low = middle + 1
        else:
            self.high = middle

    @property
    def first_error(self) -> int:
        """Index (from 0) of the first wrong step, once `probe` is None."""
        return self.low
