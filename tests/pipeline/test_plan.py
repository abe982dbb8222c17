"""Plans: what can be known to be wrong is told at once, in one line that says what exists and what to do."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline import cli
from pipeline.config import read_config
from pipeline.errors import PlanError
from pipeline.plan import first_difference, make_plan, recipe_json

if TYPE_CHECKING:
    from tests.conftest import Site

Config = dict[str, Any]


def change(config: Config, path: str, value: Any) -> Config:
    """The config with one value changed: `jobs.1.engine`; `-` deletes."""
    data: Config = json.loads(json.dumps(config))
    *way, last = [int(p) if p.isdigit() else p for p in path.split(".")]
    node: Any = data
    for part in way:
        node = node[part]
    if value == "-":
        del node[last]
    elif isinstance(node, list) and last == len(node):
        node.append(value)
    else:
        node[last] = value
    return data


VLLM = {"kind": "vllm", "model": "/no/such/model"}
WRONG = {
    "unknown key": (
        "jobs.1.sampling", {"n": 2, "temprature": 1},
        r"job generate: unknown key 'sampling.temprature'; did you mean temperature\? keys: n, temperature, top_p",
    ),
    "unknown key in a list": (
        "jobs.2.aspects", [{"name": "x", "description": "x", "level": ["a"]}],
        r"job rate: unknown key 'aspects.0.level'; did you mean levels\? keys: name, description, levels",
    ),
    "unknown value": ("jobs.2.aspects", ["correctnes"], r"job rate: aspects: unknown aspect correctnes; aspects: "),
    "alternatives": ("jobs.1.engine", "-", r"job generate: give either engine: alias or pool: \{alias: weight, …\}$"),
    "missing key": ("jobs.0.columns", "-", r"job prompts: give columns, or the format of a trainer"),
    "unknown key of a stage": ("jobs.1.engin", "policy", r"job generate: unknown key 'engin'; did you mean engine\?"),
    "unknown key on top": ("shardsize", 4, r"config: unknown key 'shardsize'; did you mean shard_size\?"),
    "unknown key of an engine": ("engines.policy.functon", "x:y", r"engine policy: .*functon.*did you mean function\?"),
    "unknown stage": ("jobs.2.stage", "rates", r"unknown stage 'rates'; stages: .*\brate\b"),
    "no stage": ("jobs.2.stage", "-", r"job 3 names no stage; stages: .*rate"),
    "unknown engine kind": ("engines.judge.kind", "vlm", r"unknown engine kind 'vlm'; kinds: .*vllm"),
    "no engine kind": ("engines.judge.kind", "-", r"engine judge needs a kind"),
    "wrong type": ("shard_size", "many", r"config: shard_size: .*integer.*\(found 'many'\)"),
    "wrong type of a stage": ("jobs.1.sampling", {"n": "x"}, r"job generate: sampling.n: .*integer.*\(found 'x'\)"),
    "wrong value": ("jobs.1.sampling", {"n": 0}, r"sampling.n: .*greater than or equal to 1.*\(found 0\)"),
    "missing column": ("jobs.0.columns.prompt", "promt", r"columns.prompt: .*no column 'promt'; did you mean prompt\?"),
    "missing input": ("jobs.0.path", "/no/such/file.jsonl", r"/no/such/file.jsonl"),
    "needs what nothing makes": ("jobs.1", "-", r"needs candidates, .* put one of these before it: .*generate"),
    "from leaves out what is needed": ("jobs.2.from", "prompts", r"job rate needs candidates, which nothing upstream"),
    "from names no job": ("jobs.3.from", ["rater"], r"is from 'rater', .* jobs before it: prompts, generate, rate"),
    "from names a later job": ("jobs.1.from", "rate", r"is from 'rate', which is no job before it"),
    "from of a source": ("jobs.0.from", "prompts", r"which is no job before it; jobs before it: none"),
    "from is empty": ("jobs.3.from", [], r"from is \[\]; it must be the name of a job"),
    "from is a number": ("jobs.3.from", 3, r"from is 3; it must be the name of a job"),
    "engine that is not there": ("jobs.1.engine", "polcy", r"engine 'polcy'; engines of this config: policy, judge"),
    "template that is not there": ("jobs.2.template", "nope", r"has no template 'nope'; shipped: .*default"),
    "model path that is not there": ("engines.policy", VLLM, r"model '/no/such/model' does not exist"),
    "tokenizer of a gate that is not there": (
        "jobs.3.gate", {"tokenizer": "/no/such/model", "max_length": 9}, r"tokenizer '/no/such/model' does not exist"
    ),
    "tokenizer of an export that is not there": (
        "jobs.4", {"stage": "export", "tokenizer": "models/typo"}, r"tokenizer 'models/typo' does not exist"
    ),
    "function that is not there": ("engines.policy.function", "benchmarks.canned:polcy", r"has no callable 'polcy'"),
    "two jobs of one name": ("jobs.4", {"stage": "pair_responses"}, r"two jobs are called pair_responses; give one"),
    "a name that is a path": ("jobs.1.name", "../x", r"job name '../x' names a folder"),
    "a name that is a side table": ("jobs.1.name", "rate.rejects", r"job name 'rate.rejects' names a folder"),
    "a run name that is a path": ("name", "../../x", r"config: name: .*pattern"),
    "no name": ("name", "-", r"config: name is required"),
    "no jobs": ("jobs", [], r"config: jobs: .*at least 1"),
    "jobs that are no mappings": ("jobs", ["prompts"], r"config: jobs.0: .*dictionary"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_config_is_one_clear_line_and_exit_code_2(
    case: str, site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    path, value, message = WRONG[case]
    config = change(site.config(n=4), path, value)
    with pytest.raises(PlanError, match=message) as caught:
        make_plan(config)
    assert "\n" not in str(caught.value)
    began = time.process_time()
    assert cli.main(["run", site.save(config)]) == 2
    assert time.process_time() - began < 5
    assert capsys.readouterr().err == f"prefsynth: {caught.value}\n"
    assert not (site.folder / "runs").exists()


def test_the_source_stands_first_and_alone(site: Site) -> None:
    config = site.config(n=4)
    for jobs in (config["jobs"][1:], [*config["jobs"], {**config["jobs"][0], "name": "more"}]):
        with pytest.raises(PlanError, match="a source must be the first job, and only the first"):
            make_plan({**config, "jobs": jobs})


def test_an_undefined_template_variable_is_a_plan_error(site: Site) -> None:
    (site.folder / "mine.j2").write_text("{% block user %}{{ respnse }}{% endblock %}")
    config = change(site.config(n=4), "jobs.2.template", str(site.folder / "mine.j2"))
    with pytest.raises(
        PlanError, match=r"template rate/mine uses undefined variable respnse; its stage provides .*response"
    ):
        make_plan(config)


@pytest.mark.parametrize(
    ("job", "fields", "lacking"),
    [(1, {"token_ids": True}, "token_ids"), (2, {"mode": "parsed", "structured": True}, "structured")],
)
def test_an_engine_must_have_what_its_stage_needs_as_it_is_configured(
    site: Site, job: int, fields: dict[str, Any], lacking: str
) -> None:
    config = site.config(n=4)
    endpoint = {"kind": "openai", "model": "m", "base_url": "http://127.0.0.1:9/v1"}
    config["engines"] = {"policy": endpoint, "judge": endpoint}
    make_plan(config)
    config["jobs"][job] |= fields
    told = rf"needs an engine that can {lacking}; \w+ \(kind openai\) can embed, generate, json, labels$"
    with pytest.raises(PlanError, match=told):
        make_plan(config)
    config["engines"] = dict.fromkeys(config["engines"], endpoint | {"server": "vllm"})
    make_plan(config)


def test_a_recipe_holds_what_decides_rows_and_nothing_else(site: Site) -> None:
    config = site.config(n=4)
    plan = make_plan(config)
    elsewhere = make_plan({
        **config, "executor": "ray", "address": "auto", "runs_dir": "x", "window": 3, "max_attempts": 9,
        "watchdog_s": 5, "max_reject_rate": 0.5, "schedule": "staged", "name": "other",
        "engines": {a: {**e, "resources": {"gpus": 2, "replicas": 3}} for a, e in config["engines"].items()},
    })  # fmt: skip
    assert {n: j.fingerprint for n, j in plan.jobs.items()} == {n: j.fingerprint for n, j in elsewhere.jobs.items()}
    text = recipe_json(plan.jobs["rate"])
    assert not [w for w in ("resources", "executor", "address", "runs_dir", str(site.folder)) if f'"{w}' in text]


@pytest.mark.parametrize(
    ("path", "value", "changed"),
    [
        ("seed", 2, ["prompts", "generate", "rate", "pair_responses"]),
        ("shard_size", 5, ["prompts", "generate", "rate", "pair_responses"]),
        ("jobs.1.sampling.n", 3, ["generate", "rate", "pair_responses"]),
        ("engines.judge.version", "2", ["rate", "pair_responses"]),
        ("engines.judge.function", "benchmarks.canned:policy", ["rate", "pair_responses"]),
        ("jobs.3.min_margin", 0.2, ["pair_responses"]),
    ],
)
def test_a_change_reaches_the_job_and_what_follows(site: Site, path: str, value: Any, changed: list[str]) -> None:
    config = site.config(n=4)
    old, new = make_plan(config), make_plan(change(config, path, value))
    assert [n for n in old.jobs if old.jobs[n].fingerprint != new.jobs[n].fingerprint] == changed


def test_from_takes_along_what_its_jobs_are_made_from(site: Site) -> None:
    config = site.config(n=4)
    config["jobs"][3]["from"] = "rate"
    config["jobs"].append({"stage": "rate", "name": "again", "engine": "judge", "from": ["generate"]})
    plan = make_plan(config)
    assert plan.jobs["pair_responses"].inputs == ("prompts", "generate", "rate")
    assert plan.jobs["again"].inputs == ("prompts", "generate")


def test_engines_that_nobody_uses_are_not_looked_at(site: Site) -> None:
    config = site.config(n=4)
    plan = make_plan({**config, "engines": {**config["engines"], "idle": VLLM}})
    assert sorted(plan.engines) == ["judge", "policy"]


trees = st.recursive(
    st.integers(0, 2) | st.sampled_from("ab"),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("xyz"), inner, max_size=3),
    max_leaves=8,
)


@given(trees, trees)
def test_the_first_difference_is_found_where_there_is_one(old: Any, new: Any) -> None:
    found = first_difference(old, new)
    assert (found is None) == (without_none(old) == without_none(new))
    if found and found[0]:
        for tree, value in ((old, found[1]), (new, found[2])):
            node = tree
            for key in found[0].split("."):
                node = node.get(key) if isinstance(node, dict) else None
            assert node == value


def without_none(tree: Any) -> Any:
    return {k: without_none(v) for k, v in tree.items() if v is not None} if isinstance(tree, dict) else tree


def test_a_difference_names_the_field() -> None:
    assert first_difference({"a": {"b": 1, "c": [1]}}, {"a": {"b": 1, "c": [2]}}) == ("a.c", [1], [2])
    assert first_difference({"a": 1}, {"b": 1}) == ("a", 1, None)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            b"name: t\nseed: [",
            r"bad.yaml, line 2 is not valid YAML: expected the node content, but found '<stream end>'",
        ),
        (b"name: t\njobs:\n  - {stage: rate, engine: a, engine: b}", r"line 3 is not valid YAML: engine stands twice"),
        (b"\xff\xfe\x00", r"is not valid YAML"),
        (b"- a\n- b", r"must be a mapping with name, engines and jobs, found list"),
        (b"", r"must be a mapping with name, engines and jobs, found NoneType"),
        (b"!!python/object/apply:os.getcwd []", r"is not valid YAML"),
    ],
)
def test_a_file_that_is_no_config_is_refused(site: Site, content: bytes, message: str) -> None:
    path = site.folder / "bad.yaml"
    path.write_bytes(content)
    with pytest.raises(PlanError, match=message) as caught:
        read_config(str(path))
    assert "\n" not in str(caught.value)


def test_a_config_that_is_not_there_lists_what_ships() -> None:
    with pytest.raises(PlanError, match=r"no config at 'nope'; .*quickstart"):
        read_config("nope")


def test_a_shipped_config_is_found_by_its_name() -> None:
    assert read_config("quickstart")["name"] == "quickstart"
