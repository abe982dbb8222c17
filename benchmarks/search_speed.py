"""Tree search on the embedded model: many trees at a time against one at a time, lock step, and the raw engine.

All in this process on one engine, in turn, each with an empty prefix cache; engine start is excluded. Our side is what
`prefsynth run --executor local` runs: the worker on a shard of configs/abacus_search.yaml.
"""

from __future__ import annotations

import asyncio
import functools
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from benchmarks.figures import ROOT, Figure
from pipeline.engines.vllm import Vllm, VllmEngine
from pipeline.plan import make_plan
from pipeline.records import Prompt
from pipeline.resume import load_index
from pipeline.stage import Context
from pipeline.store import Store
from pipeline.tree import Tree
from pipeline.worker import Worker
from stages.search.answering import Answering
from stages.search.machine import TreeSearch
from stages.search.search import Search

TREES, FEW, ALONE, ROUNDS = 256, 24, 16, 2
CONFIG = ROOT / "configs" / "abacus_search.yaml"


@dataclass(frozen=True)
class Pace:
    """What an engine did in a time."""

    seconds: float
    requests: float
    tokens: float
    prompt_tokens: float
    cached_tokens: float


def run() -> list[Figure]:
    """Ratios of generated tokens per second: medians over rounds, so that a noisy moment is noisy for one of them."""
    with tempfile.TemporaryDirectory() as name:
        paces = asyncio.run(_paces(Path(name)))
    beside: dict[str, Any] = {"trees": TREES, "rounds": ROUNDS}
    for kind, measured in paces.items():
        beside[f"{kind} requests/s"] = round(statistics.median(pace.requests / pace.seconds for pace in measured))
        beside[f"{kind} tokens/s"] = round(statistics.median(pace.tokens / pace.seconds for pace in measured))

    def ratio(name: str, kind: str, other: str, wanted: str) -> Figure:
        rates = [[pace.tokens / pace.seconds for pace in paces[k]] for k in (kind, other)]
        ratios = [ours / theirs for ours, theirs in zip(*rates, strict=True)]
        return Figure(name, round(statistics.median(ratios), 3), "ratio", wanted, beside)

    ours = paces["ours"][0]
    return [
        ratio("search_vs_sequential", "ours", "one by one", ">= 5"),
        ratio("search_vs_lockstep", "ours", "lock step", ">= 1.15"),
        ratio("search_vs_lockstep_few", f"{FEW} at once", f"lock step of {FEW}", ""),
        ratio("search_vs_raw", "ours", "raw", ">= 0.75, goal 0.9"),
        Figure("prefix_cached_share", round(ours.cached_tokens / ours.prompt_tokens, 3), "share", ""),
    ]


async def _paces(folder: Path) -> dict[str, list[Pace]]:
    config = yaml.safe_load(CONFIG.read_text(encoding="utf-8"))
    whole, few, alone = (_shard(config, folder, *n) for n in ((TREES, TREES), (TREES, FEW), (ALONE, 1)))
    vllm = whole.plan.engines["abacus"]
    assert isinstance(vllm, Vllm)
    engine = await vllm.open()
    assert isinstance(engine, VllmEngine)
    for shard in (whole, few, alone):
        shard.engines = {"abacus": engine}
        await shard.run("prompts", 0)
    sent = _Sent(engine)
    paces: defaultdict[str, list[Pace]] = defaultdict(list)
    try:
        await _timed(engine, lambda: alone.run("warm", 0))
        for _ in range(ROUNDS):
            sent.taken()
            paces["ours"].append(await _timed(engine, lambda: whole.run("search", 0)))
            requests = sent.taken()
            paces["lock step"].append(await _timed(engine, lambda: _lock_step(whole, engine)))
            paces["raw"].append(await _timed(engine, functools.partial(sent.again, requests)))
            paces["one by one"].append(await _timed(engine, lambda: alone.run("search", 0)))
            paces[f"{FEW} at once"].append(await _timed(engine, lambda: few.run("search", 0)))
            paces[f"lock step of {FEW}"].append(await _timed(engine, lambda: _lock_step(whole, engine, FEW)))
    finally:
        await engine.close()
    return dict(paces)


def _shard(config: dict[str, Any], folder: Path, trees: int, at_once: int) -> Worker:
    """A worker for the search of the config over one shard of `trees` prompts."""
    source, search = config["jobs"][:2]
    jobs = [{**source, "limit": trees}, {**search, "name": "search", "max_trees": at_once}, {**search, "name": "warm"}]
    plan = make_plan({**config, "name": "speed", "shard_size": trees, "jobs": jobs})
    store = Store(str(folder / f"{trees}-{at_once}"))
    return Worker(plan, store, {}, load_index(plan, store))


async def _timed(engine: VllmEngine, work: Callable[[], Awaitable[Any]]) -> Pace:
    await engine.llm.reset_prefix_cache()
    before, started = engine.stats(), time.monotonic()
    await work()
    seconds, after = time.monotonic() - started, engine.stats()
    names = ("requests", "tokens", "prompt_tokens", "cached_tokens")
    return Pace(seconds, *[after[name] - before[name] for name in names])


async def _lock_step(shard: Worker, engine: VllmEngine, at_once: int = TREES) -> None:
    """The same trees level by level: all that every tree asks now is sent, and all is awaited before the next. As many
    trees at once as are asked for, then as many more."""
    job = shard.plan.jobs["search"]
    assert isinstance(job.stage, Search)
    seed = shard.plan.config.seed
    ctx = Context("search", "bench", seed, "", {"abacus": engine})
    prompts = {prompt.prompt_id: prompt for prompt in shard.store.read("prompts", Prompt, 0, main=True)}
    active: list[tuple[TreeSearch, Answering]] = []
    for tree in shard.store.read("search", Tree, 0, main=True):
        answering = Answering(job.stage, prompts[tree.prompt_id], tree.tree_id, ctx)
        active.append((TreeSearch(job.stage, tree.tree_id, seed), answering))
    for first in range(0, len(active), at_once):
        group = active[first : first + at_once]
        while group:
            asked = [(search, answering, t) for search, answering in group for t in search.next_tickets()]
            answers = await asyncio.gather(*[answering.answer(ticket) for _, answering, ticket in asked])
            for (search, _, ticket), answer in zip(asked, answers, strict=True):
                search.deliver(ticket, answer)
            group = [(search, answering) for search, answering in group if search.status is None]


class _Sent:
    """Everything that reaches vLLM, to be sent once more."""

    def __init__(self, engine: VllmEngine) -> None:
        self._ask = engine._calls.ask
        self._sent: list[tuple[list[int], Any]] = []
        engine._calls.ask = self._keep  # type: ignore[method-assign]

    async def _keep(self, ids: list[int], params: Any) -> Any:
        self._sent.append((ids, params))
        return await self._ask(ids, params)

    def taken(self) -> list[tuple[list[int], Any]]:
        """What was sent since the last call."""
        sent, self._sent = self._sent, []
        return sent

    async def again(self, requests: list[tuple[list[int], Any]]) -> None:
        """All at once, straight to vLLM."""
        await asyncio.gather(*[self._ask(ids, params.clone()) for ids, params in requests])
