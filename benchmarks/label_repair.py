"""Label repair on the embedded model: a fifth of known labels is turned round; what does `configs/repair.yaml` make of it?

Pairs are a right and a wrong answer of the model's own (checked with the reference), and ones that were constructed. No problem
of the repair is one that the judges were calibrated on. The judgments are made once; every way to decide reads them.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.figures import Figure, synth
from models.abacus.labelled import gold_items, made_pairs, mislabelled, write_rows
from models.abacus.problems import Problem, make_problems, write_problems
from models.abacus.solutions import first_wrong, is_correct
from pipeline.calibrate import calibrate
from pipeline.config import read_config
from pipeline.pair import Pair
from pipeline.records import Prompt, Reject
from pipeline.store import Store

SEED, PROBLEMS, WRONG = 11, 1200, 0.2
JUDGES = ["rate", "compare"]
WAYS: Mapping[str, dict[str, Any]] = {
    "jury": {"from": JUDGES},
    "jury, calibrated": {"from": JUDGES, "calibration": True},
    "jury and recomputing": {"from": [*JUDGES, "use_tools"]},  # configs/repair.yaml as it is
    "jury and recomputing, calibrated": {"from": [*JUDGES, "use_tools"], "calibration": True},
    "jury and reference": {"from": [*JUDGES, "verify"]},
}
SHIPPED = "jury and recomputing"
Triple = tuple[str, str, str]  # problem, better answer, worse answer


def own_pairs(problems: Sequence[Problem], folder: Path) -> list[Triple]:
    """For each problem at most one pair of answers of the model: right throughout over wrong in the end."""
    write_problems(folder / "problems.jsonl", problems)
    source, generate, *_ = read_config("quickstart")["jobs"]
    jobs = [
        source | {"path": str(folder / "problems.jsonl")},
        generate,
        {"stage": "verify"},
        {"stage": "pair_responses", "strategy": "random", "outcome": "only", "max_pairs": 1},
    ]
    synth(read_config("quickstart") | {"name": "own", "jobs": jobs}, folder)
    known = {p.text: p for p in problems}
    made = []
    for pair in _rows(Store(str(folder / "runs" / "own")), "pair_responses", Pair):
        text, better, worse = (
            m[-1].content for m in (pair.prompt_messages, pair.chosen_messages, pair.rejected_messages)
        )
        if first_wrong(known[text], better) is None and not is_correct(known[text], worse):
            made.append((text, better, worse))
    return sorted(made)


def _rows(store: Store, job: str, table: type[Any]) -> Iterator[Any]:
    for shard in sorted(store.done(job)):
        yield from store.read(job, table, shard, main=table is not Reject)


def _config(rows: Path, calibration: Path) -> dict[str, Any]:
    """`configs/repair.yaml` with every way to decide behind its judges."""
    config = read_config("repair")
    source, *jobs = config["jobs"]
    columns = source["columns"] | {"reference": "reference"}
    judging = [job for job in jobs if job["stage"] in ("rate", "compare", "use_tools")]
    decide = next(job for job in jobs if job["stage"] == "aggregate")
    ways = [
        decide | way | {"name": _job(name)} | ({"calibration": str(calibration)} if "calibration" in way else {})
        for name, way in WAYS.items()
    ]
    return config | {
        "name": "repair",
        "max_reject_rate": 1.0,
        "jobs": [source | {"path": str(rows), "columns": columns}, *judging, {"stage": "verify"}, *ways],
    }


def _job(way: str) -> str:
    return way.replace(", ", "_").replace(" ", "_")


def outcomes(store: Store, job: str, planted: Mapping[str, bool]) -> Counter[tuple[bool, str]]:
    """(label was planted, what became of it) -> number. planted: problem -> whether its label is wrong."""
    texts = {p.prompt_id: p.text for p in _rows(store, "prompts", Prompt)}
    found: Counter[tuple[bool, str]] = Counter()
    for pair in _rows(store, job, Pair):
        if (text := texts[pair.prompt_id]) in planted:
            found[planted[text], "flipped" if pair.label_flipped else "kept"] += 1
    for reject in _rows(store, job, Reject):
        if (text := texts[reject.prompt_id]) in planted:
            found[planted[text], reject.reason] += 1
    return found


class Told:
    """What a way to decide came to, as numbers."""

    def __init__(self, found: Counter[tuple[bool, str]]) -> None:
        self.flips = sum(n for (_, what), n in found.items() if what == "flipped")
        self.planted = sum(n for (wrong, _), n in found.items() if wrong)
        self.clean = sum(n for (wrong, _), n in found.items() if not wrong)
        self.precision = found[True, "flipped"] / max(1, self.flips)
        self.caught = 1 - found[True, "kept"] / max(1, self.planted)
        self.lost = 1 - found[False, "kept"] / max(1, self.clean)
        left = found[True, "kept"] + found[False, "flipped"]
        kept = found[True, "kept"] + found[False, "kept"] + self.flips
        self.wrong_after = left / max(1, kept)
        self.mended = found[True, "flipped"] / max(1, self.planted)

    def __str__(self) -> str:
        return (
            f"flips {self.flips}, right {self.precision:.3f}; of planted turned back {self.mended:.3f}, "
            f"caught {self.caught:.3f}; clean lost {self.lost:.3f}; wrong labels left {self.wrong_after:.4f}"
        )


def run() -> list[Figure]:
    """Precision of the flips, and the share of planted labels that were turned back or dropped."""
    problems = make_problems(SEED, PROBLEMS, "heldout")
    half = PROBLEMS // 2
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        own = own_pairs(problems, folder)
        first = {p.text for p in problems[:half]}
        write_rows(folder / "gold.jsonl", gold_items([pair for pair in own if pair[0] in first], SEED))
        config = read_config("repair") | {"runs_dir": str(folder / "runs")}
        calibrate(str(folder / "gold.jsonl"), str(folder / "calibration.json"), config)
        mine = mislabelled([pair for pair in own if pair[0] not in first], SEED, WRONG)
        taken = {p.text for p in problems}
        made = mislabelled([p for p in made_pairs(SEED + 1, half, "heldout") if p[0] not in taken], SEED + 1, WRONG)
        answers = {p.text: str(p.answer) for p in [*problems, *make_problems(SEED + 1, half, "heldout")]}
        write_rows(folder / "rows.jsonl", [r | {"reference": answers[r["prompt"]]} for r in [*mine, *made]])
        synth(_config(folder / "rows.jsonl", folder / "calibration.json"), folder)
        store = Store(str(folder / "runs" / "repair"))
        sets = {
            kind: {row["prompt"]: not row["label_right"] for row in rows}
            for kind, rows in (("own", mine), ("constructed", made))
        }
        told = {
            (kind, way): Told(outcomes(store, _job(way), planted)) for kind, planted in sets.items() for way in WAYS
        }
    return _figures(told)


def _figures(told: Mapping[tuple[str, str], Told]) -> list[Figure]:
    shipped = told["own", SHIPPED]
    table = {f"{kind} pairs, {way}": str(found) for (kind, way), found in told.items()}
    pairs = {"pairs": shipped.planted + shipped.clean, "planted": shipped.planted}
    return [
        Figure("label_flip_precision", round(shipped.precision, 4), "share of flips", ">= 0.95", pairs | table),
        Figure("label_noise_caught", round(shipped.caught, 4), "share of planted labels", ">= 0.80", pairs),
        Figure("label_clean_lost", round(shipped.lost, 4), "share of right labels", "", pairs),
    ]
