"""The openai engine against a small server that does what it is told: answer, refuse, break off, hang."""

from __future__ import annotations

import asyncio
import json
import math
import re
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq
import pytest

from pipeline.engine import Completion, Request, RewardRequest, Sampling, ScoreRequest
from pipeline.engines.openai import Openai, OpenaiEngine
from pipeline.errors import EngineError, PlanError, Rejected
from pipeline.openai_protocol import retry_after
from pipeline.records import Message

if TYPE_CHECKING:
    from tests.conftest import Site

SECRET = "sk-very-secret"
Reply = tuple[int, dict[str, str], bytes]


def reply(body: Any, status: int = 200, **headers: str) -> Reply:
    return status, headers, body if isinstance(body, bytes) else json.dumps(body).encode()


def choices(*texts: str, **more: Any) -> dict[str, Any]:
    made = [{"index": i, "message": {"content": t}, "finish_reason": "stop"} | more for i, t in enumerate(texts)]
    return {"choices": made, "usage": {"prompt_tokens": 7, "completion_tokens": 4}, "model": "served"}


@dataclass
class Server:
    """Answers the i-th request with the i-th of `replies`, then with the last; None hangs, b"" breaks off."""

    replies: list[Reply | None] = field(default_factory=list)
    bodies: list[dict[str, Any]] = field(default_factory=list)
    heads: list[str] = field(default_factory=list)
    in_flight: int = 0
    most_in_flight: int = 0
    url: str = ""
    release: asyncio.Event = field(default_factory=asyncio.Event)
    hold_for: int = 0
    by_body: Callable[[dict[str, Any]], Reply | None] | None = None

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                said = re.search(rb"content-length: *(\d+)", head.lower())
                self.heads.append(head.decode())
                self.bodies.append(json.loads(await reader.readexactly(int(said[1]))) if said else {})
                self.in_flight += 1
                self.most_in_flight = max(self.most_in_flight, self.in_flight)
                if self.hold_for and self.in_flight >= self.hold_for:
                    self.release.set()
                if self.hold_for:
                    await self.release.wait()
                self.in_flight -= 1
                scripted = self.by_body(self.bodies[-1]) if self.by_body else None
                given = scripted or self.replies[min(len(self.bodies), len(self.replies)) - 1]
                if given is None:
                    await asyncio.Event().wait()
                    return
                status, headers, body = given
                lines = [
                    f"HTTP/1.1 {status} X",
                    f"content-length: {len(body)}",
                    *(f"{k}: {v}" for k, v in headers.items()),
                ]
                if body == b"":
                    return
                writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            writer.close()


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    made = Server()
    tasks: set[asyncio.Task[None]] = set()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.get_running_loop().create_task(made.serve(reader, writer)))

    listening = await asyncio.start_server(connected, "127.0.0.1", 0)
    made.url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/v1"
    yield made
    listening.close()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


@pytest.fixture
async def connect(server: Server, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Callable[..., OpenaiEngine]]:
    monkeypatch.setenv("TEST_KEY", SECRET)
    made: list[OpenaiEngine] = []

    def engine(**fields: Any) -> OpenaiEngine:
        given = {"base_url": server.url, "model": "m", "api_key_env": "TEST_KEY", "backoff_s": 0.001, "max_retries": 2}
        made.append(OpenaiEngine(Openai(**given | fields)))
        return made[-1]

    yield engine
    for one in made:
        await one.close()


def ask(text: str = "hello", n: int = 1, temperature: float = 1.0, **fields: Any) -> Request:
    return Request(Sampling(n=n, temperature=temperature), "k", 11, messages=(Message("user", text),), **fields)


async def one(engine: OpenaiEngine, request: Request) -> list[Completion]:
    [answers] = await engine.generate([request])
    return answers


