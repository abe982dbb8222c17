"""Rounds of generating and training, with a scripted policy and a train command that is a few lines of Python."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pipeline import cli
from pipeline.errors import PlanError, RunError
from pipeline.iterate import iterate, of_round

if TYPE_CHECKING:
    from tests.conftest import Site

TRAIN = """
import json, pathlib, sys
data, model, to, round = sys.argv[1:]
log = pathlib.Path(to).parent / "trained.jsonl"
with log.open("a") as file:
    file.write(json.dumps({"rows": len(list(pathlib.Path(data).glob("*.parquet"))), "model": model, "round": round}) + "\\n")
if (pathlib.Path(to).parent / f"fail-{round}").exists():
    sys.exit(3)
pathlib.Path(to).mkdir(exist_ok=True)
(pathlib.Path(to) / "config.json").write_text("{}")
"""


def rounds_of(site: Site, **changes: Any) -> dict[str, Any]:
    """The usual small run with an export, two rounds, and a policy that has a model."""
    config = site.config(n=6)
    script = site.folder / "train.py"
    script.write_text(TRAIN, encoding="utf-8")
    config["engines"]["policy"]["model"] = "first"
    config["jobs"].append({"stage": "export"})
    train = [sys.executable, str(script), "{data}", "{model}", "{to}", "{round}"]
    return config | {"iterate": {"rounds": 2, "train": train, **changes}}


def trained(site: Site) -> list[dict[str, Any]]:
    file = site.folder / "runs/t/trained.jsonl"
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def test_each_round_generates_with_the_model_of_the_round_before(site: Site) -> None:
    last = iterate(rounds_of(site), quiet=True)
    assert last == site.folder / "runs/t/model-2"
    assert [(t["model"], t["round"]) for t in trained(site)] == [
        ("first", "1"),
        (str(site.folder / "runs/t/model-1"), "2"),
    ]
    policies = [
        json.loads((site.folder / f"runs/t/round-{n}/run.json").read_text())["engines"]["policy"] for n in (1, 2)
    ]
    assert [p["model"] for p in policies] == ["first", str(site.folder / "runs/t/model-1")]
    assert all(t["rows"] == 2 for t in trained(site))


def test_a_round_has_a_seed_and_a_path_of_its_own(site: Site) -> None:
    config = rounds_of(site)
    config["jobs"][0]["path"] = "prompts-{round}.jsonl"
    rounds = [of_round(config, n) for n in (1, 2)]
    assert [r["seed"] for r in rounds] == [1, 2]
    assert [r["jobs"][0]["path"] for r in rounds] == ["prompts-1.jsonl", "prompts-2.jsonl"]


def test_what_is_there_is_not_done_again(site: Site) -> None:
    iterate(rounds_of(site), quiet=True)
    files = site.files()
    iterate(rounds_of(site, rounds=3), quiet=True)
    assert [t["round"] for t in trained(site)] == ["1", "2", "3"]
    assert {name: data for name, data in site.files().items() if name in files} == files


def test_a_training_that_fails_is_told_and_done_again(site: Site) -> None:
    config = rounds_of(site)
    (site.folder / "runs/t").mkdir(parents=True)
    (site.folder / "runs/t/fail-2").touch()
    with pytest.raises(
        RunError, match=r"training ended with code 3: .*train\.py .*round-2/export .*model-1 .*model-2\.part 2"
    ):
        iterate(config, quiet=True)
    assert not (site.folder / "runs/t/model-2").exists()
    (site.folder / "runs/t/fail-2").unlink()
    iterate(config, quiet=True)
    assert [t["round"] for t in trained(site)] == ["1", "2", "2"]


def test_a_command_that_leaves_no_model_is_told(site: Site) -> None:
    with pytest.raises(RunError, match=r"training left no model in .*model-1\.part"):
        iterate(rounds_of(site, train=[sys.executable, "-c", "", "{data}", "{to}"]), quiet=True)


def test_another_command_is_refused_where_a_model_is(site: Site) -> None:
    config = rounds_of(site)
    iterate(config, quiet=True)
    config["iterate"]["train"] += ["more"]
    with pytest.raises(PlanError, match=r"model-1 was trained with another command; remove it"):
        iterate(config, quiet=True)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"train": ["x", "{data}"]}, r"iterate: train: no \{to\} in the command"),
        ({"engine": "writer"}, "no engine 'writer' with a model to be trained; engines that have one: policy"),
        ({"export": "pair_responses"}, "no export 'pair_responses' in this config; exports: export"),
        ({"train": ["no-such-program", "{data}", "{to}"]}, "train cannot be run: no-such-program"),
        ({"loops": 2}, "iterate: unknown key 'loops'"),
    ],
)
def test_what_cannot_work_is_one_line(site: Site, changes: dict[str, Any], told: str) -> None:
    with pytest.raises(PlanError, match=told):
        iterate(rounds_of(site, **changes), quiet=True)


def test_a_config_without_rounds_is_refused_by_iterate_alone(site: Site) -> None:
    config = site.config(n=6)
    assert of_round(config) == config
    with pytest.raises(PlanError, match="the config has no rounds"):
        iterate(config)


def test_run_makes_the_first_round(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    file = site.save(rounds_of(site))
    assert cli.main(["run", file, "--plain"]) == 0
    made = site.files("t/round-1")
    assert cli.main(["iterate", file, "--plain"]) == 0
    assert "round 2 of 2: " in capsys.readouterr().out
    assert made.items() <= site.files("t/round-1").items()
    assert Path(site.folder, "runs/t/model-2/config.json").is_file()
