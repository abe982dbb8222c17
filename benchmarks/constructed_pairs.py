"""How often the label of a pair by construction is true, on the embedded model, whose generator knows every answer.

One run of configs/abacus_delta.yaml on problems the model was not trained on. A label is true when the chosen answer is
right and the rejected one is wrong. `delta_unconfirmed` is what OLMo 3's recipe gives: strong over weak, nobody asked.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.figures import Figure, synth
from models.abacus.problems import Problem, make_problems, write_problems
from models.abacus.solutions import first_wrong, read
from pipeline.config import read_config
from pipeline.pair import Pair
from pipeline.store import Store

SEED, PROBLEMS, SHARD = 9, 200, 50
JOBS = ("pair_delta", "pair_on_off", "pair_corrupted", "pair_contrast", "delta_unconfirmed")


def run() -> list[Figure]:
    """Share of true labels for each kind."""
    problems = {problem.text: problem for problem in make_problems(SEED, PROBLEMS, "heldout")}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_problems(folder / "problems.jsonl", list(problems.values()))
        synth(_config(folder / "problems.jsonl"), folder)
        store = Store(str(folder / "runs" / "constructed"))
        return [_figure(job, list(_pairs(store, job)), problems) for job in JOBS]


def _config(file: Path) -> dict[str, Any]:
    config = read_config("abacus_delta")
    source, *jobs, _ = config["jobs"]
    unconfirmed = {
        "stage": "pair_constructed",
        "name": "delta_unconfirmed",
        "kind": "delta_weak_strong",
        "confirm": "off",
    }
    jobs = [{**source, "path": str(file), "limit": None}, *jobs, unconfirmed]
    return config | {"name": "constructed", "shard_size": SHARD, "jobs": jobs}


def _pairs(store: Store, job: str) -> Iterator[Pair]:
    for shard in range(-(-PROBLEMS // SHARD)):
        yield from store.read(job, Pair, shard, main=True)


def _figure(job: str, pairs: list[Pair], problems: dict[str, Problem]) -> Figure:
    true = [is_true(pair, problems[pair.prompt_messages[-1].content]) for pair in pairs]
    wanted = "" if job == "delta_unconfirmed" else ">= 0.97"
    share = sum(true) / len(true) if true else float("nan")
    name = f"kinds_label_true_{pairs[0].kind}" if wanted and pairs else f"label_true_{job.removeprefix('pair_')}"
    return Figure(name, share, "share", wanted, {"pairs": len(pairs)})


def is_true(pair: Pair, problem: Problem) -> bool:
    """Chosen: right to its answer; rejected: wrong somewhere. A form other than steps is read by its answer alone."""
    chosen, rejected = pair.chosen_messages[0].content, pair.rejected_messages[0].content
    right = first_wrong(problem, chosen) is None if read(chosen).results else _answers(chosen, problem)
    return right and first_wrong(problem, rejected) is not None and not _answers(rejected, problem)


def _answers(text: str, problem: Problem) -> bool:
    return read(text).answer == str(problem.answer)