async def test_an_answer_is_read_and_the_request_says_all_it_must(server: Server, connect: Any) -> None:
    server.replies = [reply(choices("one", "two"))]
    engine = connect(extra_body={"service_tier": "flex"})
    first, second = await one(engine, ask(n=2))
    assert (first.text, second.text, first.model) == ("one", "two", "served")
    assert (first.n_prompt_tokens, first.n_tokens + second.n_tokens) == (7, 4)
    assert server.bodies[0] == {
        "model": "m", "n": 2, "temperature": 1.0, "top_p": 1.0, "max_tokens": 512, "seed": 11,
        "messages": [{"role": "user", "content": "hello"}], "service_tier": "flex",
    }  # fmt: skip
    assert f"bearer {SECRET}" in server.heads[0].lower()
    assert engine.stats() == {"requests": 1, "prompt_tokens": 7, "tokens": 4, "retries": 0}


@pytest.mark.parametrize(
    "failure",
    [
        reply({}, 500), reply({}, 503), reply({}, 429), reply({}, 408), reply(b""), reply(b'{"choices": [{"ind'),
        reply(choices()), reply(choices("a", "b")), reply({"choices": None}), reply({"error": "busy"}),
        reply({"choices": [{"index": 0, "message": {"content": 3}}]}), reply([]),
        reply(b"not gzip", 200, **{"content-encoding": "gzip"}), reply(b"<html>", 502, **{"content-type": "text/html"}),
    ],
)  # fmt: skip
async def test_what_may_pass_is_tried_again(server: Server, connect: Any, failure: Reply) -> None:
    server.replies = [failure, failure, reply(choices("at last"))]
    engine = connect()
    [answer] = await one(engine, ask())
    assert answer.text == "at last"
    assert engine.stats()["retries"] == 2


async def test_a_server_that_keeps_failing_is_an_engine_error_with_host_count_and_cause(
    server: Server, connect: Any
) -> None:
    server.replies = [reply({"error": {"message": f"no GPU left \x1b[2J for {SECRET}"}}, 500)]
    told = r"127.0.0.1 failed 3 times for /chat/completions: status 500: no GPU left \[2J for \*\*\*$"
    with pytest.raises(EngineError, match=told):
        await one(connect(), ask())
    assert len(server.bodies) == 3


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (reply(choices()), "0 answers where 1 were asked"),
        (reply(b"{"), "the response is not JSON"),
        (reply({"choices": None}), "not as the protocol says"),
    ],
)
async def test_an_answer_that_stays_unusable_costs_its_row_and_no_other(
    server: Server, connect: Any, answer: Reply, told: str
) -> None:
    server.replies = [answer]
    with pytest.raises(Rejected, match=f"bad_response: 127.0.0.1 failed 3 times for /chat/completions: .*{told}"):
        await one(connect(), ask())


@pytest.mark.parametrize("failure", [reply({}, 503), None])
async def test_what_a_server_never_answers_while_it_answers_others_costs_its_row(
    server: Server, connect: Any, failure: Reply | None
) -> None:
    server.replies = [failure]  # None: silence until the time is up
    server.by_body = lambda body: None if "bad" in str(body) else reply(choices("fine"))
    engine = connect(timeout_s=0.3, backoff_s=0.05)
    good, bad = await asyncio.gather(one(engine, ask("good")), one(engine, ask("bad")), return_exceptions=True)
    assert isinstance(good, list)
    assert isinstance(bad, Rejected)
    assert bad.reason == "no_answer"
    sent = len(server.bodies)
    with pytest.raises(Rejected, match="no_answer"):  # the batch's other requests are asked again one by one: it is not
        await one(engine, ask("bad"))
    assert len(server.bodies) == sent
    with pytest.raises(EngineError, match="failed 3 times"):  # now nobody is answered
        await one(engine, ask("bad"))


async def test_a_web_page_is_no_endpoint(server: Server, connect: Any) -> None:
    server.replies = [reply(b"<html>Welcome</html>", 200, **{"content-type": "text/html; charset=utf-8"})]
    with pytest.raises(PlanError, match=r"127\.0\.0\.1/v1/chat/completions is a web page; base_url must end as in"):
        await one(connect(), ask())
    assert len(server.bodies) == 1


async def test_no_content_and_no_usage_is_an_empty_answer(server: Server, connect: Any) -> None:
    server.replies = [reply({"choices": [{"index": 0, "message": {"content": None}, "finish_reason": "stop"}]})]
    [answer] = await one(connect(), ask(labels=("A",)))
    assert (answer.text, answer.n_prompt_tokens, answer.n_tokens, answer.labels, answer.model) == ("", 0, 0, None, None)


