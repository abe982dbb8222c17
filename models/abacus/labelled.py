"""Labelled pairs of solutions, some of them labelled wrongly on purpose: what a repair of labels is tried on."""

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


def write_rows(file: Path, rows: Sequence[Row]) -> None:
    """JSON lines."""
    file.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def main(argv: Sequence[str] | None = None) -> int:
    """Write labelled pairs as JSON lines; `label_right` tells which labels were left as they are."""
    parser = argparse.ArgumentParser(prog="python -m models.abacus.labelled", description=main.__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--wrong", type=float, default=0.2, help="share of the labels to turn round")
    parser.add_argument("--split", choices=SPLITS, default="quickstart")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("labelled.jsonl"))
    options = parser.parse_args(argv)
    pairs = made_pairs(options.seed, options.count, options.split)
    write_rows(options.out, mislabelled(pairs, options.seed, options.wrong))
    print(f"{options.count} pairs in {options.out}, {options.wrong:.0%} labelled wrongly")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
