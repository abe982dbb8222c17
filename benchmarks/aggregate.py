"""Aggregation: how fast recorded judgments become pairs, and what a calibration adds to recorded verdicts."""

from __future__ import annotations

import asyncio
import json
import random
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil

from benchmarks.figures import Figure
from benchmarks.response_pairs import rows_of
from pipeline.calibrate import calibrate
from pipeline.plan import make_plan
from pipeline.records import Candidate, Judgment, LabelProb, Message, Prompt
from pipeline.stage import SourceIndex
from pipeline.store import Store
from pipeline.worker import Worker

JUDGMENTS = 1_000_000
JUDGES, CANDIDATES, PROMPTS_PER_SHARD = 3, 4, 256
PER_PROMPT = JUDGES * CANDIDATES * (CANDIDATES - 1)  # every pair in both orders
SAID = {"1": "a", "2": "b", "Tie": "tie", "0": "tie"}


def run() -> list[Figure]:
    """Throughput over a million judgments; agreement with the human majority on PandaLM where the data is at hand."""
    with tempfile.TemporaryDirectory() as folder:
        return [_throughput(Path(folder)), *_pandalm(Path(folder))]


def _throughput(folder: Path) -> Figure:
    gold = folder / "gold.jsonl"  # the plan wants a source; its shards are written below
    gold.write_text(json.dumps({"prompt": "?", "response_a": "x", "response_b": "y"}), encoding="utf-8")
    plan = make_plan({"name": "b", "jobs": [{"stage": "gold_items", "path": str(gold)}, {"stage": "aggregate"}]})
    store = Store(str(folder / "run"))
    store.create()
    shards = -(-JUDGMENTS // (PER_PROMPT * PROMPTS_PER_SHARD))
    worker = Worker(plan, store, {}, SourceIndex(rows=0, content="", stamp="", slices=()))
    process, memory, seconds, pairs = psutil.Process(), [], 0.0, 0
    for shard in range(shards):
        store.write("gold_items", shard, _tables(shard), {})
        started = time.process_time()
        outcome = asyncio.run(worker.run("aggregate", shard))
        seconds += time.process_time() - started
        memory.append(process.memory_info().rss / 2**20)
        pairs += outcome.report["rows_out"]
    judged = shards * PROMPTS_PER_SHARD * PER_PROMPT
    return Figure(
        "aggregate_judgments_per_cpu_second",
        round(judged / seconds),
        "judgments/CPU-s",
        ">= 50000",
        {
            "judgments": judged,
            "pairs": pairs,
            "judgments a prompt": PER_PROMPT,
            "memory_mb at a tenth": round(memory[len(memory) // 10]),
            "memory_mb at the end": round(memory[-1]),
        },
    )


def _tables(shard: int) -> dict[Any, list[Any]]:
    """A shard of prompts, their candidates, and comparisons of every two in both orders, as a judging job writes them."""
    draw = random.Random(shard)
    prompts, candidates, judgments = [], [], []
    for number in range(PROMPTS_PER_SHARD):
        prompt_id = f"{shard:016x}{number:016x}"
        prompts.append(Prompt(prompt_id, prompt_id, (Message("user", f"Question {shard}.{number}?"),)))
        names = [f"{prompt_id[8:]}{i:08x}" for i in range(CANDIDATES)]
        quality = [draw.gauss(0, 0.2) for _ in names]
        candidates += [Candidate(prompt_id, n, f"Answer {n}.", "generate", i) for i, n in enumerate(names)]
        for judge in range(JUDGES):
            for i in range(CANDIDATES):
                for j in range(i + 1, CANDIDATES):
                    for order in (0, 1):
                        p = min(0.98, max(0.02, 0.5 + quality[i] - quality[j] + draw.gauss(0, 0.1)))
                        judgments.append(_compared(prompt_id, (names[i], names[j]), judge, order, p))
    return {Prompt: prompts, Candidate: candidates, Judgment: judgments}


def _compared(prompt_id: str, pair: tuple[str, str], judge: int, order: int, p: float) -> Judgment:
    shown = (LabelProb("A", p if order == 0 else 1 - p), LabelProb("B", 1 - p if order == 0 else p))
    return Judgment(
        prompt_id, f"{judge}{order}{pair[0][2:]}{pair[1][-2:]}", "compare", "pairwise", f"judge-{judge}", pair, "ok", p,
        value_mode=float(p > 0.5), judge_family="judge", template_id="default", template_hash="0" * 64, order=order,
        label_probs=shown, label_mass=0.98, logprob_source="raw", raw_text="A", n_in=400, n_out=1,
    )  # fmt: skip


def _pandalm(folder: Path) -> list[Figure]:
    """GPT-3.5's recorded verdicts, one order each, against the majority of three people; none without the data."""
    items = list(_pandalm_items())
    if not items:
        return []
    gold = folder / "pandalm.jsonl"
    gold.write_text("".join(f"{json.dumps(item)}\n" for item in items), encoding="utf-8")
    calibrate(str(gold), str(folder / "pandalm.json"))
    found = json.loads((folder / "pandalm.json").read_text(encoding="utf-8"))
    jury, judge = found["jury"], found["judges"]["recorded:gpt-3.5"]
    same = sum(item["label"] == item["verdicts"]["gpt-3.5"]["ab"] for item in items)
    return [
        Figure(
            "pandalm_agreement",
            round(jury["calibrated"], 3),
            "of pairs with a majority that is no tie",
            "as the verdicts alone, better calibrated",
            {
                "verdicts alone": round(jury["equal_votes"], 3),
                "ECE alone": round(jury["equal_votes_ece"], 3),
                "ECE calibrated, out of sample": round(jury["calibrated_ece"], 3),
                "three classes": round(same / sum(item["label"] is not None for item in items), 3),
                "pairs": judge["n"],
                "parsed": round(judge["parse_rate"], 3),
                "length slope of judge": round(judge["length_slope"], 2),
                "length slope of people": round(found["gold"]["length_slope"], 2),
            },
        )
    ]


def _pandalm_items() -> Iterator[dict[str, Any]]:
    verdicts = {row["idx"]: row["gpt_result"] for row in rows_of("pandalm_gpt35_verdicts")}
    for row in rows_of("pandalm_human_testset"):
        (vote, n), *_ = Counter(str(row[f"annotator{k}"]) for k in (1, 2, 3)).most_common(1)
        yield {
            "id": row["idx"],
            "prompt": f"{row['instruction']}\n{row['input']}".strip(),
            "response_a": str(row["response1"]),
            "response_b": str(row["response2"]),
            "label": SAID[vote] if n > 1 else None,
            "verdicts": {"gpt-3.5": {"ab": SAID.get(verdicts[row["idx"]], "parse_error")}},
        }