@pytest.mark.parametrize(
    "logprobs",
    [None, {}, {"content": None}, {"content": [{"token": "A", "logprob": -0.1}]},
     {"content": [{"token": "A", "top_logprobs": None}]}, {"tokens": ["A"]}, {"tokens": ["A"], "top_logprobs": [None]}],
)  # fmt: skip
async def test_labels_are_unknown_where_the_server_gives_no_probabilities(
    server: Server, connect: Any, logprobs: Any
) -> None:
    server.replies = [reply(choices("A", logprobs=logprobs))]
    [answer] = await one(connect(), ask(labels=("A", "B")))
    assert (answer.text, answer.labels) == ("A", None)
    assert len(server.bodies) == 1


async def test_a_null_takes_a_field_out_of_what_is_sent(server: Server, connect: Any) -> None:
    server.replies = [reply(choices("x"))]
    await one(connect(extra_body={"max_tokens": None, "max_completion_tokens": 9, "seed": None}), ask())
    assert server.bodies[0].keys().isdisjoint({"max_tokens", "seed"})
    assert server.bodies[0]["max_completion_tokens"] == 9


async def test_a_server_that_is_not_up_is_told_when_the_engine_starts() -> None:
    with pytest.raises(EngineError, match=r"no server at 127\.0\.0\.1:9 .*is it up\?"):
        await Openai(model="m", base_url="http://127.0.0.1:9/v1").open()


async def test_a_server_that_answers_anything_at_all_is_up(server: Server) -> None:
    server.replies = [reply({}, 404)]
    await (await Openai(model="m", base_url=server.url).open()).close()
    assert server.heads[0].startswith("GET /v1/models ")


async def test_a_server_that_hangs_is_left_after_the_time_out(server: Server, connect: Any) -> None:
    server.replies = [None]
    with pytest.raises(EngineError, match=r"failed 1 times .*Timeout"):
        await one(connect(timeout_s=0.2, max_retries=0), ask())


async def test_a_server_that_is_not_there_is_an_engine_error(connect: Any) -> None:
    with pytest.raises(EngineError, match="ConnectError"):
        await one(connect(base_url="http://127.0.0.1:9/v1"), ask())


async def test_retry_after_is_obeyed_up_to_the_time_out_and_else_backoff_doubles(connect: Any) -> None:
    engine = connect(backoff_s=1.0, timeout_s=30.0)
    assert engine._wait_s(0, 7.5, 0.0) == 7.5
    assert engine._wait_s(0, 9999.0, 0.0) == 30.0
    assert [engine._wait_s(attempt, None, 1.0) for attempt in (0, 1, 2, 10)] == [1.0, 2.0, 4.0, 60.0]
    assert engine._wait_s(0, None, 0.0) == 0.5


async def test_retry_after_may_be_seconds_or_a_date() -> None:
    assert retry_after({"retry-after": "3"}) == 3.0
    assert retry_after({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}) == 0.0
    assert (retry_after({"retry-after": "Wed, 21 Oct 2099 07:28:00 GMT"}) or 0) > 1e6
    assert retry_after({"retry-after": "soon"}) is None
    assert retry_after({}) is None


async def test_a_context_that_is_too_long_rejects_the_row(server: Server, connect: Any) -> None:
    server.replies = [reply({"error": {"message": "This model's maximum context length is 8 tokens"}}, 400)]
    with pytest.raises(Rejected, match="context_overflow: This model's maximum context length is 8"):
        await one(connect(), ask())
    assert len(server.bodies) == 1


async def test_an_answer_that_the_end_of_the_context_cut_is_rejected(server: Server, connect: Any) -> None:
    server.replies = [reply(choices("cut", finish_reason="length"))]
    with pytest.raises(Rejected, match="context_overflow: prompt has 7 tokens; the server stopped after 4 of 512"):
        await one(connect(), ask())


async def test_another_refusal_rejects_the_row_with_the_servers_words(server: Server, connect: Any) -> None:
    server.replies = [reply({"error": {"message": f"bad input {SECRET}"}}, 422)]
    with pytest.raises(Rejected, match=r"invalid_request: bad input \*\*\*"):
        await one(connect(), ask())


