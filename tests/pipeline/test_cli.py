"""The commands that look: what they print is what is in the run."""

from __future__ import annotations

import fcntl
import json
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from pipeline import cli
from pipeline.records import Prompt
from pipeline.tokenizer import load_tokenizer

if TYPE_CHECKING:
    from tests.conftest import Site


def run_folder(site: Site) -> str:
    return str(site.folder / "runs/t")


def first_prompt(site: Site) -> str:
    return site.run(site.config(n=6)).store.read("prompts", Prompt, 0, main=True)[0].prompt_id


def test_run_prints_its_report(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["run", site.save(site.config(n=6)), "--plain"]) == 0
    told = capsys.readouterr().out
    assert re.search(r"generate +2/2 +6 +6 +0 +12 +720 ", told)
    assert re.search(r"rate\n\s+status: ok 12\n", told)


def test_status_tells_what_is_left_and_whether_somebody_works(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    site.run(site.config(n=6))
    (site.folder / "runs/t/rate/00001.parquet").unlink()
    assert cli.main(["status", run_folder(site)]) == 0
    told = capsys.readouterr().out
    assert re.search(r"generate +2/2 shards +done\nrate +1/2 shards +open", told)
    assert told.endswith("nobody works on it\n")
    with open(site.folder / "runs/t/lock") as driver:
        fcntl.flock(driver, fcntl.LOCK_EX)
        cli.main(["status", run_folder(site)])
    assert capsys.readouterr().out.endswith("a driver works on it\n")


def test_report_as_json_is_the_sum_of_the_footers(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    site.run(site.config(n=6))
    assert cli.main(["report", run_folder(site), "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert {n: (j["rows_in"], j["kept"], j["rejected"]) for n, j in data["jobs"].items()} == dict.fromkeys(
        data["jobs"], (6, 6, 0)
    )
    assert (data["jobs"]["generate"]["tokens"], data["jobs"]["rate"]["tokens"]) == (12 * 60, 12 * 4)
    assert data["starts"][0]["engines"]["judge"]["requests"] == 12
    assert json.loads((site.folder / "runs/t/report.json").read_text()) == data


def test_show_tells_all_that_was_learned_about_a_prompt(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    prompt_id = first_prompt(site)
    assert cli.main(["show", run_folder(site), prompt_id[:10]]) == 0
    told = capsys.readouterr().out
    assert "user: What is 0 + 1?" in told
    assert "reference: 1" in told
    assert "== generate: 2 Candidate" in told
    assert "== rate: 2 Judgment" in told


def test_show_sends_no_control_characters_to_a_terminal(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    config = site.config(n=4)
    config["engines"]["policy"]["function"] = "faults:hostile"
    prompt_id = site.run(config).store.read("prompts", Prompt, 0, main=True)[0].prompt_id
    for arguments in (["show", run_folder(site), prompt_id], ["preview", site.save(config), "-n", "1"]):
        assert cli.main(arguments) == 0
        told = capsys.readouterr().out
        assert "\\x1b[2J\\x1b]0;title\\x07{{ 7 * 7 }}{% for %}\\x00" in told
        assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", told)


def test_export_writes_what_is_finished_to_a_folder_of_the_users(
    site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    pairs = site.run(site.config(n=10)).totals["pair_responses"]
    (site.folder / "runs/t/pair_responses/00001.parquet").unlink()
    target = site.folder / "out"
    command = ["export", run_folder(site), "--format", "trl-dpo", "--to", str(target)]
    assert cli.main(command) == 0
    assert "2 of 3 shards" in capsys.readouterr().out
    assert cli.main(command) == 2
    assert "is not empty; give a new folder" in capsys.readouterr().err
    assert sorted(p.name for p in target.iterdir()) == ["00000.parquet", "00002.parquet", "README.md", "manifest.json"]
    manifest = json.loads((target / "manifest.json").read_text())
    assert list(manifest["shards"]) == ["00000.parquet", "00002.parquet"]
    assert 0 < manifest["rows"] < pairs.rows_out
    assert not (site.folder / "runs/t/exported").exists()


def test_export_finds_the_table_that_a_format_carries_or_says_what_is_lacking(
    site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    pairs = site.run(site.config(n=6)).totals["pair_responses"].rows_out
    command = ["export", run_folder(site), "--to", str(site.folder / "out"), "--format"]
    for fields, told in (
        (["stepwise"], "makes no trees; jobs: prompts, "),
        (["ranked"], "makes no rankings and no trees and no nodes"),
        (["rdpo"], "makes no rationales"),
        (["trl-kto", "--table", "thumbs"], "makes no thumbs"),
        (["trl-dpo", "--margin"], "no column for margin"),
        (["trl"], "unknown format 'trl'; formats: axolotl, "),
    ):
        assert cli.main([*command, *fields]) == 2
        assert told in capsys.readouterr().err
    assert cli.main([*command, "trl-reward", "--margin"]) == 0
    assert f"refused:no_margin: {pairs}" in capsys.readouterr().out


@pytest.mark.parametrize(("prefix", "hint"), [("zzzz", "ids stand in"), ("", "several begin so")])
def test_show_needs_one_prompt(site: Site, capsys: pytest.CaptureFixture[str], prefix: str, hint: str) -> None:
    first_prompt(site)
    assert cli.main(["show", run_folder(site), prefix]) == 2
    assert hint in capsys.readouterr().err


def test_a_run_is_looked_at_where_its_input_models_and_engines_are_not(
    site: Site, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = site.config(n=6)
    config["engines"]["policy"] = {"kind": "scripted", "function": "own:policy"}
    (site.folder / "own.py").write_text("from benchmarks.canned import policy")
    (site.folder / "own.j2").write_text("{% block user %}Rate: {{ response }}{% endblock %}")
    config["jobs"][2]["template"] = "own.j2"
    monkeypatch.chdir(site.folder)
    monkeypatch.syspath_prepend(str(site.folder))
    prompt_id = site.run(config).store.read("prompts", Prompt, 0, main=True)[0].prompt_id
    for name in ("own.py", "own.j2", "prompts.jsonl"):
        (site.folder / name).unlink()
    sys.modules.pop("own")
    monkeypatch.chdir("/")
    exported = ["export", run_folder(site), "--format", "trl-dpo", "--to", str(site.folder / "out")]
    for command in (["status", run_folder(site)], ["report", run_folder(site)], ["show", run_folder(site), prompt_id]):
        assert cli.main(command) == 0
    assert cli.main(exported) == 0
    assert "2 of 2 shards" in capsys.readouterr().out


@pytest.mark.parametrize("text", ["no JSON", "[1]", "{}", '{"name": "t", "jobs": [{"stage": "gone"}]}'])
def test_the_folder_of_another_program_or_version_is_told(
    site: Site, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    (site.folder / "run.json").write_text(text)
    assert cli.main(["status", str(site.folder)]) == 2
    told = capsys.readouterr().err
    assert f"prefsynth: {site.folder} is not a run this version can read: " in told
    assert told.count("\n") == 1


@pytest.mark.parametrize("command", ["status", "report", "show"])
def test_a_folder_that_is_no_run_is_told(site: Site, capsys: pytest.CaptureFixture[str], command: str) -> None:
    assert cli.main([command, str(site.folder), *(["x"] if command == "show" else [])]) == 2
    assert "no run at" in capsys.readouterr().err


def test_preview_prints_prompts_sent_and_records_made_and_leaves_nothing(
    site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["preview", site.save(site.config(n=6)), "-n", "2"]) == 0
    told = capsys.readouterr().out
    assert told.count("-- to policy, n=2") == 2
    assert told.count("-- to judge, n=1") == 4
    assert "user> What is 1 + 1?" in told
    assert "What is 2 + 1?" not in told
    assert "== rate: 4 Judgment" in told
    assert not (site.folder / "runs").exists()


def test_check_counts_requests_and_tokens_of_the_whole_run(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    config = site.config(n=40)
    config["jobs"][1]["sampling"] = {"n": 3, "max_tokens": 50}
    config["jobs"].append({**config["jobs"][1], "name": "again", "sampling": {"max_tokens": 50}})
    config["engines"]["policy"]["resources"] = {"tokens_per_s": 1, "replicas": 2, "usd_per_hour": 3}
    assert cli.main(["check", site.save(config), "-n", "10"]) == 0
    told = capsys.readouterr().out
    assert "t: 5 jobs, 40 rows; looked at the first 10" in told
    new = 6000  # 40 prompts, 3 samples of 50
    assert re.search(rf"  generate: .*\n      asks policy: about 40 requests, .* at most {new:,} new tokens\n", told)
    assert re.search(r"  rate: .*\n      asks judge: about 120 requests, [\d,]+ prompt tokens, at most", told)
    assert re.search(rf"  again: .*\n      asks policy: about 40 requests, .* at most {new // 3:,} new tokens\n", told)
    assert re.search(rf"engine policy \(scripted.*: about 80 requests, .* at most {new + new // 3:,} new tokens", told)
    assert re.search(r"engine judge \(scripted.*about 120 requests", told)
    assert "at most 1.11 h at 1 tokens/s a replica, 6.67 USD" in told
    assert "10 shards in each of 5 jobs" in told
    assert not (site.folder / "runs").exists()


def test_check_counts_prompts_that_do_not_fit(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    site.prompts(3, json.dumps({"prompt": "word " * 400, "answer": "x"}))
    config = site.config()
    config["engines"]["policy"]["context"] = 100
    assert cli.main(["check", site.save(config)]) == 0
    told = capsys.readouterr().out
    assert re.search(r"engine policy .*\n.*context 100; will not fit: 1 of 4", told)
    assert "rejected: context_overflow prompt has 501 tokens, context is 100" in told


def test_commands_load_no_library_that_they_do_not_need(site: Site) -> None:
    code = (
        "import sys; from pipeline.cli import main; assert main(sys.argv[1:]) == 2; "
        "print({'ray', 'vllm', 'torch', 'transformers', 'datasets', 'openai'} & set(sys.modules))"
    )
    config = site.config(n=4)
    config["jobs"][1]["engin"] = "policy"
    done = subprocess.run(
        [sys.executable, "-c", code, "run", site.save(config)], capture_output=True, text=True, check=True
    )
    assert done.stdout == "set()\n"
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("place", ["prompts.jsonl/runs", "/proc/runs", "nowhere://runs"])
def test_a_place_where_no_run_can_be_written_is_told_before_anything_starts(
    site: Site, capsys: pytest.CaptureFixture[str], place: str
) -> None:
    config = site.save(site.config(n=4))
    where = place if ":" in place else str(site.folder / place)
    assert cli.main(["run", config, "--runs", where]) == 2
    assert re.fullmatch(r"prefsynth: .*(cannot be written: .*; choose another place|is no place for a run: .*)\n",
                        capsys.readouterr().err)  # fmt: skip


def test_an_export_does_not_write_among_other_files(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    site.run(site.config(n=6))
    for place, told in ((run_folder(site), "is not empty"), (str(site.folder / "prompts.jsonl"), "cannot be written")):
        assert cli.main(["export", run_folder(site), "--format", "trl-dpo", "--to", place]) == 2
        assert told in capsys.readouterr().err


@pytest.mark.parametrize("n", ["0", "-3", "x"])
def test_a_number_of_prompts_is_at_least_one(site: Site, capsys: pytest.CaptureFixture[str], n: str) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["preview", "quickstart", "-n", n])
    assert ended.value.code == 2
    assert "argument -n: " in capsys.readouterr().err


@pytest.mark.parametrize(("module", "extra"), [("ray", "ray"), ("transformers", "hf")])
def test_a_library_that_is_not_installed_is_one_line_with_its_extra(
    site: Site, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, module: str, extra: str
) -> None:
    load_tokenizer.cache_clear()
    for name in (module, "pipeline.executors.ray"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setitem(sys.modules, module, None)
    config = site.config(n=4, executor="ray")
    if module == "transformers":
        config["engines"]["policy"] = {"kind": "vllm", "model": "models/abacus"}
    assert cli.main(["run" if module == "ray" else "check", site.save(config)]) == 2
    assert (
        capsys.readouterr().err == f"prefsynth: {module} is not installed: pip install '.[{extra}]' in the checkout\n"
    )


def test_a_wrong_command_line_says_how_it_is_used(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["rune"])
    assert ended.value.code == 2
    assert "check" in capsys.readouterr().err


def test_a_reader_that_goes_away_is_no_error(site: Site) -> None:
    site.run(site.config(n=6))
    with site.start("report", run_folder(site), "--json") as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        err = process.stderr.read()
        process.stdout = None
        process.wait()
    assert "Traceback" not in err
