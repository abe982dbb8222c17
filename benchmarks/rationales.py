"""What the rationale gate is worth, on the embedded model: does a kept rationale name the true first wrong step?

Held-out problems whose right steps are known go through the quickstart's jobs; every attempt of `explain` is a row, so
each check of the gate can be taken away afterwards.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import duckdb

from benchmarks.figures import Figure, synth
from models.abacus.problems import Problem, make_problems, write_problems
from models.abacus.solutions import first_wrong
from pipeline.config import read_config
from stages.rationales.attributions import misattributed

SEED, PROBLEMS = 4, 400
_STEP = re.compile(r"\bstep (\d+)\b", re.IGNORECASE)
Row = dict[str, Any]

# Spec judges C2, in the order of the gate; `verify` holds what each check measured.
CHECKS: Mapping[str, Callable[[Row], bool]] = {
    "V2 verdict is the label": lambda row: bool(row["verify"]["label_consistent"]),
    "V3 quotes are verbatim": lambda row: (row["verify"]["quote_precision"] or 0) >= 0.8 and _quotes_arm(row),
    "V5 no leak": lambda row: not row["verify"]["position_leak"],
    "V6 claims recomputed": lambda row: not row["verify"]["false_claims"],
    "V6 corrections of what was written": lambda row: not misattributed(row["text"], (row["chosen"], row["rejected"])),
}


def _quotes_arm(row: Row) -> bool:
    return any(span["start"] is not None and span["side"] in "ab" for span in row["spans"])


def names_true_step(problem: Problem, rejected: str, text: str) -> bool:
    """Whether the first step that `text` speaks of is the rejected solution's first wrong one, with its right result;
    for a wrong answer line, that no step is blamed and the right answer is told."""
    wrong = first_wrong(problem, rejected)
    named = _STEP.search(text)
    if wrong is None or wrong == len(problem.steps):
        return wrong is not None and named is None and str(problem.answer) in text
    return named is not None and int(named[1]) == wrong + 1 and str(problem.lines[wrong].result) in text


def _config(file: Path) -> Row:
    config = read_config("quickstart")
    source, *jobs = config["jobs"]
    kept = [job for job in jobs if job["stage"] not in ("search", "pair_steps", "export")]
    return config | {"name": "rationales", "jobs": [source | {"path": str(file)}, *kept]}


def _attempts(folder: Path) -> tuple[list[Row], int]:
    """Attempts with a parsed reply, beside the texts of their pair; and the number of pairs."""
    runs = folder / "runs" / "rationales"
    pairs = f"read_parquet('{runs}/pair_responses/*.parquet')"
    database = duckdb.connect()
    found = database.execute(
        f"select r.*, p.chosen_messages[1].content as chosen, p.rejected_messages[1].content as rejected, "
        f"p.prompt_messages[1].content as question from read_parquet('{runs}/explain/*.parquet') r "
        f"join {pairs} p using (pair_id) where r.text is not null order by r.rationale_id"
    )
    columns = [column[0] for column in found.description or ()]
    rows = [dict(zip(columns, values, strict=True)) for values in found.fetchall()]
    return rows, int(database.execute(f"select count(*) from {pairs}").fetchall()[0][0])


def _share(rows: Sequence[Row], problems: Mapping[str, Problem]) -> float:
    named = [names_true_step(problems[r["question"]], r["rejected"], r["text"]) for r in rows]
    return sum(named) / max(1, len(named))


def run() -> list[Figure]:
    """Share of kept rationales that name the true step, the share of pairs that keep one, and the ablation."""
    problems = make_problems(SEED, PROBLEMS, "heldout")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_problems(folder / "problems.jsonl", problems)
        synth(_config(folder / "problems.jsonl"), folder)
        rows, pairs = _attempts(folder)
    known = {problem.text: problem for problem in problems}
    kept = _passing(rows, CHECKS)
    table = {"attempts read": len(rows), "named without any check": round(_share(rows, known), 3)}
    for left_out in CHECKS:
        some = _passing(rows, [check for check in CHECKS if check != left_out])
        table[f"without {left_out}"] = f"{_share(some, known):.3f} of {len(some)}"  # type: ignore[assignment]
    explained = {row["pair_id"] for row in kept}
    return [
        Figure(
            "rationale_names_true_step", round(_share(kept, known), 4), "share", ">= 0.95", table | {"kept": len(kept)}
        ),
        Figure("rationale_kept_share", round(len(explained) / max(1, pairs), 4), "share of pairs", "", {"pairs": pairs}),
    ]  # fmt: skip


def _passing(rows: Iterable[Row], checks: Iterable[str]) -> list[Row]:
    return [row for row in rows if all(CHECKS[check](row) for check in checks)]