@pytest.mark.parametrize("status", [401, 403, 404, 405])
async def test_a_refused_key_or_a_wrong_address_stops_the_run_and_never_shows_the_key(
    server: Server, connect: Any, status: int
) -> None:
    server.replies = [reply({"error": {"message": f"Incorrect API key provided: {SECRET}"}}, status)]
    with pytest.raises(PlanError, match=r"127\.0\.0\.1") as caught:
        await one(connect(), ask())
    assert SECRET not in str(caught.value)
    assert SECRET not in repr(Openai(model="m", base_url=server.url, api_key_env="TEST_KEY"))


async def test_a_redirect_is_not_followed(server: Server, connect: Any) -> None:
    server.replies = [reply(b"moved", 307, location="http://elsewhere.invalid/v1/chat/completions")]
    with pytest.raises(PlanError, match=r"redirects to elsewhere\.invalid"):
        await one(connect(), ask())
    assert len(server.bodies) == 1


async def test_no_more_requests_are_in_flight_than_allowed_and_order_is_kept(server: Server, connect: Any) -> None:
    server.replies, server.hold_for = [reply(choices("x"))], 3
    answers = await connect(max_in_flight=3).generate([ask(f"q{i}") for i in range(9)])
    assert len(answers) == 9
    assert server.most_in_flight == 3


async def test_labels_are_summed_over_spellings_at_the_last_label(server: Server, connect: Any) -> None:
    def position(token: str, **top: float) -> dict[str, Any]:
        return {"token": token, "top_logprobs": [{"token": t.replace("_", " "), "logprob": p} for t, p in top.items()]}

    logprobs = {
        "content": [
            position("A", A=-0.1),
            position(" B", _B=math.log(0.5), B=math.log(0.2), A=-2.0, x=-1.0),
            position("."),
        ]
    }
    server.replies = [reply(choices("A: B.", logprobs=logprobs))]
    [answer] = await one(connect(), ask(labels=("A", "B", "C")))
    assert answer.labels == {"A": -2.0, "B": pytest.approx(math.log(0.7)), "C": -math.inf}
    assert server.bodies[0]["top_logprobs"] == 20


async def test_labels_are_unknown_where_none_was_sampled_or_a_grammar_masks_them(server: Server, connect: Any) -> None:
    logprobs = {"content": [{"token": "A", "top_logprobs": [{"token": "A", "logprob": -0.1}]}]}
    server.replies = [reply(choices("?", logprobs={"content": []})), reply(choices("A", logprobs=logprobs))]
    engine = connect(server="vllm")
    [nothing] = await one(engine, ask(labels=("A", "B")))
    [masked] = await one(engine, ask(labels=("A", "B"), structured={"choice": ["A", "B"]}))
    assert (nothing.labels, masked.labels) == (None, None)


async def test_a_json_schema_goes_out_in_the_servers_own_form(server: Server, connect: Any) -> None:
    server.replies = [reply(choices("{}"))]
    schema = {"type": "object"}
    await one(connect(), ask(structured={"json": schema}))
    await one(connect(server="vllm"), ask(structured={"json": schema}))
    assert server.bodies[0]["response_format"]["json_schema"]["schema"] == schema
    assert server.bodies[1]["structured_outputs"] == {"json": schema}


async def test_a_vllm_server_continues_a_prefix_and_takes_token_ids(server: Server, connect: Any) -> None:
    text = {"choices": [{"index": 0, "text": "t", "finish_reason": "length", "token_ids": [4, 5, 6]}], "usage": {}}
    server.replies = [reply(choices("c")), reply(text)]
    engine = connect(server="vllm")
    await one(engine, ask(assistant_prefix="Sure"))
    [answer] = await one(engine, Request(Sampling(max_tokens=3), "k", 1, token_ids=(1, 2), want_token_ids=True))
    assert server.bodies[0]["messages"][-1] == {"role": "assistant", "content": "Sure"}
    assert (server.bodies[0]["continue_final_message"], server.bodies[0]["add_generation_prompt"]) == (True, False)
    assert server.bodies[1]["prompt"] == [1, 2]
    assert (answer.token_ids, answer.n_tokens, answer.finish_reason) == ((4, 5, 6), 3, "length")


