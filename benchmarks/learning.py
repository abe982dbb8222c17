"""Does the data teach? The closed loop on the embedded world: generate, pair, export, train with TRL, measure.

The policy is models/novice, which has bad habits; the judge is models/abacus. Every row of the table trains the same policy
on as many pairs, made from about as many of its tokens (search takes a ninth more), with the settings of its loss, which
were chosen on other problems.
Measured on 1,000 problems of a split that neither the policy nor the pairs have seen. docs/learning.md shows it.
Work lies in runs/learning: what is there is not done again, so an interruption costs one cell.
`python -m benchmarks.learning SEED[,SEED …] [ROW …]` makes parts of it.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from benchmarks.figures import ROOT, Figure
from benchmarks.learning_data import NOVICE, Data, Made, Rows, short
from models.abacus.problems import make_problems, write_problems
from pipeline.config import read_config

SEEDS, SPARE = (1, 2, 3), 99  # the last: problems to look at and to choose settings on
PROBLEMS, PAIRS = 320, 100  # of each seed
UNSEEN, UNSEEN_SEED = 1000, 77
WORK = ROOT / "runs" / "learning"
WORKERS = os.cpu_count() or 1
FORMS = ("numbered", "plain", "end_word", "max_lines", "answer_only")  # as configs/abacus_multilevel.yaml has them
SETTINGS: Mapping[str, dict[str, Any]] = {
    "none": {},
    "dpo": {},  # as in scripts/train_dpo.py
    "sft": {"learning_rate": 2e-4, "per_device_train_batch_size": 16, "num_train_epochs": 2},
}
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
JOBS: Sequence[str] = ()  # of configs/abacus_learning.yaml; all
Found = dict[str, Any]

ROWS: Mapping[str, tuple[str, Callable[[Made], Rows]]] = {
    "outcome": ("dpo", lambda made: made.exported("outcome_pairs")),
    "search": ("dpo", lambda made: made.exported("step_pairs")),
    "sft": ("sft", Made.right_answers),
    "random": ("dpo", Made.random_labels),
    "random_2": ("dpo", lambda made: made.random_labels(2)),  # one draw tells little: see docs/learning.md
    "random_3": ("dpo", lambda made: made.random_labels(3)),
    "trajectories": ("dpo", lambda made: made.exported("trajectory_pairs")),
    "both": ("dpo", lambda made: made.both(PAIRS)),
    "judged": ("dpo", lambda made: made.exported("judged_pairs")),
    "rationales": ("dpo", Made.explained),
    "noisy": ("dpo", lambda made: made.noisy(0.2)),
    "repaired": ("dpo", lambda made: made.repaired(0.2)),
    "noisy_40": ("dpo", lambda made: made.noisy(0.4)),
    "repaired_40": ("dpo", lambda made: made.repaired(0.4)),
}


def measured(folder: Path, specs: Mapping[str, Mapping[str, Any]]) -> dict[str, Found]:
    """Results of cells; those that are missing are made now, in as many processes as there are cores."""
    folder.mkdir(parents=True, exist_ok=True)
    missing = [name for name in specs if not (folder / f"{name}.result").exists()]
    for name in missing:
        whole = {"model": NOVICE, "problems": UNSEEN, "problems_seed": UNSEEN_SEED, "folder": str(folder / name),
                 "settings": SETTINGS[specs[name]["method"]], **specs[name]}  # fmt: skip
        (folder / f"{name}.json").write_text(json.dumps(whole), encoding="utf-8")
    running = []
    for part in range(WORKERS):
        if files := [str(folder / f"{name}.json") for name in missing[part::WORKERS]]:
            command = [sys.executable, "-m", "benchmarks.learning_cell", *files]
            with Path(files[0]).with_suffix(".log").open("w", encoding="utf-8") as log:
                running.append(subprocess.Popen(command, cwd=ROOT, env=ENVIRONMENT, stdout=log, stderr=log))
    codes = [process.wait() for process in running]
    if any(codes):
        raise RuntimeError(f"a cell failed, see {folder}/*.log")
    return {name: json.loads((folder / f"{name}.result").read_text(encoding="utf-8")) for name in specs}


def base() -> Found:
    """The policy untrained."""
    return measured(WORK, {"base": {"seed": 0, "method": "none", "rows": [], "forms": FORMS}})["base"]


def made_by(seed: int) -> Made:
    """What the runs made of one seed's problems; all seeds share the runs."""
    return Made(Data(WORK / "data", (SPARE, *SEEDS), PROBLEMS, JOBS), seed)


def of_seed(seed: int, names: Sequence[str] = tuple(ROWS)) -> dict[str, Found]:
    """The rows of one seed that need no policy but the first."""
    folder, made = WORK / str(seed), made_by(seed)
    specs: dict[str, dict[str, Any]] = {}
    for name in names:
        method, rows = ROWS[name]
        known = (folder / f"{name}.result").exists()
        specs[name] = {"seed": seed, "method": method, "rows": [] if known else short(rows(made), PAIRS)}
    return measured(folder, specs)


