"""Are the labels true of pairs that train judges and authors of rationales? models/abacus/scored.jsonl tells the right
solution of every problem, a wrong one, and the score that each should get.

Judgments of one answer: chosen is nearer to the right score; of two: chosen names the right one, rejected the other. Beside it
`work_right`, the share of chosen ones that show no result but the plan's. Rationales: chosen names the right answer and states
no false equation; rejected names the other, states a false equation, or quotes or reports what does not stand in the answer it
names. Pairs by aspects: chosen is the right answer.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

from benchmarks.figures import Figure, synth
from benchmarks.kinds import EQUATION, figure, made
from models.abacus.problems import make_problems
from pipeline.config import read_config
from pipeline.engine import resolve_path
from pipeline.pair import Pair

CONFIGS = ("abacus_judges", "abacus_authors")
SEED = 3
SCORE = re.compile(r"^Score: (\d)$", re.MULTILINE)
NAMED = re.compile(r"^Answer: ([AB])$", re.MULTILINE)
BETTER = re.compile(r"^Response ([AB]) is .*better than Response [AB]\.$", re.MULTILINE)
STATED = re.compile(r"(\d+) ([-+x/]) (\d+) (?:=|is) (\d+)")
QUOTED = re.compile(r'^- Response ([AB]) says "(.*)"', re.MULTILINE)
REPORTED = re.compile(
    r"(\d+ [-+x/] \d+) (?:=|is) \d+, not (\d+)"
)  # the generator says so where the answer has just that


class Item(NamedTuple):
    """What is known of a problem: its solutions with their scores, and the results of its plan in order."""

    scores: dict[str, int]
    right: str
    planned: list[int]


def items() -> dict[str, Item]:
    """By the text of the problem."""
    rows = [json.loads(line) for line in resolve_path("models/abacus/scored.jsonl").open(encoding="utf-8")]
    planned = {p.text: [line.result for line in p.lines] for p in make_problems(SEED, len(rows), "quickstart")}
    return {
        row["prompt"]: Item(
            {row["chosen"]: row["chosen_score"], row["rejected"]: row["rejected_score"]},
            row["chosen"],
            planned[row["prompt"]],
        )
        for row in rows
    }


def run() -> list[Figure]:
    """Share of true labels for each kind."""
    known, true, work = items(), defaultdict(list), defaultdict(list)
    with tempfile.TemporaryDirectory() as name:
        for config_name in CONFIGS:
            config = read_config(config_name)
            synth(config, Path(name))
            for pair in made(config, Path(name), Pair):
                true[pair.kind].append(is_true(pair, known))
                if pair.level == "judgment":
                    work[pair.kind].append(works(pair, known))
    figures = [figure(kind, own) for kind, own in sorted(true.items())]
    for one in figures:
        if own := work.get(one.name.removeprefix("kinds_label_true_")):
            one.beside["work_right"] = round(sum(own) / len(own), 4)
    return figures


def is_true(pair: Pair, known: dict[str, Item]) -> bool:
    """Whether chosen is better than rejected by what is known."""
    asked, chosen, rejected = (
        m[-1].content for m in (pair.prompt_messages, pair.chosen_messages, pair.rejected_messages)
    )
    item = known[asked.split("\n")[0]]
    if pair.level == "response":
        return chosen == item.right
    if "\nSolution:\n" in asked:
        score = item.scores[asked.partition("Solution:\n")[2].rpartition("\n")[0].strip()]
        off = [abs(int(SCORE.findall(text)[-1]) - score) for text in (chosen, rejected)]
        return off[0] < off[1]
    shown = responses(asked)
    place = next(name for name, text in shown.items() if text == item.right)
    if pair.level == "judgment":
        return NAMED.findall(chosen) == [place] != NAMED.findall(rejected)
    return faultless(chosen, place, shown) and not faultless(rejected, place, shown)


def works(pair: Pair, known: dict[str, Item]) -> bool:
    """Whether the results that the chosen judgment computes are the plan's, as far as it goes."""
    planned = known[pair.prompt_messages[-1].content.split("\n")[0]].planned
    found = [int(result) for result in EQUATION.findall(pair.chosen_messages[-1].content)]
    return found == planned[: len(found)]


def responses(asked: str) -> dict[str, str]:
    """The two answers that a question shows."""
    a, b = asked.partition("Response A:\n")[2].split("Response B:\n")
    return {"A": a.strip().removesuffix("----").strip(), "B": re.split(r"\n(?:\n----|Recompute)", b)[0].strip()}


def faultless(text: str, place: str, shown: dict[str, str]) -> bool:
    """Whether a rationale names the right answer, computes rightly, and quotes and reports what is there."""
    sums = all(_value(int(a), op, int(b)) == int(c) for a, op, b, c in STATED.findall(_own(text)))
    quotes = all(quote in shown[side] for side, quote in QUOTED.findall(text))
    lines = [line for said in shown.values() for line in said.split("\n")]
    reports = all(any(line.endswith(f"{sum_} = {told}") for line in lines) for sum_, told in REPORTED.findall(text))
    return BETTER.findall(text) == [place] and sums and quotes and reports


def _own(text: str) -> str:
    """A rationale without what it quotes."""
    return re.sub(r'"[^"\n]*"', "", text)


def _value(a: int, op: str, b: int) -> float | None:
    return {"+": a + b, "-": a - b, "x": a * b}.get(op, a / b if b else None)
