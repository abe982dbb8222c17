"""Labelled pairs of solutions: some labelled wrongly on purpose, to try a repair on; gold items, to know judges by; or
scored ones, to make training data for judges of."""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from models.abacus.judging import score
from models.abacus.problems import SPLITS, make_problems
from models.abacus.solutions import first_wrong, right_solution, wrong_solution

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


def scored_rows(seed: int, count: int, split: str) -> list[Row]:
    """Rows prompt, answer, chosen, rejected, and the scores that a judge should give the two."""
    rng = random.Random(f"scored-{split}-{seed}")
    rows = []
    for problem in make_problems(seed, count, split):
        wrong = wrong_solution(rng, problem)
        scores = {"chosen_score": score(problem, None), "rejected_score": score(problem, first_wrong(problem, wrong))}
        rows.append(
            {
                "prompt": problem.text,
                "answer": str(problem.answer),
                "chosen": right_solution(problem),
                "rejected": wrong,
            }
            | scores
        )
    return rows


def write_rows(file: Path, rows: Sequence[Row]) -> None:
    """JSON lines."""
    file.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def main(argv: Sequence[str] | None = None) -> int:
    """Write labelled pairs as JSON lines; `label_right` tells which labels were left as they are. Or gold items, or
    pairs with scores."""
    parser = argparse.ArgumentParser(prog="python -m models.abacus.labelled", description=main.__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--wrong", type=float, default=0.2, help="share of the labels to turn round")
    sort = parser.add_mutually_exclusive_group()
    sort.add_argument("--gold", action="store_true", help="gold items, all labelled rightly")
    sort.add_argument("--scored", action="store_true", help="pairs labelled rightly, with the scores of both sides")
    parser.add_argument("--split", choices=SPLITS, default="quickstart")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args(argv)
    name = "scored" if options.scored else "gold" if options.gold else "labelled"
    pairs = made_pairs(options.seed, options.count, options.split)
    rows = gold_items(pairs, options.seed) if options.gold else mislabelled(pairs, options.seed, options.wrong)
    if options.scored:
        rows = scored_rows(options.seed, options.count, options.split)
    out: Path = options.out or Path(__file__).with_name(f"{name}.jsonl")
    write_rows(out, rows)
    print(f"{len(rows)} pairs in {out}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
