"""The page of a run: what it shows is what lies in the shards, hostile text stays text, memory does not grow with it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from msgspec.structs import replace

from pipeline import cli, survey
from pipeline.pair import Pair
from pipeline.records import Rationale
from pipeline.report import open_run
from tests.pipeline.test_page import read

if TYPE_CHECKING:
    from tests.conftest import Site

SECTIONS = (
    "Jobs", "Pairs", "Scores", "Agreement", "What was left out, and why", "Throughput", "Cost by stage", "Pairs to read",
)  # fmt: skip


def made(site: Site, capsys: pytest.CaptureFixture[str]) -> str:
    assert cli.main(["report", str(site.folder / "runs/t")]) == 0
    assert capsys.readouterr().out.endswith(f"look at {site.folder}/runs/t/report.html\n")
    return (site.folder / "runs/t/report.html").read_text(encoding="utf-8")


def test_the_page_has_every_section_and_the_numbers_of_the_run(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    driver = site.run(site.config(n=24))
    page = made(site, capsys)
    for section in SECTIONS:
        assert f"<h2>{section}</h2>" in page
    assert f"24 prompts, {driver.totals['pair_responses'].rows_out} pairs, 6 shards." in page
    for caption in ("length of the arms", "rate", "rows done, as a share", "generated tokens a second", "requests"):
        assert f"<figcaption>{caption}</figcaption>" in page
    assert re.search(r"requests a second</figcaption>.*<b>generate</b>.*<b>rate</b>", page)
    pairs = [p for i in range(6) for p in driver.store.read("pair_responses", Pair, i, main=True)]
    shown = sorted(p.pair_id for p in pairs)[: survey.TO_READ]
    for pair in (p for p in pairs if p.pair_id in shown):
        assert f"prompt {pair.prompt_id[:12]}" in page
        assert pair.chosen_messages[-1].content in page
        assert pair.rejected_messages[-1].content in page


def test_requests_of_a_job_are_counted_where_its_shards_run(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    site.run(site.config(n=6))
    made(site, capsys)
    assert cli.main(["report", str(site.folder / "runs/t"), "--json"]) == 0
    told = capsys.readouterr().out
    assert [int(n) for n in re.findall(r'"requests": (\d+)', told)][:3] == [
        6,
        0,
        0,
    ]  # generate, pair_responses, prompts
    assert told.startswith("{")
    assert "look at" not in told


def test_what_a_model_wrote_is_text_and_nothing_else(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    config = site.config(n=8)
    config["engines"]["policy"]["function"] = f"{__name__}:hostile"
    config["jobs"][3] |= {"min_margin": 0.0}
    site.run(config)
    page = made(site, capsys)
    seen = read(page)  # no element asks for anything or runs anything
    assert not {"script", "img", "iframe", "a", "link", "object", "form"} & set(seen.tags)
    assert "default-src 'none'" in page
    assert "</pre><script>alert(1)</script>" in "".join(seen.texts)
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]", page)


def hostile(request: object) -> str:
    """Markup, control characters, an override of the reading direction; a length that differs."""
    seed: int = getattr(request, "seed", 0)
    return "</pre><script>alert(1)</script><img src=x onerror=alert(1)>\x1b[2J\u202e" + "<!--" * (seed % 5)


def test_a_rationale_that_passed_its_gate_stands_below_its_pair_and_says_which_arm_is_which(
    site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    config = site.config(n=4)
    config["jobs"] += [{"stage": "explain", "engine": "judge", "kinds": ["detailed"]}]
    store = site.run(config).store
    rows, report = store.read("explain", Rationale, 0, main=True), store.report("explain", 0)
    assert {row.status for row in rows} == {"rejected"}
    assert "rationale" not in made(site, capsys)
    kept = [replace(row, status="ok", text="It is <right>.", shown_order=1) for row in rows]
    store.write("explain", 0, {Rationale: kept}, report)
    assert "<h3>rationale: A is the rejected one</h3><pre>It is &lt;right&gt;.</pre>" in made(site, capsys)


def test_a_run_that_only_began_has_a_page_and_one_without_pairs_too(
    site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    config = site.config(n=8)
    site.run(config | {"jobs": config["jobs"][:2]})
    page = made(site, capsys)
    assert "None so far." in page
    assert "No job of this run judges." in page
    (site.folder / "runs/t/log.jsonl").unlink()
    for name in ("prompts", "generate"):
        for shard in (site.folder / f"runs/t/{name}").glob("*.parquet"):
            shard.unlink()
    assert "The run&#x27;s log does not say" in made(site, capsys)


def test_of_a_large_run_some_shards_are_looked_into_and_the_page_says_so(
    site: Site, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    site.run(site.config(n=24))
    monkeypatch.setattr(survey, "SHARDS", 2)
    monkeypatch.setattr(survey, "NUMBERS", 5)
    found = survey.survey(*open_run(str(site.folder / "runs/t")))
    assert (found.shards, found.n_shards) == (2, 6)
    assert found.scores["rate"].by_aspect["correctness"].n == 16
    assert len(found.scores["rate"].by_aspect["correctness"].kept) == 5
    assert "2 of 6 shards were looked into" in made(site, capsys)


def test_the_page_can_go_elsewhere_and_says_where_it_cannot(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    site.run(site.config(n=4))
    run, other = str(site.folder / "runs/t"), site.folder / "new" / "page.html"
    assert cli.main(["report", run, "--to", str(other)]) == 0
    assert other.read_text(encoding="utf-8").startswith("<!doctype html>")
    assert not (site.folder / "runs/t/report.html").exists()
    assert cli.main(["report", run, "--to", f"{other}/below.html"]) == 2
    assert "cannot be written" in capsys.readouterr().err


def test_a_spread_keeps_a_uniform_sample_of_finite_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(survey, "NUMBERS", 100)
    spread = survey.Spread()
    for value in (*map(float, range(10_000)), float("inf"), float("nan")):
        spread.add(value)
    assert (spread.n, len(spread.kept)) == (10_000, 100)
    assert 4_000 < sum(spread.kept) / 100 < 6_000


def test_names_beyond_those_told_apart_are_the_others() -> None:
    known: dict[str, int] = dict.fromkeys("abcdefgh", 0)
    assert [survey.told_apart(known, name) for name in ("a", "z")] == ["a", "others"]


def test_the_shards_looked_into_are_spread_evenly() -> None:
    assert survey.some(range(5)) == [0, 1, 2, 3, 4]
    many = survey.some(range(1000))
    assert len(many) == len(set(many)) == survey.SHARDS
    assert (many[0], many[-1] > 990) == (0, True)
