"""Are the labels true? The abacus world knows its own format instructions (models/abacus/formats.py); every constraint of
the rows that `abacus_multilevel` makes is asked of them."""

from __future__ import annotations

import collections
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import duckdb

from benchmarks.figures import Figure, synth
from models.abacus import formats
from pipeline.config import read_config


def run() -> list[Figure]:
    """Share of each kind's rows in which the generator's checks give every stored boolean."""
    config = read_config("abacus_multilevel")
    with tempfile.TemporaryDirectory() as name:
        synth(config, Path(name))
        files = str(Path(name) / "runs" / config["name"] / "pair_instructions" / "*.parquet")
        found = duckdb.execute(
            f"select kind, chosen_messages[-1].content as chosen, rejected_messages[-1].content as rejected, constraints "
            f"from '{files}'"
        )
        names = ("kind", "chosen", "rejected", "constraints")
        rows = [dict(zip(names, row, strict=True)) for row in found.fetchall()]
    made = collections.Counter(row["kind"] for row in rows)
    true = collections.Counter(row["kind"] for row in rows if all(_true(c, row) for c in row["constraints"]))
    return [
        Figure(f"kinds_label_true_{kind}", round(true[kind] / n, 4), "share of rows", ">= 0.97", {"rows": n})
        for kind, n in sorted(made.items())
    ]


def _true(constraint: Mapping[str, Any], row: Mapping[str, Any]) -> bool:
    """Whether the generator's check gives the same for both arms."""
    kwargs = json.loads(constraint["kwargs_json"])
    found = [_known(constraint["family"], kwargs, row[arm]) for arm in ("chosen", "rejected")]
    return found == [constraint["chosen_ok"], constraint["rejected_ok"]]


def _known(family: str, kwargs: Mapping[str, Any], text: str) -> bool | None:
    if family == "last_word:last_word_answer":
        return formats.check(formats.Instruction("end_word", kwargs["last_word"]), text)
    if family == "detectable_format:numbered_list":
        return formats.check(formats.Instruction("plain" if kwargs.get("negated") else "numbered"), text)
    most = kwargs["num_lines"] - (kwargs["relation"] != "at most")
    few = formats.check(formats.Instruction("max_lines", str(most)), text)
    return few if few is None or kwargs["relation"] != "at least" else not few
