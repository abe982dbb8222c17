"""A run whose policy is an endpoint that hangs, breaks off, refuses, and answers what was not asked."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from benchmarks import killing
from pipeline import cli
from tests.faults.proxy import Asked, Fault, Reply, proxied

if TYPE_CHECKING:
    from tests.conftest import Site


def model(asked: Asked) -> Reply:
    """Answers that depend on the request alone."""
    if asked.method != "POST":
        return Reply(200, {"content-type": "application/json"}, b'{"data": []}')
    body = json.loads(asked.body)
    texts = [f"Answer: {(body['seed'] + i) % 50}" for i in range(body["n"])]
    choices = [{"index": i, "message": {"content": t}, "finish_reason": "stop"} for i, t in enumerate(texts)]
    usage = {"prompt_tokens": 7, "completion_tokens": 4}
    answer = {"choices": choices, "usage": usage, "model": "served"}
    return Reply(200, {"content-type": "application/json"}, json.dumps(answer).encode())


def changed(change: Callable[[list[Any]], list[Any]]) -> Callable[[Reply], Reply]:
    """The same answer with other choices."""

    def apply(reply: Reply) -> Reply:
        answer = json.loads(reply.body)
        return Reply(reply.status, reply.headers, json.dumps(answer | {"choices": change(answer["choices"])}).encode())

    return apply


FAULTS = {
    "hangs": Fault(hangs=True),
    "breaks off before the answer": Fault(cut=0),
    "breaks off within the answer": Fault(cut=20),
    "too many requests": Fault(429),
    "server error": Fault(500),
    "bad gateway": Fault(502),
    "half a JSON": Fault(change=lambda r: Reply(r.status, r.headers, r.body[: len(r.body) // 2])),
    "a choice too few": Fault(change=changed(lambda choices: choices[1:])),
    "a choice too many": Fault(change=changed(lambda choices: [*choices, choices[0]])),
    "no choices": Fault(change=changed(lambda _: [])),
    "null": Fault(change=lambda r: Reply(r.status, r.headers, b"null")),
}


def troubled(seed: int, most: int) -> Callable[[Asked], Fault | None]:
    """Up to `most` faults for each request before it is answered."""

    def plan(asked: Asked) -> Fault | None:
        draw = random.Random(f"{seed}|{asked.body.hex()}")
        return (
            draw.choices(list(FAULTS.values()), k=most)[asked.number] if asked.number < draw.randint(0, most) else None
        )

    return plan


def config(site: Site, url: str, **changes: Any) -> dict[str, Any]:
    """The usual run, its policy at `url`."""
    made = site.config(**changes)
    made["engines"]["policy"] = {
        "kind": "openai", "model": "m", "base_url": f"{url}/v1", "timeout_s": 0.5, "backoff_s": 0.01, "max_retries": 5,
    }  # fmt: skip
    return made


def in_peace(site: Site) -> dict[str, bytes]:
    with proxied(model, lambda _: None) as calm:
        return site.calm(config(site, calm.url))


@pytest.mark.parametrize("seed", [1, 2])
def test_what_goes_wrong_on_the_way_is_asked_again_and_no_row_differs(site: Site, seed: int) -> None:
    whole = in_peace(site)
    with proxied(model, troubled(seed, most=3)) as endpoint:
        site.run(config(site, endpoint.url))
    assert len(endpoint.faults) > 20
    assert site.files() == whole


@pytest.mark.parametrize("name", FAULTS)
def test_every_fault_is_met_and_outlived(site: Site, name: str) -> None:
    with proxied(model, lambda _: None) as calm:
        whole = site.calm(config(site, calm.url, n=4))
    with proxied(
        model, lambda asked: FAULTS[name] if asked.number < 1 and asked.method == "POST" else None
    ) as endpoint:
        site.run(config(site, endpoint.url, n=4))
    assert len(endpoint.faults) == 4
    assert site.files() == whole


def test_an_endpoint_that_stays_away_stops_the_run_which_goes_on_when_it_is_back(
    site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = in_peace(site)
    asked: Counter[str] = Counter()

    def plan(one: Asked) -> Fault | None:
        asked[one.method] += 1
        return Fault(503) if asked["POST"] > 10 else None

    with proxied(model, plan) as endpoint:
        assert cli.main(["run", site.save(config(site, endpoint.url))]) == 3
    last = capsys.readouterr().err.splitlines()[-1]
    assert "failed 6 times for /chat/completions: status 503" in last
    finished = site.files()
    assert 0 < len(finished) < len(whole)
    with proxied(model, lambda _: None) as endpoint:  # at another address: where it answers is no part of the run
        assert cli.main(["run", site.save(config(site, endpoint.url))]) == 0
    assert site.files() == whole
    assert killing.unreconciled(site.folder / "runs/t") == []
    assert {name: whole[name] for name in finished} == finished
