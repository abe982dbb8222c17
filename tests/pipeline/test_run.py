"""Runs: resumable for ever, refusing what does not fit, and never a row lost or doubled."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pipeline import cli, progress, report, run
from pipeline.errors import EngineError, PlanError, RunError
from pipeline.records import Candidate, Reject
from pipeline.run import Driver
from pipeline.store import Store

if TYPE_CHECKING:
    from tests.conftest import Site


def engines(policy: str = "benchmarks.canned:policy", **policy_fields: Any) -> dict[str, Any]:
    return {
        "policy": {"kind": "scripted", "function": policy, **policy_fields},
        "judge": {"kind": "scripted", "function": "benchmarks.canned:judge"},
    }


def test_a_run_leaves_whole_shards_and_no_temporary_file(site: Site) -> None:
    totals = site.run(site.config(n=10)).totals
    assert {n: (t.shards, t.rows_in) for n, t in totals.items()} == dict.fromkeys(totals, (3, 10))
    assert [totals[n].rows_out for n in ("prompts", "generate", "rate")] == [10, 20, 20]
    assert 0 < totals["pair_responses"].rows_out <= 10
    assert site.leftovers() == []


def test_an_export_accounts_for_every_shard_and_every_job_it_is_made_from(site: Site) -> None:
    config = site.config(n=10)
    config["jobs"].append({"stage": "export", "from": "pair_responses"})
    totals = site.run(config).totals
    manifest = json.loads((site.folder / "runs/t/export/manifest.json").read_text())
    assert list(manifest["shards"]) == ["00000.parquet", "00001.parquet", "00002.parquet"]
    assert manifest["rows"] == sum(manifest["shards"].values()) == totals["export"].rows_out > 0
    stored = {n: json.loads((site.folder / f"runs/t/{n}/job.json").read_text()) for n in totals}
    assert manifest["recipes"] == {n: job["recipe"] for n, job in stored.items()}
    assert manifest["fingerprint"] == stored["export"]["fingerprint"]
    assert {n: (c["rows_in"], c["rows_out"]) for n, c in manifest["counts"].items()} == {
        n: (t.rows_in, t.rows_out) for n, t in totals.items()
    }


def test_a_second_run_does_nothing(site: Site) -> None:
    site.run(site.config(n=10, engines=engines()))
    before = {p: p.stat().st_mtime_ns for p in site.folder.rglob("*.parquet")}
    # the same function by name would now fail: nothing is asked
    site.run(site.config(n=10, engines=engines()))
    assert {p: p.stat().st_mtime_ns for p in site.folder.rglob("*.parquet")} == before


@pytest.mark.parametrize(
    "lost",
    [["generate/00001.parquet"], ["prompts/00000.parquet", "rate/00002.parquet"], ["pair_responses/00000.parquet"],
     ["generate/00000.parquet", "generate/00001.parquet", "generate/00002.parquet", "rate/00001.parquet"]],
)  # fmt: skip
def test_lost_shards_are_redone_byte_by_byte(site: Site, lost: list[str]) -> None:
    site.run(site.config(n=10))
    whole = site.files()
    for name in lost:
        (site.folder / "runs/t" / name).unlink()
    site.run(site.config(n=10))
    assert site.files() == whole


def test_rows_do_not_depend_on_window_slots_or_schedule(site: Site) -> None:
    site.run(site.config(n=10))
    many = {alias: {**e, "resources": {"slots": 3, "replicas": 2}} for alias, e in engines().items()}
    ways: dict[str, dict[str, Any]] = {"w": {"window": 1}, "s": {"schedule": "staged"}, "e": {"engines": many}}
    for name, changes in ways.items():
        site.run(site.config(name=name, **changes))
        assert site.files(name, "generate/*.parquet") == site.files("t", "generate/*.parquet")
        assert site.files(name, "rate/*.parquet") == site.files("t", "rate/*.parquet")


def test_the_log_keeps_the_counters_of_engines_that_a_staged_run_closed(site: Site) -> None:
    site.run(site.config(n=10, schedule="staged"))
    end = json.loads((site.folder / "runs/t/log.jsonl").read_text().splitlines()[-1])
    assert all(counters["requests"] for counters in end["engines"].values())
    assert len(end["engines"]) == 2


def test_a_changed_recipe_is_refused_with_the_field_and_both_values(site: Site) -> None:
    config = site.config(n=10)
    site.run(config)
    whole = site.files()
    config["jobs"][1]["sampling"]["n"] = 3
    with pytest.raises(
        PlanError, match=r"job generate, fields\.sampling\.n: 2 -> 3; .*new name, or use --rebuild generate"
    ):
        site.run(config)
    assert site.files() == whole


def test_rebuild_redoes_the_job_and_what_follows_and_keeps_the_rest(site: Site) -> None:
    config = site.config(n=10)
    site.run(config)
    before = site.files()
    config["engines"]["judge"]["version"] = "2"
    site.run(config, rebuild="rate")
    after = site.files()
    times = {p.parent.name: p.stat().st_mtime_ns for p in site.folder.rglob("00000.parquet")}
    assert after.keys() == before.keys()
    assert times["generate"] < times["rate"] < times["pair_responses"]
    assert {n: c for n, c in after.items() if n.startswith(("prompts", "generate"))} == {
        n: c for n, c in before.items() if n.startswith(("prompts", "generate"))
    }
    site.run(config)


def test_a_recipe_that_made_nothing_gives_way_to_another(site: Site) -> None:
    config = site.config(n=10)
    config["engines"]["policy"]["function"] = "faults:fails"
    with pytest.raises(EngineError):
        site.run(config | {"max_attempts": 1})
    config["engines"]["policy"]["function"] = "benchmarks.canned:policy"
    driver = site.run(config)
    assert driver.totals["generate"].rows_out == 20
    config["jobs"][1]["sampling"]["n"] = 3
    with pytest.raises(PlanError, match=r"job generate, fields\.sampling\.n: 2 -> 3"):
        site.run(config)


def test_a_job_may_be_called_as_a_file_of_the_run_is(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    config = site.config(n=4)
    config["jobs"][1]["name"], config["jobs"][2]["name"] = "run", "report"
    site.run(config)
    assert cli.main(["report", str(site.folder / "runs/t")]) == 0
    before = site.files()
    site.run(config, rebuild="report")
    assert site.files() == before


def test_a_source_that_was_only_counted_gives_way_to_another(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    config = site.config(n=10)
    monkeypatch.setattr(Driver, "run", _stopped)
    with pytest.raises(KeyboardInterrupt):
        site.run(config)
    monkeypatch.undo()
    assert [p.name for p in (site.folder / "runs/t/prompts").iterdir()] == ["index.json", "job.json"]
    driver = site.run(config | {"shard_size": 3})
    assert driver.totals["prompts"].shards == 4


async def _stopped(driver: Driver) -> None:
    raise KeyboardInterrupt


def test_a_rebuild_that_is_refused_for_another_job_deletes_nothing(site: Site) -> None:
    config = site.config(n=10)
    site.run(config)
    whole = site.files()
    config["jobs"][1]["sampling"]["n"] = 3
    with pytest.raises(PlanError, match=r"job generate, fields\.sampling\.n: 2 -> 3"):
        site.run(config, rebuild="rate")
    assert site.files() == whole


def test_rebuild_of_an_unknown_job_lists_the_jobs(site: Site) -> None:
    site.run(site.config(n=4))
    with pytest.raises(PlanError, match="--rebuild rat: no such job; jobs: prompts, generate, rate, pair_responses"):
        site.run(site.config(n=4), rebuild="rat")


@pytest.mark.parametrize("stop", [0, 1, 3, 5])
def test_a_rebuild_that_was_killed_leaves_no_shard_of_unknown_origin(
    site: Site, monkeypatch: pytest.MonkeyPatch, stop: int
) -> None:
    config = site.config(n=10)
    site.run(config)
    config["jobs"][1]["sampling"]["n"] = 3
    removed: list[str] = []
    remove = Store.remove

    def killed(self: Store, folder: str, keep: str = "") -> None:
        if len(removed) == stop:
            raise KeyboardInterrupt
        removed.append(folder)
        remove(self, folder, keep)

    monkeypatch.setattr(Store, "remove", killed)
    with pytest.raises(KeyboardInterrupt):
        site.run(config, rebuild="generate")
    with pytest.raises(PlanError, match="with another recipe: job generate"):
        site.run(config)
    monkeypatch.undo()
    site.run(config, rebuild="generate")
    assert {p.split("/")[0] for p in site.files()} >= {"generate", "rate", "pair_responses"}


def test_shards_without_a_recipe_are_refused(site: Site) -> None:
    site.run(site.config(n=4))
    (site.folder / "runs/t/rate/job.json").unlink()
    with pytest.raises(PlanError, match=r"rate has shards but no job\.json"):
        site.run(site.config(n=4))


def test_a_changed_input_is_refused(site: Site) -> None:
    site.run(site.config(n=10))
    config = site.config(n=10)
    site.prompts(11)
    with pytest.raises(PlanError, match=r"the input of job prompts changed since .*new name, or use --rebuild prompts"):
        site.run(config)
    assert site.run(config, rebuild="prompts").totals["prompts"].rows_in == 11


def test_a_touched_input_is_the_same_input(site: Site) -> None:
    config = site.config(n=10)
    site.run(config)
    before = site.files()
    os.utime(site.folder / "prompts.jsonl", (1, 1))
    assert site.run(config).totals["prompts"].rows_in == 10
    assert site.files() == before


def test_a_second_driver_is_refused(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    (site.folder / "runs/t").mkdir(parents=True)
    with open(site.folder / "runs/t/lock", "w+") as other:
        other.write("pid 99")
        other.flush()
        fcntl.flock(other, fcntl.LOCK_EX)
        assert cli.main(["run", site.save(site.config(n=4))]) == 2
    assert "another process (pid 99) works on" in capsys.readouterr().err
    assert cli.main(["run", site.save(site.config(n=4))]) == 0


def test_too_many_rejects_stop_the_run_with_their_reasons(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    config = site.config(n=12, engines=engines("faults:rejects_odd"))
    for _ in range(2):  # also when it is tried again
        with pytest.raises(
            RunError, match=r"job generate rejected 6 of 12 rows \(context_overflow 6\), above max_reject_rate 0\.05"
        ):
            site.run(config)
    assert cli.main(["run", site.save(config)]) == 3
    allowed = site.run({**config, "max_reject_rate": 0.6}).totals
    assert (allowed["generate"].rejected, allowed["rate"].rows_in) == (6, 6)


def test_broken_rows_are_rejects_with_file_and_line_and_the_counts_reconcile(site: Site) -> None:
    broken = ['{"prompt": ', '{"prompt": ""}', '{"prompt": "What is 3 + 1?"}', '{"prompt": 7}', '{"prompt": "\\ud800"}']
    site.prompts(6, *broken)
    driver = site.run(site.config(max_reject_rate=1.0))
    totals = driver.totals["prompts"]
    assert totals.rows_in == totals.kept + totals.rejected == 11
    rejects = [r for shard in range(3) for r in driver.store.read("prompts", Reject, shard, main=False)]
    assert len(rejects) == totals.rejected
    assert all("prompts.jsonl" in r.detail for r in rejects)
    assert {"duplicate_prompt"} < {r.reason for r in rejects}
    assert driver.totals["generate"].rows_in == totals.kept


@pytest.mark.parametrize("function", ["faults:fails_once", "faults:dies_once"])
def test_a_failed_shard_is_tried_again_and_the_rows_are_the_same(site: Site, function: str) -> None:
    site.run(site.config(n=10, name="calm"))
    driver = site.run(site.config(n=10, engines=engines(function)))
    assert sum(driver.attempts.values()) in (1, 3)
    # the name of the function is part of the recipe, so of no row; the rows are the same
    for shard in range(3):
        assert driver.store.read("generate", Candidate, shard, True) == Store(str(site.folder / "runs/calm")).read(
            "generate", Candidate, shard, True
        )


def test_half_of_a_surrogate_pair_in_an_answer_costs_that_character(site: Site) -> None:
    driver = site.run(site.config(n=4, engines=engines("faults:half_a_character")))
    texts = [c.text for c in driver.store.read("generate", Candidate, 0, main=True)]
    assert sorted(texts) == ["� 0 �"] * 4 + ["� 1 �"] * 4


def test_a_shard_that_keeps_failing_stops_the_run(site: Site) -> None:
    with pytest.raises(EngineError, match=r"job generate, shard \d failed 2 times: .*out of memory"):
        site.run(site.config(n=10, engines=engines("faults:fails"), max_attempts=2))
    assert sorted(site.files()) == [f"prompts/0000{i}.parquet" for i in range(3)]


def test_what_only_shows_when_work_begins_is_one_line(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["run", site.save(site.config(n=4, engines=engines("faults:misplanned")))]) == 2
    assert capsys.readouterr().err.endswith("prefsynth: label 10 is no single token; choose labels that are\n")


def test_silence_ends_a_run(site: Site) -> None:
    config = site.config(n=4, engines=engines("faults:never"), watchdog_s=0.05, max_attempts=1)
    with pytest.raises(EngineError, match=r"job generate, shard 0, engine policy: nothing finished for 0\.05 s"):
        site.run(config)


def test_a_full_disk_stops_the_run_and_keeps_what_is_finished(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    import errno

    replace = os.replace

    def full(source: str, target: str) -> None:
        if "rate/00001" in target:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        replace(source, target)

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(RunError, match=r"disk full while writing .*rate/00001"):
        site.run(site.config(n=10))
    assert site.leftovers() == []
    monkeypatch.setattr(os, "replace", replace)
    site.run(site.config())
    site.run(site.config(name="calm"))
    assert site.files("t", "rate/*.parquet") == site.files("calm", "rate/*.parquet")


def test_a_killed_driver_leaves_half_a_line_in_the_log_and_the_next_one_is_read(site: Site) -> None:
    from pipeline.report import gather

    site.run(site.config(n=4))
    with open(site.folder / "runs/t/log.jsonl", "a") as log:
        log.write('{"event": "shard", "jo')
    site.run(site.config(n=4))
    lines = (site.folder / "runs/t/log.jsonl").read_text().splitlines()
    assert [json.loads(line)["event"] for line in lines if line.endswith("}")].count("start") == 2
    assert len(gather(str(site.folder / "runs/t"))["starts"]) == 2


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_drains_and_the_run_goes_on_later(site: Site, number: int) -> None:
    config = site.config(n=40, engines=engines("faults:here", resources={"slots": 1}))
    with site.start("run", site.save(config)) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "starting engines" in line:
                break
        while not list(site.folder.glob("pid-*")):
            assert process.poll() is None
        process.send_signal(number)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 5
    assert err.splitlines()[-1].endswith("run the same command again to go on")
    assert site.leftovers() == []
    site.run(config)
    site.run({**config, "name": "calm"})
    assert site.files("t", "generate/*.parquet") == site.files("calm", "generate/*.parquet")


@pytest.mark.slow
def test_a_signal_ends_a_run_whose_engine_is_stuck_within_ten_seconds(site: Site) -> None:
    import time

    config = site.config(n=4, engines=engines("faults:never"))
    with site.start("run", site.save(config)) as process:
        while not (site.folder / "asked").exists():
            assert process.poll() is None
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
    assert process.returncode == 5
    assert time.monotonic() - began < 10


def test_where_nothing_can_be_appended_the_log_is_left_in_parts_and_read_as_one(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "LINES", 5)
    init = Store.__init__

    def as_object_store(self: Store, root: str) -> None:
        init(self, root)
        self.is_local = False

    whole = report.gather(site.run(site.config(n=24, name="whole")).store.root)
    monkeypatch.setattr(Store, "__init__", as_object_store)
    monkeypatch.setattr(run, "lock", lambda store: contextlib.nullcontext())
    for table in ("prompts", "generate", "rate", "pair_responses", "pair_responses.rejects"):
        (site.folder / "runs/parts" / table).mkdir(parents=True)  # object stores need no folders
    store = site.run(site.config(n=24, name="parts")).store
    parts = [name for name in store.names() if name.startswith("log-")]
    assert len(parts) > 4
    events = [json.loads(line) for name in parts for line in (store.read_text(name) or "").splitlines()]
    assert [event["event"] for event in (events[0], events[-1])] == ["start", "end"]
    assert sum(event["event"] == "shard" for event in events) == 24
    assert report.gather(store.root)["jobs"].keys() == whole["jobs"].keys()


def test_what_a_killed_worker_left_half_written_is_gone_at_the_end(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    write = Store.write

    def beside_a_dead_one(store: Store, job: str, shard: int, *rest: Any) -> None:
        write(store, job, shard, *rest)
        Path(store.path(job, f"{shard:05d}.parquet.tmp-1-dead")).touch()

    monkeypatch.setattr(Store, "write", beside_a_dead_one)
    site.run(site.config())
    assert site.leftovers() == []
    assert site.files()
