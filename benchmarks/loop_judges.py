"""What a cascade saves and what judging near errors gains, from two judges' calls on the same pairs with known truth.

The weak judge is the embedded model with noise added to its weights: it works as the strong one does, and errs more.
"""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from benchmarks.figures import ROOT, Figure, synth
from models.abacus.problems import Problem
from models.abacus.solutions import is_correct
from pipeline.config import read_config
from pipeline.dataset import Dataset
from pipeline.records import Candidate, Judgment, Prompt
from pipeline.stage import Context, Example
from pipeline.store import Store
from stages.judges.doubt import standings
from stages.judges.labels import TIE_DELTA
from stages.judges.near_errors import NearErrors
from stages.judges.panel import Rules
from stages.judges.preferences import prefer

NOISE = 0.1  # deviations of each matrix
GRID = (0.05, 0.1, 0.2, 0.3, 0.4, 0.45, 0.49, 0.499, 0.4995, 0.4997, 0.4998, 0.4999)
BUDGETS = (0.1, 0.2, 0.4)  # of the pairs
DRAWS = 200

Rows = Mapping[str, Sequence[Judgment]]  # by prompt


def weaken(folder: Path) -> Path:
    """A copy of the embedded model with noise in its weights."""
    source, copy = ROOT / "models/abacus", folder / "weak"
    shutil.copytree(source, copy, ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    draw = torch.Generator().manual_seed(1)
    weights = load_file(source / "model.safetensors")
    for name, w in sorted(weights.items()):
        if w.dim() == 2:
            wide = w.float()
            weights[name] = (wide + NOISE * wide.std() * torch.randn(w.shape, generator=draw)).to(w.dtype)
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    return copy


def mixed(folder: Path, problems: Sequence[Problem]) -> int:
    """Writes a right and a wrong answer of the model's own to each problem that has both; how many there are."""
    (folder / "mixed_in.jsonl").write_text(
        "".join(json.dumps({"prompt": p.text, "answer": str(p.answer)}) + "\n" for p in problems), encoding="utf-8"
    )
    source = {"stage": "prompts", "path": str(folder / "mixed_in.jsonl"), "columns": {"prompt": "prompt"}}
    config = read_config("loops")
    config |= {"name": "mixed", "shard_size": 100, "jobs": [source, config["jobs"][1]]}
    synth(config, folder)
    store = Store(str(folder / "runs/mixed"))
    answers: dict[str, list[str]] = {}
    for shard in sorted(store.done("generate")):
        for candidate in store.read("generate", Candidate, shard, main=True):
            if candidate.finish_reason == "stop":
                answers.setdefault(candidate.prompt_id, []).append(candidate.text)
    texts = {p.prompt_id: p.text for s in store.done("prompts") for p in store.read("prompts", Prompt, s, main=True)}
    known = {p.text: p for p in problems}
    lines = []
    for prompt_id, texts_ in sorted(answers.items()):
        problem = known[texts[prompt_id]]
        right, wrong = ([t for t in texts_ if is_correct(problem, t) is side] for side in (True, False))
        if right and wrong:
            pair = [right[0], wrong[0]]
            random.Random(prompt_id).shuffle(pair)
            lines.append(json.dumps({"prompt": problem.text, "answer": str(problem.answer), "answers": pair}))
    (folder / "mixed.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return len(lines)


def judge(folder: Path, weak: Path) -> list[Example[Any]]:
    """Both judges on all pairs; the examples hold their calls, and what a check knows."""
    config = read_config("loops")
    strong = config["engines"]["abacus"]
    compare = {"stage": "compare", "template": "abacus", "reason": True, "show_reference": False, "schedule": "all",
               "sampling": {"temperature": 0, "max_tokens": 320}}  # fmt: skip
    columns = {"prompt": "prompt", "reference": "answer", "candidates": "answers"}
    config |= {
        "name": "judges", "schedule": "staged", "shard_size": 100,
        "engines": {"weak": strong | {"model": str(weak)}, "strong": strong},
        "jobs": [
            {"stage": "prompts", "path": str(folder / "mixed.jsonl"), "columns": columns},
            compare | {"name": "weak", "engine": "weak"},
            compare | {"name": "strong", "engine": "strong"},
            {"stage": "verify"},
        ],
    }  # fmt: skip
    synth(config, folder)
    store = Store(str(folder / "runs/judges"))
    found: dict[str, Example[Any]] = {}
    for shard in sorted(store.done("prompts")):
        found |= {p.prompt_id: Example(p, [], []) for p in store.read("prompts", Prompt, shard, main=True)}
        for candidate in store.read("prompts", Candidate, shard, main=False):
            found[candidate.prompt_id].candidates = [*found[candidate.prompt_id].candidates, candidate]
        for job in ("weak", "strong", "verify"):
            for row in store.read(job, Judgment, shard, main=True):
                found[row.prompt_id].judgments = [*found[row.prompt_id].judgments, row]
    return list(found.values())


def of(example: Example[Any], *jobs: str) -> list[Judgment]:
    """What some jobs said."""
    return [row for row in example.judgments if row.job in jobs]


def right(example: Example[Any], judgments: Sequence[Judgment]) -> float:
    """1 where the label is right, 0 where it is wrong, ½ where there is none."""
    truth = {row.cand_ids[0]: row.value or 0.0 for row in of(example, "verify")}
    found = prefer(example.candidates, judgments, Rules(cascade=("weak", "strong")), TIE_DELTA)
    (first, second), p = found.places, float(found.p[0, 1])
    if p != p or abs(p - 0.5) < TIE_DELTA:
        return 0.5
    return float((p > 0.5) == (truth[first] > truth[second]))


def share(values: Iterable[float]) -> float:
    """Their mean."""
    known = list(values)
    return sum(known) / max(1, len(known))


def cascaded(examples: Sequence[Example[Any]], below: float) -> tuple[float, float]:
    """Accuracy of a cascade, and the share of pairs that it spares the strong judge."""
    asked = {e.prompt.prompt_id: confidence(e) < below for e in examples}
    jobs = {True: ("weak", "strong"), False: ("weak",)}
    rights = [right(e, of(e, *jobs[asked[e.prompt.prompt_id]])) for e in examples]
    return share(rights), 1 - share(asked.values())


def confidence(example: Example[Any]) -> float:
    """Of the weak judge, in the example's one pair."""
    return next(iter(standings(example.candidates, of(example, "weak")).values())).confidence


def cascade(examples: Sequence[Example[Any]]) -> Figure:
    """The threshold is chosen on every other pair, as the least that comes within a point of the strong judge; measured on
    the others."""
    tuned, held = examples[::2], examples[1::2]
    strong = [share(right(e, of(e, "strong")) for e in part) for part in (tuned, held)]
    below = next((b for b in GRID if cascaded(tuned, b)[0] >= strong[0] - 0.01), GRID[-1])
    accuracy, saved = cascaded(held, below)
    table: dict[str, Any] = {
        "pairs": len(held), "below": below, "accuracy": round(accuracy, 4), "strong alone": round(strong[1], 4),
        "weak alone": round(share(right(e, of(e, "weak")) for e in held), 4),
    }  # fmt: skip
    for b in GRID:
        reached, spared = cascaded(held, b)
        table[f"below {b}"] = f"{reached:.4f}, {spared:.2f} saved"
    return Figure(
        "cascade_calls_saved", round(saved, 4), "share of strong calls", "within a point of the strong judge", table
    )


def gains(examples: Sequence[Example[Any]]) -> dict[str, float]:
    """Right labels that the strong judge's verdict adds to each pair (−1 to 1)."""
    return {
        e.prompt.prompt_id: right(e, of(e, "weak", "strong")) - right(e, of(e, "weak")) for e in examples
    }  # fmt: skip


def near(examples: Sequence[Example[Any]], budget: int, known: Collection[str] = ()) -> list[str]:
    """Prompts that near_errors gives a second look; `known`: those whose truth a check tells it."""
    shown: list[Example[Any]] = [
        Example(e.prompt, e.candidates, of(e, "weak", *(("verify",) if e.prompt.prompt_id in known else ())))
        for e in examples
    ]
    stage, ctx = NearErrors(budget=budget, of=("weak",), per_prompt=1), Context("near", "bench", 7, "f", {})
    return [v.prompt_id for verdicts in stage.decide(Dataset.of([shown]), ctx) for v in verdicts if v.budget]


def rejudge(examples: Sequence[Example[Any]]) -> Figure:
    """Right labels gained per extra call: near errors, least sure first, and at random (its expectation)."""
    gained = gains(examples)
    unsure = sorted(gained, key={e.prompt.prompt_id: confidence(e) for e in examples}.__getitem__)
    table: dict[str, Any] = {"pairs": len(examples)}
    ratio = 0.0
    for part in BUDGETS:
        budget = int(part * len(examples))
        at_random = share(gained.values())
        by = {"near errors": near(examples, budget), "least sure": unsure[:budget]}
        told = {name: sum(gained[who] for who in picked) / max(1, 2 * len(picked)) for name, picked in by.items()}
        told |= {"random": at_random / 2, "near known errors": _near_known(examples, gained, budget)}
        table[f"per call, {part:.0%}"] = {name: round(value, 4) for name, value in told.items()}
        ratio = ratio or told["near errors"] / max(told["random"], 1e-9)
    return Figure("rejudge_gain_over_random", round(ratio, 2), "times", f"at {BUDGETS[0]:.0%}; > 1", table)


def _near_known(examples: Sequence[Example[Any]], gained: Mapping[str, float], budget: int) -> float:
    """Gain per call where only errors on a known tenth call for others, nobody's doubt: do errors have neighbours?

    The mean over draws of that tenth. The others count as certain, so what is gained is due to likeness alone.
    """
    found, calls = 0.0, 0
    for draw in range(DRAWS // 10):
        known = set(random.Random(draw).sample(sorted(gained), len(gained) // 10))
        sure = [e if e.prompt.prompt_id in known else _certain(e) for e in examples]
        picked = [who for who in near(sure, budget, known) if who not in known]
        found, calls = found + sum(gained[who] for who in picked), calls + 2 * len(picked)
    return found / max(1, calls)


def _certain(example: Example[Any]) -> Example[Any]:
    rows = [
        Judgment(r.prompt_id, r.judgment_key, "weak", r.mode, "w", r.cand_ids, "ok", 1.0, order=r.order,
                 logprob_source="raw")
        for r in of(example, "weak")
    ]  # fmt: skip
    return Example(example.prompt, example.candidates, rows)


def run(folder: Path, problems: Sequence[Problem]) -> list[Figure]:
    """Both figures."""
    mixed(folder, problems)
    examples = judge(folder, weaken(folder))
    return [cascade(examples), rejudge(examples)]
