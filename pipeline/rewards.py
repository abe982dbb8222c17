"""What reward heads put out, as one number. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.errors import PlanError


def log_odds(outputs: Sequence[float]) -> float:
    """The score of a head without activation: its one output, or what the second of two (the good one) has over the first.

    Raises PlanError for other heads.
    """
    if len(outputs) == 1:
        return float(outputs[0])
    if len(outputs) == 2:
        return float(outputs[1]) - float(outputs[0])
    raise PlanError(f"this model puts out {len(outputs)} numbers for an answer; a reward model has 1 or 2 labels")


def at_positions(
    rows: Sequence[Sequence[float]], n_tokens: int | None, positions: Sequence[int]
) -> list[Sequence[float]] | None:
    """The rows of the tokens at `positions`, from a row for each token, or for each position already; else None."""
    if len(rows) == n_tokens:
        return [rows[position] for position in positions]
    return list(rows) if len(rows) == len(positions) else None