@pytest.mark.parametrize(
    "request_",
    [
        ask(assistant_prefix="Sure"), ask(structured={"choice": ["a"]}), ask(want_token_ids=True),
        Request(Sampling(top_k=5), "k", 1, messages=(Message("user", "x"),)),
        Request(Sampling(), "k", 1, token_ids=(1,)),
    ],
)  # fmt: skip
async def test_what_the_protocol_lacks_is_refused_before_anything_is_sent(
    server: Server, connect: Any, request_: Request
) -> None:
    with pytest.raises(PlanError, match=r"OpenAI protocol has no .*; set server: vllm"):
        await one(connect(), request_)
    assert server.bodies == []


async def test_greedy_samples_are_asked_once(server: Server, connect: Any) -> None:
    server.replies = [reply(choices("same"))]
    answers = await one(connect(), ask(n=3, temperature=0.0))
    assert [a.text for a in answers] == ["same"] * 3
    assert server.bodies[0]["n"] == 1


async def test_embeddings_come_in_order_as_float32(server: Server, connect: Any) -> None:
    data = [{"index": 1, "embedding": [3, 4]}, {"index": 0, "embedding": [1, 2]}]
    server.replies = [reply({"data": data[:1]}), reply({"data": data})]
    found = await connect().embed(["a", "b"])
    assert (found.tolist(), str(found.dtype)) == ([[1, 2], [3, 4]], "float32")


async def test_scores_and_rewards_are_not_part_of_the_protocol(connect: Any) -> None:
    asked = (Message("user", "hi"),)
    for call in (connect().score([ScoreRequest("x", asked)]), connect().reward([RewardRequest("k", asked)])):
        with pytest.raises(PlanError, match=r"the OpenAI protocol has no /(tokenize|classify); set server: vllm"):
            await call


async def test_an_answer_is_scored_by_a_vllm_server_as_trainers_tokenize_it(server: Server, connect: Any) -> None:
    def tokenized(body: dict[str, Any]) -> Reply:
        return reply({"tokens": [1, 2, 3] if body["add_generation_prompt"] else [1, 2, 3, 40, 50]})

    rows = [None, *[{str(token): {"logprob": -token / 10}, "7": {"logprob": -9.0}} for token in (2, 3, 40, 50)]]
    server.by_body = lambda b: tokenized(b) if "messages" in b else reply({"choices": [{"prompt_logprobs": rows}]})
    request = ScoreRequest("yes", (Message("user", "hi"),), whole_turn=True)
    assert await connect(server="vllm").score([request]) == [[-4.0, -5.0]]
    assert [head.split(" ")[1] for head in server.heads] == ["/tokenize", "/tokenize", "/v1/completions"]
    (whole,) = [b for b in server.bodies if b.get("continue_final_message") is not None]
    assert (whole["continue_final_message"], whole["messages"][-1]["content"]) == (False, "yes")
    assert server.bodies[-1]["prompt"] == [1, 2, 3, 40, 50]
    assert await connect(server="vllm").score([ScoreRequest((50,), token_ids=(1, 2, 3, 40))]) == [[-5.0]]


async def test_rewards_of_a_vllm_server_are_log_odds_of_the_answer_and_of_each_step(
    server: Server, connect: Any
) -> None:
    server.replies = [
        reply({"data": [{"probs": [1.5]}]}),
        reply({"data": [{"data": [[0.5, 2.0], [1.0, -1.0]]}]}),
        reply({"data": [{"data": [[0.1], [0.2], [0.3]]}]}),
    ]
    engine, said = connect(server="vllm"), (Message("user", "hi"),)
    assert await engine.reward([RewardRequest("a", (*said, Message("assistant", "yes")))]) == [[1.5]]
    assert await engine.reward([RewardRequest("b", said, steps=("one", "two"), step_tag="<s>")]) == [[1.5, -2.0]]
    assert await engine.reward([RewardRequest("c", token_ids=(7, 8, 9), positions=(0, 2))]) == [[0.1, 0.3]]
    assert [head.split(" ")[1] for head in server.heads] == ["/classify", "/pooling", "/pooling"]
    assert [body["use_activation"] for body in server.bodies] == [False] * 3
    assert server.bodies[1]["messages"][-1] == {"role": "assistant", "content": "one<s>two<s>"}
    with pytest.raises(PlanError, match="set step_tag"):
        await engine.reward([RewardRequest("d", said, steps=("one",))])


