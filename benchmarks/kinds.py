"""Is the label true? Every kind of pair that the embedded model's world can say, by what its generator knows of each row.

Kinds from pools and search trees are measured here: chosen is right, rejected wrong somewhere (of steps: as far as each has
come); of ranked lists any two answers of different outcome. `instruction_labels`, `context_labels`, `constructed_pairs` and
`judge_labels` measure the others; the least of all takes theirs as they were last measured, which `make bench` does just
before. Behind the kinds of `OPINIONS` stands no check but what a critic or judge says; they are told, and left out there.
"""

from __future__ import annotations

import itertools
import json
import re
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from benchmarks.figures import Figure, synth
from models.abacus.problems import Problem, make_problems, write_problems
from models.abacus.solutions import ANSWER
from pipeline.config import read_config
from pipeline.pair import Pair
from pipeline.plan import make_plan
from pipeline.records import Prompt, Record
from pipeline.store import Store
from pipeline.tree import Ranking

SEED, PROBLEMS, SHARD = 11, 100, 50
CONFIGS = ("abacus_pools", "abacus_search", "abacus_steps")
OPINIONS = ("all_margin", "judgment_majority")
NAME = "kinds_label_true_"
EQUATION = re.compile(r"\d+ [-+x/] \d+ = (\d+)")
RESULTS = Path(__file__).with_name("results.json")


def run() -> list[Figure]:
    """Share of true labels for each kind, and the least of them."""
    found = pools_and_trees()
    known = json.loads(RESULTS.read_text(encoding="utf-8"))
    shares = {name: fields["value"] for name, fields in known.items() if name.startswith(NAME)}
    shares |= {figure.name: figure.value for figure in found}
    for name in ("min", *OPINIONS):
        shares.pop(f"{NAME}{name}", None)
    worst = min(shares, key=shares.__getitem__)
    beside = {"kind": worst.removeprefix(NAME), "kinds": len(shares)}
    return [*found, Figure(f"{NAME}min", shares[worst], "share of rows", ">= 0.97", beside)]


def pools_and_trees() -> list[Figure]:
    """The kinds of `CONFIGS`, on problems that the model was not trained on."""
    problems = {problem.text: problem for problem in make_problems(SEED, PROBLEMS, "heldout")}
    with tempfile.TemporaryDirectory() as name:
        write_problems(Path(name) / "problems.jsonl", list(problems.values()))
        true: dict[str, list[bool]] = defaultdict(list)
        for config_name in CONFIGS:
            for kind, labels in labels_of(config_name, Path(name), problems).items():
                true[kind] += labels
    return [figure(kind, own) for kind, own in sorted(true.items())]


def figure(kind: str, true: Sequence[bool]) -> Figure:
    """The share of rows whose label is true."""
    wanted = "" if kind in OPINIONS else ">= 0.97"
    return Figure(f"{NAME}{kind}", round(sum(true) / len(true), 4), "share of rows", wanted, {"rows": len(true)})


def labels_of(name: str, folder: Path, problems: Mapping[str, Problem]) -> dict[str, list[bool]]:
    """Runs a config on the problems in `folder`; whether the labels are true, by kind."""
    config = read_config(name)
    source, *jobs = config["jobs"]
    source = {**source, "path": str(folder / "problems.jsonl"), "limit": None}
    config |= {"shard_size": SHARD, "jobs": [source, *jobs]}
    synth(config, folder)
    true: dict[str, list[bool]] = defaultdict(list)
    for pair in made(config, folder, Pair):
        true[pair.kind].append(is_true(pair, problems[pair.prompt_messages[-1].content]))
    asked = {prompt.prompt_id: prompt.text for prompt in made(config, folder, Prompt)}
    for ranking in made(config, folder, Ranking):
        true["ranked"] += in_order(ranking, problems[asked[ranking.prompt_id]])
    return {kind: own for kind, own in true.items() if own}


R = TypeVar("R", bound=Record)


def made(config: dict[str, Any], folder: Path, table: type[R]) -> Iterator[R]:
    """The rows of all jobs of a finished run that make `table`."""
    store = Store(str(folder / "runs" / config["name"]))
    for job in make_plan(config).jobs.values():
        if job.table is table:
            for shard in sorted(store.done(job.name)):
                yield from store.read(job.name, table, shard, main=True)


def in_order(ranking: Ranking, problem: Problem) -> list[bool]:
    """Of any two answers of different outcome: whether the upper one is right and the lower one is not."""
    right = [is_right("".join(answer.steps), problem, True) for answer in ranking.answers]
    told = [answer.outcome for answer in ranking.answers]
    return [
        right[i] and not right[j] for i, j in itertools.combinations(range(len(told)), 2) if told[i] != told[j]
    ]  # fmt: skip


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
