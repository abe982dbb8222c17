"""Is the label true? Every kind of pair that the embedded model's world can say, by what its generator knows of each row.

Kinds from pools and search trees are measured here: chosen is right, rejected wrong somewhere (of steps: as far as each has
come). `instruction_labels`, `context_labels` and `constructed_pairs` measure the others; the least of all takes theirs as
they were last measured, which `make bench` does just before.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections import defaultdict
from pathlib import Path

from benchmarks.figures import Figure, synth
from models.abacus.problems import Problem, make_problems, write_problems
from models.abacus.solutions import ANSWER
from pipeline.config import read_config
from pipeline.pair import Pair
from pipeline.plan import make_plan
from pipeline.store import Store

SEED, PROBLEMS, SHARD = 11, 100, 50
CONFIGS = ("abacus_pools", "abacus_search")
NAME = "kinds_label_true_"
EQUATION = re.compile(r"\d+ [-+x/] \d+ = (\d+)")
RESULTS = Path(__file__).with_name("results.json")


def run() -> list[Figure]:
    """Share of true labels for each kind, and the least of them."""
    found = pools_and_trees()
    known = json.loads(RESULTS.read_text(encoding="utf-8"))
    shares = {name: fields["value"] for name, fields in known.items() if name.startswith(NAME)}
    shares |= {figure.name: figure.value for figure in found}
    shares.pop(f"{NAME}min", None)
    worst = min(shares, key=shares.__getitem__)
    beside = {"kind": worst.removeprefix(NAME), "kinds": len(shares)}
    return [*found, Figure(f"{NAME}min", shares[worst], "share of rows", ">= 0.97", beside)]


def pools_and_trees() -> list[Figure]:
    """The kinds of `CONFIGS`, on problems that the model was not trained on."""
    problems = {problem.text: problem for problem in make_problems(SEED, PROBLEMS, "heldout")}
    true: dict[str, list[bool]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_problems(folder / "problems.jsonl", list(problems.values()))
        for config_name in CONFIGS:
            for pair in _pairs(config_name, folder):
                true[pair.kind].append(is_true(pair, problems[pair.prompt_messages[-1].content]))
    return [
        Figure(f"{NAME}{kind}", round(sum(own) / len(own), 4), "share of rows", ">= 0.97", {"rows": len(own)})
        for kind, own in sorted(true.items())
    ]


def _pairs(name: str, folder: Path) -> list[Pair]:
    """The rows of every job of a config that makes pairs."""
    config = read_config(name)
    source, *jobs = config["jobs"]
    source = {**source, "path": str(folder / "problems.jsonl"), "limit": None}
    config |= {"shard_size": SHARD, "jobs": [source, *jobs]}
    synth(config, folder)
    store = Store(str(folder / "runs" / config["name"]))
    makers = [job.name for job in make_plan(config).jobs.values() if job.table is Pair]
    return [
        pair for job in makers for shard in sorted(store.done(job)) for pair in store.read(job, Pair, shard, main=True)
    ]


def is_true(pair: Pair, problem: Problem) -> bool:
    """Whether chosen is right and rejected is not: of whole answers to their end, of steps as far as they have come."""
    texts = [f"{pair.assistant_prefix or ''}{arm[0].content}" for arm in (pair.chosen_messages, pair.rejected_messages)]
    ends = bool(pair.chosen_terminal), bool(pair.rejected_terminal)
    chosen, rejected = (is_right(text, problem, end) for text, end in zip(texts, ends, strict=True))
    return chosen and not rejected


def is_right(text: str, problem: Problem, whole: bool) -> bool:
    """Whether the results of all equations are the plan's, in its order, and the answer is the problem's.

    Equations are read in any dress: a stray mark behind a result makes it no other result. Of a text that is not `whole`
    what has come so far: it may be short of steps and answer, but not begin the answer before the last step is done, nor
    another step behind it.
    """
    *lines, last = text.split("\n")
    answers = [found[1] for line in (*lines, last) if (found := ANSWER.match(line))]
    results = [int(found[1]) for line in (*lines, last) for found in EQUATION.finditer(line)]
    planned = [line.result for line in problem.lines]
    if whole or answers:
        return results == planned and answers == [str(problem.answer)]
    if results != planned[: len(results)]:
        return False
    begun = last.startswith(("Step", "Answer")) and last.split()[0].rstrip(":")
    return not begun or (begun == "Answer") == (len(results) == len(planned)) or bool(EQUATION.search(last))
