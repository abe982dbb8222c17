"""configs/delta.yaml as a run: with models that do as they are asked, every kind it names makes pairs with true labels."""

from __future__ import annotations

import json
import re
from typing import Any

from pipeline.config import read_config
from pipeline.engine import Completion, Request
from pipeline.pair import Pair
from pipeline.run import Driver
from tests.conftest import Site

PROMPTS = 6
GOOD = "First count the stones by hand, then weigh them twice, and write both results down."
BAD = "No idea, maybe some stones."
KINDS = {
    "pair_pool": "best_worst", "pair_delta": "delta_weak_strong", "pair_on_off": "on_vs_off", "pair_spin": "spin",
    "pair_revision": "revision", "pair_contrast": "contrast_prompt", "pair_corrupted": "corrupted",
    "pair_modified": "modified_instruction",
}  # fmt: skip


def author(request: Request) -> str:
    """A model that does as it is asked; its own answers are bad ones."""
    shown = request.messages[-1].content if request.messages else ""
    if request.structured:
        return json.dumps(
            [f"{word} {BAD}" for word in ("Well:", "Perhaps the sea took all;", "Ask Ann;", "Twelve, I say;")]
        )
    if "Put one subtle error" in shown:
        given = re.findall(r"<response>\n(.*?)\n</response>", shown, re.DOTALL)[0]
        return f"<error>once, not twice</error><corrupted>{given.replace('twice', 'once')}</corrupted>"
    if "modified instruction" in shown:
        asked = re.findall(r"<prompt>\n(.*?)\n</prompt>", shown, re.DOTALL)[0]
        return f"<instruction>{asked} Name three rivers.</instruction><answer>The Nile, the Rhine, the Po.</answer>"
    if "Criticise" in shown:
        return "It says nothing of how to count."
    better = "Write the response again" in shown or "helpful, complete" in shown or "every step checked" in shown
    return f"{GOOD} ({request.seed})" if better else f"{BAD} ({request.seed})"


def strong(request: Request) -> str:
    """The same, but its own answers are good ones."""
    answer = author(request)
    return answer.replace(BAD, GOOD)


def judge(request: Request) -> Completion:
    """Five for what says all that matters, one for the rest."""
    shown = request.messages[-1].content if request.messages else ""
    response = re.findall(r"<response>\n(.*?)\n</response>", shown, re.DOTALL)[-1]
    score = "5" if "count the stones" in response and "twice" in response else "1"
    labels = {str(n): -0.01 if str(n) == score else -9.0 for n in range(1, 6)}
    return Completion(f"Score: {score}", "stop", 50, 4, labels=labels)


def delta(site: Site, **changes: Any) -> Driver:
    """The shipped config on scripted models."""
    path = site.folder / "prompts.jsonl"
    rows = [
        {"prompt": f"How do I count the stones of beach {i}?", "answer": f"{GOOD} That is all."} for i in range(PROMPTS)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    config = read_config("delta")
    module = "tests.stages.pairs.test_delta_config"
    roles = {"strong": "strong", "weak": "author", "policy": "author", "judge": "judge"}
    engines = {
        alias: {"kind": "scripted", "function": f"{module}:{role}", "model": alias, "family": alias}
        for alias, role in roles.items()
    }
    source, *jobs = config["jobs"]
    return site.run(
        config
        | {"engines": engines, "jobs": [{**source, "path": str(path)}, *jobs], "executor": "local"}
        | {"runs_dir": str(site.folder / "runs"), "shard_size": PROMPTS, **changes}
    )


def pairs_of(driver: Driver, job: str, shards: int = 1) -> list[Pair]:
    """The pairs of a job."""
    return [pair for shard in range(shards) for pair in driver.store.read(job, Pair, shard, main=True)]


def test_every_kind_of_the_config_makes_true_pairs_for_every_prompt(site: Site) -> None:
    driver = delta(site)
    for job, kind in KINDS.items():
        pairs = pairs_of(driver, job)
        assert {p.kind for p in pairs} == {kind}
        assert len({p.prompt_id for p in pairs}) == PROMPTS, job
        for pair in pairs:
            chosen, rejected = pair.chosen_messages[0].content, pair.rejected_messages[0].content
            assert "twice" in chosen
            assert "twice" not in rejected
            assert pair.score_gap is None or pair.score_gap > 0
            assert pair.lineage is not None
            assert len(pair.lineage.parent_ids) == 2
            assert pair.chosen_gen is not None
            assert pair.rejected_gen is not None
    assert driver.totals["export"].rows_out > 5 * PROMPTS


def test_pairs_do_not_depend_on_the_shards_they_are_made_in(site: Site) -> None:
    whole = delta(site)
    parts = delta(site, name="parts", shard_size=2)
    for job in KINDS:
        ids = sorted(p.pair_id for p in pairs_of(whole, job))
        assert sorted(p.pair_id for p in pairs_of(parts, job, 3)) == ids
