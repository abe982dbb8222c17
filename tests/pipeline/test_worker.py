"""The worker: what a stage says becomes rows, a rejected row is data, everything else fails the shard."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest

from pipeline.engine import EngineConfig
from pipeline.engines.scripted import Scripted
from pipeline.errors import EngineDied, EngineError, PlanError, Rejected
from pipeline.live import LiveEngine
from pipeline.plan import Job, Plan, RunConfig
from pipeline.records import Candidate, Message, Prompt, Reject
from pipeline.remote import Answerer, RemoteEngine
from pipeline.stage import Context, Example, SourceIndex, Stage
from pipeline.store import Store
from pipeline.worker import Outcome, Worker
from stages.sources.columns import Columns
from stages.sources.prompts import Prompts

Process = Callable[[Example[Candidate], Context], Any]


class Ask(Stage):
    """Does what the test says."""

    engine: str | None = None
    run: ClassVar[Process]

    async def process(self, example: Example[Candidate], ctx: Context) -> list[Candidate]:
        made = type(self).run(example, ctx)
        return list(await made if asyncio.iscoroutine(made) else made)


def candidate(example: Example[Any], ctx: Context) -> list[Candidate]:
    return [Candidate(example.prompt.prompt_id, f"c{example.prompt.prompt_id}", "t", ctx.job, n_tokens=3)]


async def counted(example: Example[Any], ctx: Context) -> list[Candidate]:
    ctx.count("now")
    ctx.counts["most"] = max(ctx.counts.get("most", 0), ctx.counts["now"])
    await asyncio.sleep(0)
    ctx.count("now", -1)
    return candidate(example, ctx)


async def hang(example: Example[Any], ctx: Context) -> list[Candidate]:
    await asyncio.Event().wait()
    return []


def work(tmp_path: Path, process: Process, engine: str | None = None, watchdog_s: float = 60) -> tuple[Worker, Store]:
    """A worker whose job `ask` reads four prompts that are there already."""
    Ask.run = staticmethod(process)
    source = Prompts.model_construct(path="unread", columns=Columns.model_construct())
    jobs = {"prompts": Job("prompts", source, (), {}), "ask": Job("ask", Ask(engine=engine), ("prompts",), {})}
    engines: dict[str, EngineConfig] = {"e": Scripted(function="benchmarks.canned:policy")}
    plan = Plan(RunConfig(name="t", jobs=[{}], watchdog_s=watchdog_s), engines, jobs)
    store = Store(str(tmp_path))
    store.write("prompts", 0, {Prompt: [Prompt(str(i), str(i), (Message("user", "q"),)) for i in range(4)]}, {})
    index = SourceIndex(rows=4, content="c", stamp="s", slices=((0, 4, 0),))
    return Worker(plan, store, {"e": LiveEngine(engines["e"])}, index), store


def run(worker: Worker) -> Outcome:
    return asyncio.run(worker.run("ask", 0))


@pytest.fixture(autouse=True)
def _no_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    """The hand-made source has no columns that a plan could look at."""
    monkeypatch.setattr(Prompts, "makes", lambda self: (Prompt,))


@pytest.mark.parametrize("engine", [None, "e"])
def test_what_a_stage_makes_is_committed_in_the_order_of_the_prompts(tmp_path: Path, engine: str | None) -> None:
    worker, store = work(tmp_path, candidate, engine)
    report = run(worker).report
    assert [c.prompt_id for c in store.read("ask", Candidate, 0, main=True)] == ["0", "1", "2", "3"]
    assert report == {"rows_in": 4, "kept": 4, "rejected": 0, "rows_out": 4, "tokens": 12, "counts": {}}
    assert store.report("ask", 0) == report


@pytest.mark.parametrize("engine", [None, "e"])
def test_a_rejected_prompt_is_data_and_the_counts_reconcile(tmp_path: Path, engine: str | None) -> None:
    def odd(example: Example[Any], ctx: Context) -> list[Candidate]:
        if int(example.prompt.prompt_id) % 2:
            raise Rejected("context_overflow", "9 tokens, context is 8")
        return candidate(example, ctx)

    worker, store = work(tmp_path, odd, engine)
    report = run(worker).report
    assert (report["rows_in"], report["kept"], report["rejected"], report["rows_out"]) == (4, 2, 2, 2)
    assert report["counts"] == {"reject:prompt:context_overflow": 2}
    assert store.read("ask", Reject, 0, main=False) == [
        Reject(str(i), "ask", "prompt", "context_overflow", "9 tokens, context is 8", str(i)) for i in (1, 3)
    ]


@pytest.mark.parametrize("engine", [None, "e"])
def test_a_shard_that_an_orphan_committed_first_stays_as_it_is(tmp_path: Path, engine: str | None) -> None:
    def late(example: Example[Any], ctx: Context) -> list[Candidate]:
        if example.prompt.prompt_id == "3":
            store.write("ask", 0, {Candidate: theirs}, {"rows_out": 1})
        return candidate(example, ctx)

    theirs = [Candidate("0", "theirs", "t", "ask", n_tokens=1)]
    worker, store = work(tmp_path, late, engine)
    assert run(worker).report == {"rows_out": 1}
    assert store.read("ask", Candidate, 0, main=True) == theirs
    assert ("ask", Candidate, 0) not in worker._kept  # later jobs read what is there


def test_a_prompt_that_was_rejected_upstream_is_not_processed(tmp_path: Path) -> None:
    worker, store = work(tmp_path, candidate)
    lost = Reject("2", "early", "prompt", "too_long", subject_id="2")
    store.write("early", 0, {Candidate: [], Reject: [lost]}, {})
    early = Job("early", Ask(), ("prompts",), {})
    jobs = {**worker.plan.jobs, "early": early, "ask": Job("ask", Ask(), ("prompts", "early"), {})}
    worker.plan = Plan(worker.plan.config, worker.plan.engines, jobs)
    assert run(worker).report["rows_in"] == 3


def test_an_engine_failure_fails_the_shard_and_names_it(tmp_path: Path) -> None:
    def fail(example: Example[Any], ctx: Context) -> list[Candidate]:
        if example.prompt.prompt_id == "2":
            raise EngineError("out of memory")
        return candidate(example, ctx)

    worker, store = work(tmp_path, fail, "e")
    with pytest.raises(EngineError, match=r"^job ask, shard 0: out of memory$"):
        run(worker)
    assert store.done("ask") == set()


def test_a_death_stays_a_death(tmp_path: Path) -> None:
    def die(example: Example[Any], ctx: Context) -> list[Candidate]:
        raise EngineDied("gone")

    with pytest.raises(EngineDied, match="job ask, shard 0: gone"):
        run(work(tmp_path, die, "e")[0])


@pytest.mark.parametrize("engine", [None, "e"])
def test_a_bug_of_a_stage_names_job_and_prompt(tmp_path: Path, engine: str | None) -> None:
    def bug(example: Example[Any], ctx: Context) -> list[Candidate]:
        if example.prompt.prompt_id == "1":
            raise KeyError("oops")
        return candidate(example, ctx)

    worker, store = work(tmp_path, bug, engine)
    with pytest.raises(KeyError) as caught:
        run(worker)
    assert caught.value.__notes__ == ["while job ask processed prompt 1"]
    assert store.done("ask") == set()


def test_a_bug_is_told_before_the_engine_failures_beside_it(tmp_path: Path) -> None:
    async def both(example: Example[Any], ctx: Context) -> list[Candidate]:
        if example.prompt.prompt_id == "3":
            raise KeyError("oops")
        raise EngineError("cancelled")

    with pytest.raises(KeyError):
        run(work(tmp_path, both, "e")[0])


def test_silence_is_an_error_that_names_job_shard_and_engine(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    worker, store = work(tmp_path, hang, "e", watchdog_s=0.05)
    with pytest.raises(EngineError, match=r"job ask, shard 0, engine e: nothing finished for 0\.05 s"):
        run(worker)
    assert store.done("ask") == set()
    told = capsys.readouterr().err
    assert "watchdog: job ask, shard 0, engine e" in told
    assert "> hang (" in told  # the stack of what hangs


def test_an_engine_that_answers_other_shards_is_not_silent(tmp_path: Path) -> None:
    looks: list[float] = []

    async def queued(example: Example[Any], ctx: Context) -> list[Candidate]:
        while len(looks) < 60:  # others are answered meanwhile
            looks.append(time.monotonic())
            worker.engines["e"]._heard = time.monotonic()  # type: ignore[attr-defined]
            await asyncio.sleep(0.02)
        return candidate(example, ctx)

    worker, store = work(tmp_path, queued, "e", watchdog_s=0.1)
    run(worker)
    assert looks[-1] - looks[0] > 0.1
    assert store.done("ask") == {0}


def test_cancelling_a_shard_cancels_its_prompts(tmp_path: Path) -> None:
    ended: list[str] = []
    all_wait = asyncio.Barrier(5)

    async def note(example: Example[Any], ctx: Context) -> list[Candidate]:
        try:
            await all_wait.wait()
            await asyncio.Event().wait()
        finally:
            ended.append(example.prompt.prompt_id)
        return []

    async def main() -> None:
        task = asyncio.ensure_future(work(tmp_path, note, "e")[0].run("ask", 0))
        await all_wait.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert sorted(ended) == ["0", "1", "2", "3"]


class Far:
    """An actor handle: answers, or dies the first n times."""

    def __init__(self, deaths: int = 0) -> None:
        self.deaths = deaths
        self.batches: list[int] = []
        self.answer = self
        self.far = Answerer(Echo())  # type: ignore[arg-type]

    async def remote(self, what: str, requests: Sequence[Any]) -> list[Any]:
        self.batches.append(len(requests))
        if self.deaths:
            self.deaths -= 1
            raise ConnectionError("the actor died\nstack")
        return await self.far.answer(what, requests)


class Echo:
    """An engine that answers a request with itself."""

    async def generate(self, requests: Sequence[Any]) -> list[Any]:
        if requests[0] == "long":
            raise Rejected("context_overflow", "long")
        return [[requests[0]]]


def test_requests_of_one_tick_travel_together() -> None:
    far = Far()

    async def main() -> None:
        engine = RemoteEngine([far])
        answers: list[Any] = await asyncio.gather(*(engine.generate([i]) for i in range(100)))  # type: ignore[list-item]
        assert [a[0][0] for a in answers] == list(range(100))

    asyncio.run(main())
    assert far.batches == [64, 36]


def test_one_bad_request_of_a_batch_costs_that_request() -> None:
    async def main() -> list[Any]:
        engine = RemoteEngine([Far()])
        asked: list[Any] = ["a", "long", "b"]
        return await asyncio.gather(*(engine.generate([r]) for r in asked), return_exceptions=True)

    first, second, third = asyncio.run(main())
    assert (first, third) == ([["a"]], [["b"]])
    assert isinstance(second, Rejected)


def test_batches_go_around_a_replica_that_died() -> None:
    dead, living = Far(deaths=99), Far()

    async def main() -> None:
        engine = RemoteEngine([dead, living])
        with pytest.raises(EngineDied, match=r"^the actor died$"):
            await engine.generate(["a"])  # type: ignore[list-item]
        for _ in range(5):
            await engine.generate(["a"])  # type: ignore[list-item]

    asyncio.run(main())
    assert (len(dead.batches), len(living.batches)) == (1, 5)


def test_when_every_replica_died_requests_wait_for_the_first_to_return(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.remote.PENALTY_S", 0.05)
    far = Far(deaths=1)

    async def main() -> None:
        engine = RemoteEngine([far])
        with pytest.raises(EngineDied):
            await engine.generate(["a"])  # type: ignore[list-item]
        assert await engine.generate(["a"]) == [["a"]]  # type: ignore[list-item, comparison-overlap]

    asyncio.run(main())


def test_an_engine_that_died_is_opened_again_at_the_next_call() -> None:
    opened: list[int] = []

    class Mortal(EngineConfig):
        kind: str = "mortal"

        async def open(self) -> Any:
            opened.append(1)
            return self.engine(len(opened))

        @staticmethod
        def engine(number: int) -> Any:
            class Engine:
                closed = 0

                async def generate(self, requests: Sequence[Any]) -> list[Any]:
                    await asyncio.sleep(0)
                    if number == 1:
                        raise EngineDied("gone")
                    return [["ok"]]

                async def close(self) -> None:
                    type(self).closed += 1
                    assert self.closed == 1

            return Engine()

    async def main() -> None:
        engine = LiveEngine(Mortal())
        calls = [engine.generate([]) for _ in range(3)]
        assert all(isinstance(r, EngineDied) for r in await asyncio.gather(*calls, return_exceptions=True))
        answer: Any = await engine.generate([])
        assert answer == [["ok"]]

    asyncio.run(main())
    assert len(opened) == 2


def test_a_plan_error_inside_an_engine_stays_one(tmp_path: Path) -> None:
    async def wrong(example: Example[Any], ctx: Context) -> list[Candidate]:
        raise PlanError("label 10 is no single token")

    with pytest.raises(PlanError) as caught:
        run(work(tmp_path, wrong, "e")[0])
    assert str(caught.value) == "label 10 is no single token"


@pytest.mark.parametrize(("limit", "most"), [(None, 4), (3, 3), (1, 1)])
def test_a_stage_may_bound_how_many_examples_are_under_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int | None, most: int
) -> None:
    monkeypatch.setattr(Ask, "at_once", lambda self, batch: limit)
    outcome = run(work(tmp_path, counted, "e")[0])
    assert (outcome.report["counts"]["most"], outcome.report["rows_out"]) == (most, 4)


@pytest.mark.parametrize(("batch", "told"), [(None, None), (128, 32), (9, 3), (1, 1)])
def test_a_stage_is_told_what_part_of_the_engines_batch_is_for_one_shard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batch: int | None, told: int | None
) -> None:
    heard: list[int | None] = []
    monkeypatch.setattr(Scripted, "batch", lambda self: batch)
    monkeypatch.setattr(Ask, "at_once", lambda self, batch: heard.append(batch))
    run(work(tmp_path, counted, "e")[0])
    assert heard == [told]
