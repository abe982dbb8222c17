"""A judge behind an endpoint that fails, stalls, refuses or answers garbage for some of its calls: nulls, never labels."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

import duckdb
import pytest

from pipeline import ids
from tests.conftest import Site

FAILURES = {
    "status 500": "timeout",
    "silence": "timeout",
    "no JSON": "parse_error",
    "refusal": "refused",
    "words": "parse_error",
}


class Judge(BaseHTTPRequestHandler):
    """Scores what it is shown by its hash; fails for a share of all questions, in every way there is."""

    share: ClassVar[float] = 0.0
    over: ClassVar[threading.Event]
    failed: ClassVar[dict[str, str]]

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        shown = json.dumps(body["messages"])
        draw = ids.stream("endpoint", shown)
        text = f"Score: {draw.choice('12345')}"
        if draw.random() < self.share:
            how = self.failed.setdefault(shown, draw.choice(sorted(FAILURES)))
            if how == "silence":
                self.over.wait()
                return
            if how == "status 500":
                self.send_error(500)
                return
            text = {"refusal": "I'm sorry, but I can't help with that.", "words": "Hard to say, really."}.get(how, "")
        choice = {"index": 0, "message": {"content": text}, "finish_reason": "stop"}
        told = json.dumps({"choices": [choice], "usage": {}, "model": "judge"}).encode() if text else b"{no JSON"
        self.send_response(200)
        self.send_header("content-length", str(len(told)))
        self.end_headers()
        self.wfile.write(told)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Keeps silent."""


class Server(ThreadingHTTPServer):
    """Room for all connections of a shard at once: else some wait for seconds."""

    request_queue_size = 256


@pytest.fixture
def endpoint() -> Iterator[str]:
    server = Server(("127.0.0.1", 0), Judge)
    server.daemon_threads = True
    Judge.over, Judge.failed = threading.Event(), {}
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/v1"
    Judge.over.set()
    server.shutdown()
    server.server_close()
    thread.join()


def config(site: Site, url: str, name: str) -> dict[str, Any]:
    found = site.config(n=40, name=name, shard_size=40)
    judge = {"kind": "openai", "base_url": url, "model": "judge", "timeout_s": 3, "max_retries": 1, "backoff_s": 0.01}
    found["engines"]["judge"] = judge | {"api_key_env": None}
    found["jobs"][2] |= {"mode": "parsed", "max_attempts": 1}
    found["jobs"][3] = {"stage": "aggregate", "exclude_same_family": False}
    return found


def rows(site: Site, run: str) -> tuple[dict[str, tuple[Any, str]], dict[str, Any]]:
    """Judgments (value, status) by key, and pairs with their probability by id."""
    folder = f"{site.folder}/runs/{run}"
    judged = duckdb.execute(f"select judgment_key, value, status from '{folder}/rate/*.parquet'").fetchall()
    pairs = duckdb.execute(f"select pair_id, pref_prob from '{folder}/aggregate/*.parquet'").fetchall()
    return {key: (value, status) for key, value, status in judged}, dict(pairs)


def test_calls_that_fail_are_nulls_with_a_status_and_take_no_label_with_them(
    site: Site, endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Judge, "share", 0.0)
    site.run(config(site, endpoint, "honest"))
    honest, labels = rows(site, "honest")
    monkeypatch.setattr(Judge, "share", 0.3)
    site.run(config(site, endpoint, "failing"))
    found, left = rows(site, "failing")
    assert set(Judge.failed.values()) == set(FAILURES)
    nulls = {key: status for key, (value, status) in found.items() if value is None}
    assert len(nulls) == len(Judge.failed)
    assert sorted(nulls.values()) == sorted(FAILURES[how] for how in Judge.failed.values())
    assert {key: found[key] for key in found.keys() - nulls.keys()} == {
        key: honest[key] for key in honest.keys() - nulls.keys()
    }
    assert left.items() < labels.items()