def second_round(seed: int) -> Found:
    """Two rounds of configs/iterate.yaml, each with half the problems and half the pairs."""
    folder = WORK / str(seed) / "rounds"
    folder.mkdir(parents=True, exist_ok=True)
    config = read_config("iterate")
    for number in range(1, 3):
        write_problems(
            folder / f"problems-{number}.jsonl", make_problems(seed + 1000 * number, PROBLEMS // 2, "quickstart")
        )
    config["iterate"]["train"] += ["--most", str(PAIRS // 2), "--set", f"seed={seed}"]
    config["jobs"][0]["path"] = str(folder / "problems-{round}.jsonl")
    file = folder / "rounds.yaml"
    file.write_text(
        yaml.safe_dump(config | {"seed": seed, "executor": "local", "runs_dir": str(folder)}), encoding="utf-8"
    )
    if not (model := folder / "iterate" / "model-2").exists():
        with (folder / "output.txt").open("w", encoding="utf-8") as log:
            command = [sys.executable, "-m", "pipeline.cli", "iterate", str(file), "--plain"]
            subprocess.run(command, cwd=ROOT, env=ENVIRONMENT, stdout=log, stderr=log, check=True)
    return measured(folder, {"second": {"seed": seed, "method": "none", "rows": [], "model": str(model)}})["second"]


def forms(seed: int) -> Found:
    """Trained on pairs about the form of answers."""
    folder = WORK / str(seed)
    rows = [] if (folder / "forms.result").exists() else short(made_by(seed).forms(), PAIRS)
    return measured(folder, {"forms": {"seed": seed, "method": "dpo", "rows": rows, "forms": FORMS}})["forms"]


def points(value: float) -> float:
    """A share as percentage points."""
    return round(100 * value, 1)


def row_figures(found: Mapping[str, Sequence[Found]], start: Found) -> Iterator[Figure]:
    """One figure a row: mean greedy accuracy, and beside it what else was measured."""
    for name, cells in found.items():
        greedy = [cell["greedy"] for cell in cells]
        beside = {
            "gain": points(statistics.fmean(greedy) - start["greedy"]),
            "lowest and highest": [points(min(greedy)), points(max(greedy))],
            "at temperature 1": points(statistics.fmean(cell["t1"] for cell in cells)),
            "by number of steps": {
                n: points(statistics.fmean(cell["by_steps"][n] for cell in cells)) for n in start["by_steps"]
            },
            "trainings": len(cells),
            "training pairs": round(statistics.fmean(cell["rows"] for cell in cells)),
        }
        if name == "forms":
            beside |= {
                what: [points(start[what]), points(statistics.fmean(cell[what] for cell in cells))]
                for what in ("followed", "followed_and_right")
            }
        yield Figure(f"learning_{name}", points(statistics.fmean(greedy)), "% right, greedy", "", beside)


def summary(found: Mapping[str, Sequence[Found]], start: Found) -> Iterator[Figure]:
    """What is wanted of the table, as far as its rows are there."""
    mean = {name: 100 * statistics.fmean(cell["greedy"] for cell in cells) for name, cells in found.items()}
    gain = {name: round(value - 100 * start["greedy"], 1) for name, value in mean.items()}
    best = max((name for name in gain if name not in ("random", "sft", "forms")), key=lambda name: gain[name])
    yield Figure("learning_best_gain_points", gain[best], "points", ">= 15, and above SFT", {"row": best})
    gap = round(mean["search"] - mean["outcome"], 1)
    yield Figure("learning_search_minus_outcome_points", gap, "points", ">= 0")
    yield Figure("learning_random_gain_points", gain["random"], "points", "<= 0")
    yield Figure("learning_sft_gain_points", gain["sft"], "points", "below the best")
    for noise, more in ((20, ""), (40, "_40")):  # the least that costs more than seeds differ
        if {f"noisy{more}", f"repaired{more}"} <= mean.keys() and (cost := mean["outcome"] - mean[f"noisy{more}"]) > 1:
            share = round((mean[f"repaired{more}"] - mean[f"noisy{more}"]) / cost, 2)
            beside = {"% of labels turned round": noise, "noise cost points": round(cost, 1)}
            yield Figure("learning_noise_recovered_share", share, "share", ">= 0.5", beside)
            break
    if "forms" in found:
        kept = statistics.fmean(cell["followed"] for cell in found["forms"]) - start["followed"]
        yield Figure("learning_forms_gain_points", points(kept), "points", ">= 10", {"accuracy gain": gain["forms"]})


def collected() -> list[Figure]:
    """The figures of all cells that are there."""
    start = base()
    rows = {"rounds/second": "second_round", "random_2": "random", "random_3": "random"}
    found: dict[str, list[Found]] = {}
    for seed in SEEDS:
        for place in ("rounds/second", *ROWS, "forms"):
            if (file := WORK / str(seed) / f"{place}.result").exists():
                found.setdefault(rows.get(place, place), []).append(json.loads(file.read_text(encoding="utf-8")))
    beside = {
        "at temperature 1": points(start["t1"]),
        "by number of steps": {n: points(share) for n, share in start["by_steps"].items()},
        "problems": UNSEEN, "training pairs": PAIRS, "prompts": PROBLEMS,
    }  # fmt: skip
    first = Figure("learning_base", points(start["greedy"]), "% right, greedy", "", beside)
    return [first, *summary(found, start), *row_figures(found, start)]


def run() -> list[Figure]:
    """The table as figures."""
    for seed in SEEDS:
        of_seed(seed)
        second_round(seed)
        forms(seed)
    return collected()


def main() -> None:
    """Rows of seeds, as told on the command line."""
    print("base", json.dumps(base()), flush=True)
    more = {"second_round": second_round, "forms": forms}
    for seed in map(int, sys.argv[1].split(",")):
        names = sys.argv[2:] or [*ROWS, *more]
        found = of_seed(seed, [name for name in names if name in ROWS])
        found |= {name: make(seed) for name, make in more.items() if name in names}
        for name, cell in found.items():
            print(seed, name, json.dumps(cell), flush=True)


if __name__ == "__main__":
    main()
