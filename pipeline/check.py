"""What a run would do, without loading a model: a sample of the real input goes through every job, with an engine that
only counts. So templates, columns and the chain are tried as they are, and requests and tokens are those of the stages.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from pipeline import ids
from pipeline.engine import Completion, EngineConfig, Request, RewardRequest, ScoreRequest, resolve_path
from pipeline.engines.scripted import spelled
from pipeline.errors import PlanError, Rejected
from pipeline.live import LiveEngine
from pipeline.plan import Plan, make_plan
from pipeline.preview import sample_config
from pipeline.records import Reject
from pipeline.run import Driver, execute
from pipeline.stage import SourceStage
from pipeline.tokenizer import Tokenizer, load_tokenizer


@dataclass
class Tally:
    """What an engine was asked by one job, or by all."""

    prompt_tokens: list[int] = field(default_factory=list)  # of each request
    new_tokens: int = 0  # at most: max_tokens of every sample
    overflow: int = 0

    def __add__(self, other: Tally) -> Tally:
        return Tally(
            self.prompt_tokens + other.prompt_tokens,
            self.new_tokens + other.new_tokens,
            self.overflow + other.overflow,
        )

    def told(self, scale: float) -> str:
        """Requests and tokens of a run that is `scale` times as large."""
        requests, prompt, new = (n * scale for n in (len(self.prompt_tokens), sum(self.prompt_tokens), self.new_tokens))
        return f"about {requests:,.0f} requests, {prompt:,.0f} prompt tokens, at most {new:,.0f} new tokens"


class CountingEngine(LiveEngine):
    """Answers nothing of worth: counts requests and tokens, and gives labels by hash so that later stages have work."""

    def __init__(self, config: EngineConfig, tally: Tally) -> None:
        super().__init__(config)
        self.tally = tally
        self._tokenizer = _tokenizer(config)
        self._context = context_length(config)

    async def open(self) -> CountingEngine:
        """Nothing to start."""
        return self

    async def generate(self, requests: Sequence[Request]) -> list[list[Completion]]:
        """See Engine."""
        return [self._answer(r) for r in requests]

    def _answer(self, request: Request) -> list[Completion]:
        length = self._length(request, request.assistant_prefix)
        self.tally.prompt_tokens.append(length)
        if self._context and length + min(request.sampling.max_tokens, self._context // 2) > self._context:
            self.tally.overflow += 1
            raise Rejected("context_overflow", f"prompt has {length} tokens, context is {self._context}")
        self.tally.new_tokens += request.sampling.n * request.sampling.max_tokens
        made = []
        for sample in range(request.sampling.n):
            draw = ids.seed(request.seed, sample)
            label = request.labels[draw % len(request.labels)] if request.labels else str(draw % 100)
            labels = {name: -0.1 if name == label else -3.0 for name in request.labels} or None
            text = f"Answer: {label}\nVerdict: {label}"  # which every judge's parser reads
            if request.want_token_texts and request.sampling.stop:  # a step, so that searches go on
                text = f"{draw} + 1 = {draw + 1}{request.sampling.stop[0]}"
            made.append(Completion(text, "stop", length, 8, labels=labels))
        return [spelled(request, one) for one in made] if request.want_token_texts else made

    def _length(self, request: Request | ScoreRequest | RewardRequest, then: str) -> int:
        """Tokens of a prompt with what stands behind it."""
        if request.token_ids is not None:
            return len(request.token_ids)
        text = "\n".join(m.content for m in request.messages or ()) + then
        return len(self._tokenizer.encode(text)) if self._tokenizer else len(text) // 4 + 1

    async def score(self, requests: Sequence[ScoreRequest]) -> list[list[float]]:
        """See Engine."""
        texts = [r.continuation if isinstance(r.continuation, str) else "" for r in requests]
        self.tally.prompt_tokens.extend([self._length(r, text) for r, text in zip(requests, texts, strict=True)])
        return [[-1.0] for _ in requests]

    async def reward(self, requests: Sequence[RewardRequest]) -> list[list[float]]:
        """See Engine."""
        answers = [r.step_tag.join((*r.steps, "")) for r in requests]
        self.tally.prompt_tokens.extend([self._length(r, a) for r, a in zip(requests, answers, strict=True)])
        draws = [ids.seed(0, r.key) % 100 / 25 - 2 for r in requests]
        return [[draw] * (len(r.steps or r.positions) or 1) for r, draw in zip(requests, draws, strict=True)]

    async def embed(self, texts: Sequence[str]) -> np.ndarray:
        """See Engine."""
        return np.ones((len(texts), 8), dtype=np.float32)


def _tokenizer(config: EngineConfig) -> Tokenizer | None:
    """The engine's tokenizer if it lies here; checks fetch nothing."""
    return (
        load_tokenizer(config.model)
        if config.model and (resolve_path(config.model) / "tokenizer.json").exists()
        else None
    )


def model_config(config: EngineConfig) -> Mapping[str, Any]:
    """config.json of a local model, or nothing."""
    file = resolve_path(config.model) / "config.json" if config.model else None
    return json.loads(file.read_text(encoding="utf-8")) if file and file.exists() else {}


def context_length(config: EngineConfig) -> int | None:
    """Tokens of context: as the engine's config says, else the model's own."""
    said = getattr(config, "max_model_len", None) or getattr(config, "context", None)
    return said or model_config(config).get("max_position_embeddings")


