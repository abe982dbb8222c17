"""configs/contexts.yaml as a run: with models that do as they are asked, every kind it names makes pairs with true labels;
and the kinds that rest on columns of a source, from data of their form."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import pytest

from pipeline.config import read_config
from pipeline.engine import Completion, Request
from pipeline.pair import Pair
from pipeline.run import Driver
from tests.conftest import Site

SHARED = Path(__file__).resolve().parents[4] / "shared" / "data"
PROMPTS = 6
MODULE = "tests.stages.contexts.test_contexts_config"
KINDS = {
    "pair_reversal": "context_reversal", "pair_systems": "cross_context", "pair_persona": "persona",
    "pair_role": "role_constitution", "pair_stance": "stance", "pair_value": "value",
    "pair_aspects": "multi_aspect",
}  # fmt: skip
# What a context says -> the word by which an obedient answer can be told.
WORDS = {
    "few words": "tersely", "all the reasons": "lengthily", "runs for a bus": "tersely", "long evening": "lengthily",
    "teacher of children": "childlike", "experts of the field": "learned", "two sentences": "briefly",
    "thorough": "thoroughly", "night nurse": "nursing", "retired engineer": "mechanical", "pharmacist": "pharmacy",
    "in favour": "yes", "against what": "no", "Honesty": "honestly", "Loyalty": "loyally",
}  # fmt: skip
WRITTEN = (
    "<criterion_a>Say it in few words.</criterion_a><scenario_a>Ann runs for a bus.</scenario_a>"
    "<criterion_b>Give all the reasons.</criterion_b><scenario_b>Bob has a long evening.</scenario_b>"
)


def wanted(text: str) -> list[str]:
    return [word for said, word in WORDS.items() if said in text]


def policy(request: Request) -> str:
    """Answers with the word of the context it is shown, and a number that tells samples apart."""
    shown = "\n".join(m.content for m in request.messages or ())
    if "opposite things" in shown:
        return WRITTEN
    return f"Stones are heavy, said {(wanted(shown) or ['plainly'])[0]} ({request.seed % 997})."


def judge(request: Request) -> Completion:
    """Knows by the word what an answer was made for; without a context it cannot tell."""
    shown = request.messages[-1].content if request.messages else ""
    context = shown.split("</context>")[0] if "<context>" in shown else ""
    answers = re.findall(r"<response(?:_[ab])?>\n(.*?)\n</response(?:_[ab])?>", shown, re.DOTALL)
    words = [] if "pharmacist" in context else wanted(context)  # how well norms are kept differs between answers
    if len(answers) == 2:
        fits = [any(word in answer for word in words) for answer in answers]
        p = 0.5 if fits[0] == fits[1] else 0.95 if fits[0] else 0.05
        labels = {"A": math.log(p), "B": math.log(1 - p), "T": -9.0}
        return Completion("A" if p > 0.5 else "B", "stop", 50, 1, labels=labels)
    last = int(re.findall(r"whole number from \d to (\d)|score alone, 1, 2 or (3)", shown)[0][0] or 3)
    score = (
        last if any(word in answers[0] for word in words) else 1 + int(re.findall(r"\((\d+)\)", answers[0])[0]) % last
    )
    if "for or against" in shown:
        score = 3 if "yes" in answers[0] else 1 if "no (" in answers[0] else 2
    labels = {str(n): -0.01 if n == score else -9.0 for n in range(1, last + 1)}
    return Completion(f"{score}", "stop", 50, 1, labels=labels)


def scripted(site: Site, rows: list[dict[str, Any]], jobs: list[dict[str, Any]], **changes: Any) -> Driver:
    path = site.folder / "prompts.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    engines = {
        alias: {"kind": "scripted", "function": f"{MODULE}:{alias}", "model": alias} for alias in ("policy", "judge")
    }
    used = {job.get("engine") for job in jobs}
    source, *rest = jobs
    return site.run(
        {
            "name": "contexts", "seed": 7, "engines": {a: e for a, e in engines.items() if a in used},
            "jobs": [{**source, "path": str(path)}, *rest], "executor": "local", "shard_size": PROMPTS,
            "runs_dir": str(site.folder / "runs"), **changes,
        }
    )  # fmt: skip


def pairs_of(driver: Driver, job: str, shards: int = 1) -> list[Pair]:
    return [pair for shard in range(shards) for pair in driver.store.read(job, Pair, shard, main=True)]


def whole(site: Site, **changes: Any) -> Driver:
    rows = [{"prompt": f"What of the stones of beach {i}?"} for i in range(PROMPTS)]
    return scripted(site, rows, read_config("contexts")["jobs"], **changes)


def test_every_kind_of_the_config_makes_true_pairs(site: Site) -> None:
    driver = whole(site)
    for job, kind in KINDS.items():
        pairs = pairs_of(driver, job)
        assert {p.kind for p in pairs} == {kind}, job
        assert len({p.prompt_id for p in pairs}) >= PROMPTS - 2, job
        for pair in pairs:
            assert pair.context is not None
            assert any(pair.context.text in m.content for m in pair.prompt_messages)
            if kind not in ("role_constitution", "multi_aspect"):  # there both answers are of one context, or of any
                chosen, rejected = pair.chosen_messages[0].content, pair.rejected_messages[0].content
                assert any(word in chosen for word in wanted(pair.context.text)), pair
                assert not any(f" {word} (" in rejected for word in wanted(pair.context.text)), pair
    assert len(pairs_of(driver, "pair_reversal")) == 4 * PROMPTS
    assert driver.totals["export"].rows_out == sum(len(pairs_of(driver, job)) for job in KINDS)
    assert "list_items" in (site.folder / "runs/contexts/factors/factors.md").read_text(encoding="utf-8")


def test_pairs_do_not_depend_on_the_shards_they_are_made_in(site: Site) -> None:
    one, parts = whole(site), whole(site, name="parts", shard_size=2)
    for job in KINDS:
        assert sorted(p.pair_id for p in pairs_of(parts, job, 3)) == sorted(p.pair_id for p in pairs_of(one, job))


def test_reversal_data_with_answers_and_criteria_of_its_own(site: Site) -> None:
    rows = [
        {"prompt": f"Of stone {i}?", "response_a": f"Heavy, said tersely ({i}).", "response_b": f"So, lengthily ({i}).",
         "criteria_x": "Use few words.", "criteria_y": "Give all the reasons."}
        for i in range(PROMPTS)
    ]  # fmt: skip
    columns = {
        "prompt": "prompt", "candidates": ["response_a", "response_b"], "keep": ["criteria_x", "criteria_y"],
    }  # fmt: skip
    jobs: list[dict[str, Any]] = [
        {"stage": "prompts", "columns": columns},
        {"stage": "adopt_contexts", "columns": [{"name": n, "text": f"criteria_{n}"} for n in "xy"]},
        {"stage": "compare_contexts", "engine": "judge"},
        {"stage": "pair_contexts", "kind": "context_reversal"},
        {"stage": "export", "format": "trl-dpo"},
    ]
    driver = scripted(site, rows, jobs)
    assert len(pairs_of(driver, "pair_contexts")) == driver.totals["export"].rows_out == 2 * PROMPTS


@pytest.mark.skipif(not SHARED.exists(), reason="the shared data lies beside the project, and is not there")
def test_daily_dilemmas_mirror_under_opposed_values(site: Site) -> None:
    lines = (SHARED / "dailydilemmas_700.jsonl").read_text(encoding="utf-8").splitlines()[:60]
    sets = [
        [{"name": "to_do", "type": "value", "text": "Honesty matters most to me."},
         {"name": "not_to_do", "type": "value", "text": "Loyalty matters most to me."}]
    ]  # fmt: skip
    jobs: list[dict[str, Any]] = [
        {"stage": "prompts", "columns": {"prompt": "dilemma_situation", "row_id": "idx"}},
        {"stage": "answer_contexts", "engine": "policy", "sets": sets},
        {"stage": "compare_contexts", "engine": "judge"},
        {"stage": "pair_contexts", "kind": "value"},
        {"stage": "export", "format": "trl-dpo"},
    ]
    driver = scripted(site, [json.loads(line) for line in lines], jobs, shard_size=100)
    pairs = pairs_of(driver, "pair_contexts")
    assert len(pairs) == driver.totals["export"].rows_out == 2 * len({p.prompt_id for p in pairs}) == 120
    assert all(
        wanted(p.context.text)[0] in p.chosen_messages[0].content for p in pairs if p.context
    )  # fmt: skip


@pytest.mark.skipif(not SHARED.exists(), reason="the shared data lies beside the project, and is not there")
def test_persona_statements_are_choices_of_raters_who_differ(site: Site) -> None:
    rows = []
    for name in ("risk-averse", "risk-seeking"):
        lines = (SHARED / f"persona_{name}_300.jsonl").read_text(encoding="utf-8").splitlines()[:20]
        rows += [{**json.loads(line), "persona": f"This person is {name}.", "rater": name} for line in lines]
    columns = {
        "prompt": "question", "context": "persona", "chosen": "answer_matching_behavior",
        "rejected": "answer_not_matching_behavior", "keep": ["persona", "rater"],
    }  # fmt: skip
    jobs: list[dict[str, Any]] = [
        {"stage": "prompts", "columns": columns},
        {"stage": "pair_contexts", "kind": "rater", "rater": {"rater": "rater", "profile": "persona"}},
        {"stage": "export", "from": ["pair_contexts"], "format": "trl-reward"},
    ]
    driver = scripted(site, rows, jobs, shard_size=100)
    pairs = pairs_of(driver, "pair_contexts")
    assert len(pairs) == 40
    assert {p.rater.rater_id for p in pairs if p.rater} == {"risk-averse", "risk-seeking"}
    assert len({p.unordered_id for p in pairs}) == 40
