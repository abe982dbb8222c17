"""Probes: gold items that judges meet like any prompt, that nothing is made of, and by which the audit knows them."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import duckdb
import pytest

from pipeline.engine import Completion, Request
from pipeline.errors import PlanError
from pipeline.plan import first_difference, make_plan
from pipeline.records import Candidate, Message, Prompt
from pipeline.stage import PROBE, Context, Example
from stages.candidates.plant_probes import PlantProbes
from tests.conftest import Site

ITEMS = 12


def fair(request: Request) -> Completion:
    """Rates by the word that probes say the truth with, and anything else by lot."""
    shown = "\n".join(m.content for m in request.messages or ())
    score = "5" if "the true one" in shown else "1" if "the false one" in shown else "24"[int(request.key[:8], 16) % 2]
    if "prompt of a probe 3:" in shown:
        score = "6"  # out of range: no opinion
    labels = {label: math.log(0.96 if label == score else 0.01) for label in request.labels}
    return Completion(f"Score: {score}", "stop", 10, 3, labels=labels)


def gold(folder: Path, n: int = ITEMS) -> Path:
    path = folder / "gold.jsonl"
    rows = []
    for i in range(n):
        sides = ("the true one", "the false one") if i % 2 else ("the false one", "the true one")
        rows.append({"prompt": f"prompt of a probe {i}:", "response_a": sides[0], "response_b": sides[1]})
        rows[-1]["label"] = "a" if i % 2 else "b"
    rows.append({"prompt": "no label", "response_a": "x", "response_b": "y"})
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def config(site: Site, share: float = 1.0) -> dict[str, Any]:
    found = site.config()
    source, generate, rate, pairs = found["jobs"]
    judge = {"kind": "scripted", "function": "tests.stages.candidates.test_plant_probes:fair"}
    probes = {"stage": "plant_probes", "path": str(gold(site.folder)), "share": share}
    jobs = [source, probes, generate, rate, pairs, {"stage": "audit"}, {"stage": "export", "format": "trl-dpo"}]
    return found | {"engines": found["engines"] | {"judge": judge}, "jobs": jobs}


async def planted(path: Path, n: int, **fields: Any) -> list[list[Prompt | Candidate]]:
    stage, ctx = PlantProbes(path=str(path), **fields), Context("plant_probes", "run", 7, "f", {})
    prompts = [Prompt(f"p{i}", f"p{i}", (Message("user", "?"),)) for i in range(n)]
    return [made for prompt in prompts if (made := await stage.process(Example(prompt), ctx))]


async def test_a_share_of_the_prompts_gets_a_probe_and_only_labelled_items_are_taken(tmp_path: Path) -> None:
    made = await planted(gold(tmp_path), 400, share=0.25)
    assert 60 <= len(made) <= 140
    assert made == await planted(gold(tmp_path), 400, share=0.25)
    prompts = [rows[0] for rows in made]
    assert len({p.prompt_id for p in prompts}) == len(made)  # the same item twice is two probes
    assert {p.text for p in prompts if isinstance(p, Prompt)} == {f"prompt of a probe {i}:" for i in range(ITEMS)}


async def test_the_better_one_stands_beside_the_prompt_and_nowhere_in_the_candidates(tmp_path: Path) -> None:
    for prompt, *sides in await planted(gold(tmp_path), 40, share=1):
        assert isinstance(prompt, Prompt)
        better = json.loads(prompt.ext_json or "")[PROBE]
        [text] = [c.text for c in sides if isinstance(c, Candidate) and c.candidate_id == better]
        assert text == "the true one"
        assert {(c.ext_json, c.policy_relation, c.job) for c in sides if isinstance(c, Candidate)} == {
            (None, None, "plant_probes")
        }


def test_judges_meet_probes_and_nothing_else_does(site: Site) -> None:
    site.run(config(site))
    run = site.folder / "runs/t"

    def prompts(job: str) -> set[str]:
        return {row[0] for row in duckdb.execute(f"select prompt_id from '{run}/{job}/*.parquet'").fetchall()}

    probes = prompts("plant_probes")
    assert len(probes) == 24
    assert probes < prompts("rate")
    assert not probes & prompts("generate")
    assert not probes & prompts("pair_responses")
    exported = duckdb.execute(f"select * from '{run}/export/*.parquet'").fetchall()
    assert exported
    assert "the true one" not in str(exported)


def test_the_audit_tells_how_often_each_judge_is_right_and_fails_below_a_bound(site: Site) -> None:
    site.run(config(site))
    run = site.folder / "runs/t"
    found = json.loads((run / "audit/audit.json").read_text(encoding="utf-8"))
    [judge] = found["probes"]
    silent = duckdb.execute(
        f"select count(*) from '{run}/plant_probes/*.parquet' where messages[1].content like '%probe 3:'"
    ).fetchall()[0][0]
    assert found["probes"][judge] == {"same": 24 - silent, "silent": silent}
    assert found["judges"][judge]["probe_accuracy"] == 1.0
    assert "Probes" in (run / "audit/audit.html").read_text(encoding="utf-8")
    assert site.command("audit", str(run), "--fail-on", "probe_accuracy<0.9")[0] == 0
    code, _, err = site.command("audit", str(run), "--fail-on", "probe_accuracy>0.9")
    assert (code, "probe_accuracy is 1.000" in err) == (4, True)


def test_what_is_made_of_the_prompts_does_not_depend_on_probes(site: Site) -> None:
    site.run(config(site))
    with_probes = {name: data for name, data in site.files(kind="*.parquet").items() if name.startswith("export/")}
    plain = config(site)
    plain["jobs"].pop(1)
    site.run(plain | {"name": "plain"})
    rows = [
        duckdb.execute(f"select prompt, chosen, rejected from '{site.folder}/runs/{run}/export/*.parquet'").fetchall()
        for run in ("t", "plain")
    ]
    assert with_probes
    assert rows[0] == rows[1]


def test_the_content_of_the_gold_file_is_part_of_the_recipe_and_its_place_is_not(site: Site) -> None:
    def recipe(folder: Path, n: int) -> Any:
        folder.mkdir(exist_ok=True)
        data = config(site)
        data["jobs"][1]["path"] = str(gold(folder, n))
        return make_plan(data).jobs["plant_probes"].recipe

    one = recipe(site.folder / "one", 4)
    assert one == recipe(site.folder / "other", 4)
    changed = first_difference(one, recipe(site.folder / "one", 5))
    assert changed is not None
    assert changed[0] == "fields.content"


def test_a_file_without_a_labelled_item_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match="has no gold item with label a or b"):
        PlantProbes(path=str(gold(tmp_path, 0))).check()
