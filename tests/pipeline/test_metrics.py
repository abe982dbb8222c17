"""Metrics: what a scraper reads is what the run did, and the dashboard asks for nothing else."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pipeline import metrics
from pipeline.engine import Completion, EngineConfig, Request, Sampling
from pipeline.engines.scripted import Scripted, ScriptedEngine
from pipeline.live import LiveEngine
from pipeline.metrics import METRICS, Sample

if TYPE_CHECKING:
    from tests.conftest import Site

parser = pytest.importorskip("prometheus_client.parser")
DASHBOARD = Path(__file__).resolve().parents[2] / "deploy/grafana.json"
Scraped = dict[tuple[str, str], float]


def scrape(text: str) -> Scraped:
    """(name, job or engine) -> value, as Prometheus reads the text."""
    families = list(parser.text_string_to_metric_families(text))
    assert all(family.documentation for family in families)
    found = [sample for family in families for sample in family.samples]
    assert {sample.labels["run"] for sample in found} == {"t"}
    return {(s.name, s.labels.get("prefsynth_job") or s.labels["engine"]): s.value for s in found}


def test_the_file_tells_what_the_run_did_and_goes_on_counting_when_the_run_goes_on(site: Site) -> None:
    first = site.run(site.config(n=10))
    file = Path(first.store.path(metrics.FILE))
    told = scrape(file.read_text(encoding="utf-8"))
    for job, totals in first.totals.items():
        assert told["prefsynth_shards_total", job] == totals.shards == 3
        assert told["prefsynth_rows_out_total", job] == totals.rows_out
        assert told["prefsynth_rejects_total", job] == totals.rejected
        assert told["prefsynth_tokens_total", job] == totals.tokens
        assert told["prefsynth_shards_left", job] == told["prefsynth_shards_running", job] == 0
    assert told["prefsynth_engine_requests_total", "policy"] == 10
    assert told["prefsynth_engine_slots", "judge"] == 4
    Path(first.store.path("rate", first.store.shard_file(1))).unlink()
    site.run(site.config(n=10))
    again = scrape(file.read_text(encoding="utf-8"))
    assert again["prefsynth_tokens_total", "rate"] == told["prefsynth_tokens_total", "rate"]
    assert again["prefsynth_engine_requests_total", "judge"] < told["prefsynth_engine_requests_total", "judge"]


def test_the_file_is_renewed_while_the_run_is_under_way(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "EVERY_S", 0.05)
    seen: list[Scraped] = []
    leave = metrics.leave

    def noted(*given: object) -> None:
        leave(*given)  # type: ignore[arg-type]
        seen.append(scrape((site.folder / "runs/t" / metrics.FILE).read_text(encoding="utf-8")))

    monkeypatch.setattr(metrics, "leave", noted)
    config = site.config(n=40)
    config["engines"]["policy"]["function"] = "faults:slow"
    site.run(config)
    assert any(told["prefsynth_shards_running", "generate"] for told in seen)
    assert any(told["prefsynth_engine_running", "policy"] for told in seen)
    left = [told["prefsynth_shards_left", "generate"] for told in seen]
    assert left == sorted(left, reverse=True)
    assert (len(seen) > 2, left[-1]) == (True, 0)


class Narrow(Scripted):
    """Works on two answers at a time."""

    def batch(self) -> int | None:
        return 2

    async def open(self) -> ScriptedEngine:
        return Held(self)


class Held(ScriptedEngine):
    """Answers when it may."""

    may = asyncio.Event()

    async def generate(self, requests: Sequence[Request]) -> list[list[Completion]]:
        await self.may.wait()
        return await super().generate(requests)


async def test_an_engine_tells_its_queue(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Held, "may", asyncio.Event())
    config: EngineConfig = Narrow(function="benchmarks.canned:policy")
    live = LiveEngine(config)
    request = Request(Sampling(n=3), "k", 1, messages=())
    asked = [asyncio.create_task(live.generate([request])) for _ in range(2)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert (live.stats()["running"], live.stats()["waiting"]) == (2, 4)
    Held.may.set()
    await asyncio.gather(*asked)
    assert (live.stats()["running"], live.stats()["waiting"]) == (0, 0)


def test_labels_of_any_text_are_read_back() -> None:
    odd = 'a "b" \\ c\nd'
    text = metrics.text([Sample("prefsynth_engine_running", (("run", "t"), ("engine", odd)), 2.0)])
    assert scrape(text) == {("prefsynth_engine_running", odd): 2.0}


def expressions() -> list[str]:
    panels = json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"]
    return [target["expr"] for panel in panels for target in panel["targets"]]


def test_the_dashboard_asks_for_metrics_that_exist_and_for_all_of_them() -> None:
    asked = {name for expression in expressions() for name in re.findall(r"\bprefsynth_\w+", expression)}
    assert asked - {"prefsynth_job"} == set(METRICS)
    variable = json.loads(DASHBOARD.read_text(encoding="utf-8"))["templating"]["list"][1]["definition"]
    assert set(re.findall(r"prefsynth_\w+", variable)) <= set(METRICS)


def test_the_dashboard_asks_in_promql(tmp_path: Path) -> None:
    if (promtool := shutil.which("promtool")) is None:
        pytest.skip("no promtool on the PATH (a package called prometheus has it)")
    plain = [e.replace("$__rate_interval", "5m").replace("$run", ".*") for e in expressions()]
    rules = [{"record": f"t:{i}", "expr": expression} for i, expression in enumerate(plain)]
    file = tmp_path / "rules.json"  # JSON is YAML
    file.write_text(json.dumps({"groups": [{"name": "t", "rules": rules}]}), encoding="utf-8")
    subprocess.run([promtool, "check", "rules", str(file)], check=True, capture_output=True)


class Noted:
    """One of Ray's metrics that keeps what it is told."""

    kind = ""

    def __init__(self, name: str, description: str, tag_keys: tuple[str, ...]) -> None:
        assert description
        self.name, self.tag_keys = name, tag_keys

    def told(self, value: float, tags: dict[str, str]) -> None:
        assert set(tags) == set(self.tag_keys)
        TOLD.append((self.kind, self.name, value))


TOLD: list[tuple[str, str, float]] = []


def test_ray_counters_take_what_was_added_and_its_gauges_what_is(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ray")
    from pipeline.executors import ray_metrics

    TOLD.clear()
    monkeypatch.setattr(ray_metrics, "Counter", type("Counter", (Noted,), {"kind": "inc", "inc": Noted.told}))
    monkeypatch.setattr(ray_metrics, "Gauge", type("Gauge", (Noted,), {"kind": "set", "set": Noted.told}))
    sender = ray_metrics.RayMetrics()
    labels = (("run", "t"), ("engine", "policy"))
    for requests, running in ((5.0, 2.0), (5.0, 0.0), (9.0, 1.0), (3.0, 1.0)):  # at last: another engine
        sender.send(
            [
                Sample("prefsynth_engine_requests_total", labels, requests),
                Sample("prefsynth_engine_running", labels, running),
            ]
        )
    assert [value for kind, name, value in TOLD if (kind, name) == ("inc", "prefsynth_engine_requests")] == [5, 4, 3]
    assert [value for kind, name, value in TOLD if (kind, name) == ("set", "prefsynth_engine_running")] == [2, 0, 1, 1]