def check(data: dict[str, Any], n: int) -> None:
    """Prints what a run would do. Raises PlanError for everything that can be known to fail."""
    plan = make_plan(data)
    source = plan.source.stage
    if not isinstance(source, SourceStage):
        raise PlanError(f"job {plan.source.name} is no source")
    rows = source.index(plan.config.shard_size).rows
    if not rows:
        raise PlanError(f"job {plan.source.name} found no rows in its input")
    looked = min(n, rows)
    print(f"{plan.config.name}: {len(plan.jobs)} jobs, {rows:,} rows; looked at the first {looked}")
    asked: dict[str, Tally] = {}
    with tempfile.TemporaryDirectory(prefix="prefsynth-check-") as folder:
        sample = sample_config(data, looked, folder)
        for number, name in enumerate(plan.jobs, 1):
            # The run goes on with one job more each time: so what was asked was asked by that job.
            driver, tallies = _count({**sample, "jobs": sample["jobs"][:number]})
            _print_job(driver, name)
            for alias, tally in tallies.items():
                print(f"      asks {alias}: {tally.told(rows / looked)}")
                asked[alias] = asked.get(alias, Tally()) + tally
    for alias, tally in asked.items():
        _print_engine(plan, alias, tally, rows / looked)
    _print_disk(plan, rows)


def _count(sample: dict[str, Any]) -> tuple[Driver, dict[str, Tally]]:
    """Runs what is not there yet of a sample; returns what each engine was asked meanwhile."""
    tallies: defaultdict[str, Tally] = defaultdict(Tally)
    driver = execute(sample, plain=True, make_engine=lambda a, c: CountingEngine(c, tallies[a]), quiet=True)
    return driver, {alias: tally for alias, tally in tallies.items() if tally.prompt_tokens}


def _print_job(driver: Driver, name: str) -> None:
    totals, table = driver.totals[name], driver.plan.jobs[name].table
    print(f"  {name}: {totals.rows_in} in, {totals.rejected} rejected, {totals.rows_out} {table.__name__} rows")
    rejects = driver.store.read(name, Reject, 0, main=False)
    for reject in [r for r in rejects if r.subject in ("row", "prompt")][:3]:
        print(f"      rejected: {reject.reason} {reject.detail:.100}")


def _print_engine(plan: Plan, alias: str, tally: Tally, scale: float) -> None:
    config, lengths = plan.engines[alias], np.array(tally.prompt_tokens)
    context = context_length(config)
    quantiles = ", ".join(f"p{q} {np.percentile(lengths, q):.0f}" for q in (50, 95, 100))
    new = tally.new_tokens * scale
    print(f"  engine {alias} ({config.kind} {config.model}): {tally.told(scale)}")
    fit = f"will not fit: {tally.overflow} of {len(lengths)}"
    print(f"      prompt tokens {quantiles}; context {context or 'not known here'}; {fit}")
    resources = config.resources
    if resources.tokens_per_s:
        hours = new / (resources.tokens_per_s * resources.replicas) / 3600
        cost = f", {hours * resources.replicas * resources.usd_per_hour:,.2f} USD" if resources.usd_per_hour else ""
        print(f"      at most {hours:.2f} h at {resources.tokens_per_s:g} tokens/s a replica{cost}")
    if resources.usd_per_million_tokens:
        print(f"      at most {(new + lengths.sum() * scale) / 1e6 * resources.usd_per_million_tokens:,.2f} USD")
    _print_memory(config)


def _print_memory(config: EngineConfig) -> None:
    folder, shape = resolve_path(config.model), model_config(config)
    if not shape:
        return
    weights = sum(f.stat().st_size for f in folder.glob("*.safetensors"))
    heads = shape.get("num_key_value_heads", shape.get("num_attention_heads", 0))
    head_dim = shape.get("head_dim") or shape.get("hidden_size", 0) // max(shape.get("num_attention_heads", 1), 1)
    per_token = 2 * shape.get("num_hidden_layers", 0) * heads * head_dim * 2
    print(
        f"      weights {weights / 2**20:,.0f} MiB, cache {per_token / 2**10:,.0f} KiB a token; device: {device_memory()}"
    )


def device_memory() -> str:
    """Memory of the accelerators, else of the machine."""
    import subprocess

    if shutil.which("nvidia-smi"):
        query = ["nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader"]
        answer = subprocess.run(query, capture_output=True, text=True, timeout=20, check=False)
        if answer.returncode == 0 and answer.stdout.strip():
            return "; ".join(answer.stdout.strip().splitlines())
    import psutil

    return f"no GPU, {psutil.virtual_memory().total / 2**30:.0f} GiB of main memory"


def _print_disk(plan: Plan, rows: int) -> None:
    shards = -(-rows // plan.config.shard_size)
    print(f"  {shards:,} shards in each of {len(plan.jobs)} jobs{_free(plan.config.runs_dir)}")


def _free(runs_dir: str) -> str:
    """Room where runs lie, or will lie; an object store tells of none."""
    if "://" in runs_dir:
        return ""
    there = next(folder for folder in (Path(runs_dir).absolute() / "run").parents if folder.exists())
    return f"; {shutil.disk_usage(there).free / 2**30:,.0f} GiB free in {runs_dir}"
