"""Labelled pairs of solutions: some labelled wrongly on purpose, to try a repair on; or gold items, to know judges by."""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from models.abacus.problems import SPLITS, make_problems
from models.abacus.solutions import right_solution, wrong_solution

Row = dict[str, Any]


def mislabelled(pairs: Sequence[tuple[str, str, str]], seed: int, share: float) -> list[Row]:
    """Rows prompt, chosen, rejected, label_right of (prompt, better, worse); exactly `share` of them turned round."""
    turned = set(random.Random(f"labels-{seed}").sample(range(len(pairs)), round(share * len(pairs))))
    rows = []
    for at, (prompt, better, worse) in enumerate(pairs):
        chosen, rejected = (worse, better) if at in turned else (better, worse)
        rows.append({"prompt": prompt, "chosen": chosen, "rejected": rejected, "label_right": at not in turned})
    return rows


def made_pairs(seed: int, count: int, split: str) -> list[tuple[str, str, str]]:
    """(problem, right solution, wrong solution) of `count` problems of a split."""
    rng = random.Random(f"pairs-{split}-{seed}")
    return [(p.text, right_solution(p), wrong_solution(rng, p)) for p in make_problems(seed, count, split)]


def gold_items(pairs: Sequence[tuple[str, str, str]], seed: int) -> list[Row]:
    """Rows of docs/calibration.md of (prompt, better, worse); which side is the better one is drawn."""
    rng = random.Random(f"sides-{seed}")
    rows = []
    for prompt, better, worse in pairs:
        label = rng.choice("ab")
        a, b = (better, worse) if label == "a" else (worse, better)
        rows.append({"prompt": prompt, "response_a": a, "response_b": b, "label": label})
    return rows


def write_rows(file: Path, rows: Sequence[Row]) -> None:
    """JSON lines."""
    file.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def main(argv: Sequence[str] | None = None) -> int:
    """Write labelled pairs as JSON lines; `label_right` tells which labels were left as they are. Or gold items."""
    parser = argparse.ArgumentParser(prog="python -m models.abacus.labelled", description=main.__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--wrong", type=float, default=0.2, help="share of the labels to turn round")
    parser.add_argument("--gold", action="store_true", help="gold items, all labelled rightly")
    parser.add_argument("--split", choices=SPLITS, default="quickstart")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args(argv)
    pairs = made_pairs(options.seed, options.count, options.split)
    rows = gold_items(pairs, options.seed) if options.gold else mislabelled(pairs, options.seed, options.wrong)
    out: Path = options.out or Path(__file__).with_name("gold.jsonl" if options.gold else "labelled.jsonl")
    write_rows(out, rows)
    print(f"{len(rows)} pairs in {out}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
