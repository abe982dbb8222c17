"""The configs of kinds that no model of the repository can say make rows of each, with models that are functions."""

from __future__ import annotations

import json
import math
import re
from typing import Any

from pipeline.config import read_config
from pipeline.engine import Completion, Request, ScoreRequest
from pipeline.pair import Pair
from pipeline.run import Driver
from tests.conftest import Site

N = 4


def judge(request: Request) -> Completion:
    """Finds the text better that is called right."""
    shown = request.messages[-1].content if request.messages else ""
    answers = re.findall(r"<response(?:_[ab])?>\n(.*?)\n</response(?:_[ab])?>", shown, re.DOTALL)
    if len(answers) == 2:
        p = 0.9 if "right" in answers[0] else 0.1
        labels = {"A": math.log(p), "B": math.log(1 - p), "T": -9.0}
        return Completion("A" if p > 0.5 else "B", "stop", 50, 1, labels=labels)
    score = 5 if "right" in answers[0] else 1
    return Completion(f"{score}", "stop", 50, 1, labels={str(n): -0.01 if n == score else -9.0 for n in range(1, 6)})


def solver(request: Request) -> str:
    """Adds the two numbers of the passage."""
    red, blue = re.findall(r"(\d+) (?:red|blue)", "\n".join(m.content for m in request.messages or ()))[:2]
    return f"Answer: {int(red) + int(blue)}"


def teacher(request: Request) -> Completion:
    """Adds in sight, or not, or does not know."""
    asked = request.messages[-1].content if request.messages else ""
    ways = ("I add the two numbers, digit by digit.", "It is so.", "Who knows?", "I count on my fingers.")
    return Completion(f"{asked} {ways[request.seed % len(ways)]}", "stop", 10, 10)


def student(request: Request) -> str:
    """Is only scored."""
    return "?"


def learns(request: ScoreRequest) -> list[float]:
    """Finds sums when its example adds; those of small numbers else."""
    *_, example, probe = request.messages or ()
    number = int(probe.content.split()[2])
    knows = "I add" in example.content or number < 20
    return [-0.5 if (request.continuation == str(2 * number)) == knows else -1.0]


def made(site: Site, name: str, rows: list[dict[str, Any]], **fields: Any) -> Driver:
    """The run of a config on `rows`, its engines the functions of their names; fields: of jobs that have them."""
    path = site.folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    config, here = read_config(name), "tests.stages.pairs.test_kind_configs"
    engines = {
        alias: {"kind": "scripted", "function": f"{here}:{alias}", "model": alias} for alias in config["engines"]
    }
    if "student" in engines:
        engines["student"]["score"] = f"{here}:learns"
    source, *rest = config["jobs"]
    rest = [job | {name: value for name, value in fields.items() if name in job} for job in rest]
    jobs = [{**source, "path": str(path)}, *rest]
    return site.run(
        config | {"engines": engines, "jobs": jobs, "executor": "local", "runs_dir": str(site.folder / "runs")}
    )


def rows_of(driver: Driver, job: str) -> list[Pair]:
    return driver.store.read(job, Pair, 0, main=True)


def test_texts_that_people_chose_between(site: Site) -> None:
    rows = [
        {
            "prompt": f"Which river is number {i}?", "response_a": f"This is right: the Po, {i} [1].",
            "response_b": f"It may well be the Rhine, {i} [2].", "rater": f"rater {i % 2}", "choice": i % 2,
            "votes": {"paraphrase": 5, "a": 6, "b": 3, "skip": 1}, "other_prompt": f"Which lake is number {i}?",
            "other_response": f"I do not know, {i}.",
        }
        for i in range(N)
    ]  # fmt: skip
    driver = made(site, "annotated", rows)
    jobs = {
        "pair_rater": "rater", "pair_paraphrase": "paraphrase_style", "pair_citations": "citation_support",
        "pair_joint": "joint",
    }  # fmt: skip
    found = {job: rows_of(driver, job) for job in jobs}
    assert {job: {p.kind for p in pairs} for job, pairs in found.items()} == {job: {kind} for job, kind in jobs.items()}
    chosen = {job: [p.chosen_messages[0].content for p in pairs] for job, pairs in found.items()}
    assert [("right" in text) for text in chosen["pair_rater"]] == [i % 2 == 0 for i in range(N)]
    assert all("right" in text for job in ("pair_paraphrase", "pair_citations", "pair_joint") for text in chosen[job])
    assert all(p.rejected_prompt_messages for p in found["pair_joint"])
    assert driver.totals["export"].rows_out >= 2 * N


def test_passages_that_differ_in_a_number(site: Site) -> None:
    story = "Tom has {} red eggs and {} blue eggs in one basket by the door."
    rows = [
        {
            "prompt": f"How many eggs are there in basket {i}?", "passage_a": story.format(5, i),
            "passage_b": story.format(7, i), "response_a": f"5 + {i} = {5 + i}\nAnswer: {5 + i}",
            "response_b": f"7 + {i} = {7 + i}\nAnswer: {7 + i}",
        }
        for i in range(N)
    ]  # fmt: skip
    driver = made(site, "passages", rows)
    pairs = rows_of(driver, "pair_contexts")
    assert len(pairs) == driver.totals["export"].rows_out == 2 * N
    assert {p.kind for p in pairs} == {"counterfactual_context"}
    for pair in pairs:
        red, blue = re.findall(r"(\d+) (?:red|blue)", pair.prompt_messages[-1].content)
        assert pair.chosen_messages[0].content.endswith(f"Answer: {int(red) + int(blue)}")


def test_drafts_that_a_student_learns_from(site: Site) -> None:
    probes = [{"prompt": f"What is {i} + {i}?", "right": str(2 * i), "wrong": [str(2 * i + 1)]} for i in range(40)]
    rows = [{"question": f"What is {i} + 7?"} for i in range(100, 100 + N)]
    driver = made(site, "drafts", rows, probes=probes)
    pairs = rows_of(driver, "pair_constructed")
    assert pairs
    assert {p.kind for p in pairs} == {"student_icl"}
    assert all("I add" in p.chosen_messages[0].content for p in pairs)
    assert not any("I add" in p.rejected_messages[0].content for p in pairs)
    assert {(p.chosen_score, p.rejected_score) for p in pairs} == {(1.0, 0.5)}
