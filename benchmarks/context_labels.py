"""Are the labels true? The abacus world knows its own wishes (models/abacus/formats.py): in the rows that `abacus_contexts`
makes, the chosen answer keeps the wish in its prompt, and the rejected one is known not to."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

import duckdb

from benchmarks.figures import Figure, synth
from models.abacus import formats
from pipeline.config import read_config

JOBS = ("pair_reversal", "pair_persona")


def run() -> list[Figure]:
    """Share of true labels for each kind."""
    config = read_config("abacus_contexts")
    with tempfile.TemporaryDirectory() as name:
        synth(config, Path(name))
        return [_figure(Path(name) / "runs" / config["name"] / job) for job in JOBS]


def _figure(folder: Path) -> Figure:
    rows = duckdb.execute(
        "select kind, context.text, chosen_messages[-1].content, rejected_messages[-1].content "
        f"from '{folder / '*.parquet'}'"
    ).fetchall()
    true = [_kept(wish, chosen) is True and _kept(wish, rejected) is False for _, wish, chosen, rejected in rows]
    name = f"kinds_label_true_{rows[0][0]}"
    return Figure(name, round(sum(true) / len(true), 4), "share of rows", ">= 0.97", {"rows": len(rows)})


def _kept(wish: str, text: str) -> bool | None:
    return formats.check(_instruction(wish), text)


def _instruction(wish: str) -> formats.Instruction:
    """The demand that a wish words. Raises ValueError."""
    for kind, wordings in formats.WORDINGS.items():
        for wording in wordings:
            pattern = re.escape(wording).replace(re.escape("{value}"), r"(\w+)")
            if found := re.fullmatch(pattern, wish):
                return formats.Instruction(kind, *found.groups())
    raise ValueError(f"formats.py words no wish {wish!r}")
