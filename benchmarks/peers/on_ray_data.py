"""The job of benchmarks/throughput.py written directly on `ray.data`: two actor pools, a map and a Parquet sink.

    python -m benchmarks.peers.on_ray_data prompts.jsonl out

What a competent user writes who wants it fast: batches of hundreds of rows, one block for each core and batch in flight,
no dashboard, no progress bars, judge and pair columns only. It keeps no ids, seeds, judge calls or rejects, and a killed
run begins again.
"""

from __future__ import annotations

import logging
import re
import sys
from typing import Any

import ray
import ray.data

from benchmarks.peers.answers import answers, scores

BATCH = 1024
QUESTION = """<prompt>
{prompt}
</prompt>

<response>
{response}
</response>

Rate the response on correctness, from 1 to 5. Answer with the score alone."""
SCORE = re.compile(r"\d+")
Batch = dict[str, Any]


class Policy:
    """Four candidates for each prompt."""

    def __call__(self, batch: Batch) -> Batch:
        return {"prompt": batch["prompt"], "candidates": [answers(prompt, 4) for prompt in batch["prompt"]]}


class Judge:
    """A score for each candidate, read from the text that the model answered."""

    def __call__(self, batch: Batch) -> Batch:
        rows = zip(batch["prompt"], batch["candidates"], strict=True)
        return {**batch, "scores": [[self._score(prompt, text) for text in texts] for prompt, texts in rows]}

    @staticmethod
    def _score(prompt: str, response: str) -> float | None:
        answer = f"Score: {scores(QUESTION.format(prompt=prompt, response=response))[0]}"
        found = SCORE.search(answer)
        return float(found[0]) if found else None


def pairs(batch: Batch) -> Batch:
    """Best against worst of each prompt, as a trainer reads it."""
    made: Batch = {"prompt": [], "chosen": [], "rejected": [], "chosen_score": [], "rejected_score": []}
    for prompt, texts, values in zip(batch["prompt"], batch["candidates"], batch["scores"], strict=True):
        ranked = sorted((value, text) for value, text in zip(values, texts, strict=True) if value is not None)
        if len(ranked) > 1 and ranked[0][0] < ranked[-1][0]:
            made["prompt"].append([{"role": "user", "content": prompt}])
            for arm, (value, text) in (("chosen", ranked[-1]), ("rejected", ranked[0])):
                made[arm].append([{"role": "assistant", "content": text}])
                made[f"{arm}_score"].append(value)
    return made


def main(source: str, target: str) -> None:
    """Prompts in, pairs out."""
    ray.init(include_dashboard=False, logging_level=logging.ERROR, log_to_driver=False)
    ray.data.DataContext.get_current().enable_progress_bars = False
    one = ray.data.ActorPoolStrategy(size=1)
    (
        ray.data.read_json(source, lines=True)
        .map_batches(Policy, batch_size=BATCH, compute=one, num_cpus=0)
        .map_batches(Judge, batch_size=BATCH, compute=one, num_cpus=0)
        .map_batches(pairs, batch_size=BATCH)
        .write_parquet(target)
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