async def test_a_server_that_scores_another_number_of_steps_costs_that_answer(server: Server, connect: Any) -> None:
    server.replies = [reply({"data": [{"data": [[1.0]]}]})]
    with pytest.raises(Rejected, match=r"bad_response: .* 1 scores where 2 were asked"):
        await connect(server="vllm").reward(
            [RewardRequest("b", (Message("user", "hi"),), steps=("one<s>", "two"), step_tag="<s>")]
        )


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({}, "needs model"),
        ({"model": "m"}, "either base_url or base_url_env"),
        ({"model": "m", "base_url": "localhost:8000"}, "base_url holds no address"),
        ({"model": "m", "base_url": "https://user:pass@h/v1"}, "base_url holds a password, which the run would store"),
        ({"model": "m", "base_url": "https://user:pa/ss@h/v1"}, "base_url holds a password, which the run would store"),
        ({"model": "m", "base_url": "http://h:PORT/v1"}, "base_url holds no address"),
        ({"model": "m", "base_url": "http://h:70000/v1"}, "base_url holds no address"),
        ({"model": "m", "base_url": "http://[::1/v1"}, "base_url holds no address"),
        ({"model": "m", "base_url_env": "NO_SUCH_VARIABLE"}, "environment variable NO_SUCH_VARIABLE holds no address"),
        (
            {"model": "m", "base_url": "http://h/v1", "api_key_env": "NO_SUCH_VARIABLE"},
            "NO_SUCH_VARIABLE .* is not set",
        ),
    ],
)
def test_a_config_without_address_or_key_says_what_is_missing(fields: dict[str, Any], told: str) -> None:
    with pytest.raises(PlanError, match=told):
        Openai(**fields).check()


def test_a_key_in_the_place_of_its_variable_is_not_repeated() -> None:
    with pytest.raises(PlanError, match="must be the name of an environment variable") as caught:
        Openai(model="m", base_url="http://h/v1", api_key_env=SECRET).check()
    assert SECRET not in str(caught.value)


async def test_a_run_leaves_its_key_nowhere(
    server: Server, site: Site, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TEST_KEY", SECRET)
    server.replies = [reply({}, 404), reply({"error": f"wait, {SECRET}"}, 429), reply(choices("a", "b"))]
    config = site.config(n=3)
    config["engines"]["policy"] = {
        "kind": "openai", "model": "m", "base_url": server.url, "api_key_env": "TEST_KEY", "backoff_s": 0.001,
    }  # fmt: skip
    await asyncio.to_thread(site.run, config)
    run = site.folder / "runs/t"
    assert "TEST_KEY" in (run / "run.json").read_text()
    told = [path.read_text() for path in run.rglob("*") if path.suffix in {".json", ".jsonl", ".md"}]
    told += [str(pq.read_table(path, partitioning=None).to_pylist()) for path in run.rglob("*.parquet")]
    assert [text for text in (*told, *capfd.readouterr()) if SECRET in text] == []
    assert len(told) > 8


def test_identity_is_what_answers_and_not_where_it_is() -> None:
    a = Openai(model="m", base_url="http://a/v1", max_in_flight=1).identity()
    b = Openai(model="m", base_url_env="URL", timeout_s=5, api_key_env="KEY").identity()
    assert a == b
    assert a != Openai(model="other", base_url="http://a/v1").identity()


def test_nothing_of_an_address_in_the_environment_is_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("URL", f"https://user:{SECRET}/x@host/v1")
    with pytest.raises(PlanError, match="environment variable URL holds no address") as caught:
        Openai(model="m", base_url_env="URL").check()
    assert SECRET not in str(caught.value)
    assert caught.value.__cause__ is None
