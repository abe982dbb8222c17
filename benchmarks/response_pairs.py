"""Recorded responses to the same prompt, from the public test data beside the project."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from typing import Any, NamedTuple

from benchmarks.figures import ROOT

DATA = ROOT / "../shared/data"


class ResponsePair(NamedTuple):
    """Two responses to one prompt; which is better is of no matter here."""

    prompt: str
    one: str
    other: str


def rows_of(name: str) -> list[Any]:
    """The rows of one file; none where the file is absent."""
    path = DATA / f"{name}.jsonl"
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


def response_pairs(limit: int) -> list[ResponsePair]:
    """Up to `limit` pairs of different texts: open questions first, then sums, then answers under an instruction."""
    texts = (p for p in _all() if all(isinstance(t, str) and t.strip() for t in p) and p.one.strip() != p.other.strip())
    return list(itertools.islice(texts, limit))


def _all() -> Iterator[ResponsePair]:
    for r in rows_of("pandalm_human_testset"):
        yield ResponsePair(f"{r['instruction']}\n{r['input']}".strip(), r["response1"], r["response2"])
    for r in rows_of("dove_helpful_conditional_pref"):
        yield ResponsePair(r["i_chosen"], r["r_chosen"], r["r_reject"])
    for name in ("mt_bench_human_200", "llmbar_natural"):
        for r in rows_of(name):
            yield ResponsePair(r["input"], r["output_1"], r["output_2"])
    for gold, out in zip(rows_of("dove_helpful_test_gold"), rows_of("dove_helpful_outputs"), strict=True):
        yield ResponsePair(gold["instruction"], gold["gold_response"], out["outputs"])
    predictions = [rows_of(f"self_instruct_pred_{name}") for name in ("davinci003", "selfinstruct")]
    for one, other in zip(*predictions, strict=True):
        yield ResponsePair(one["prompt"], one["response"], other["response"])
    for r in rows_of("gsm8k_model_solutions_400"):
        solutions = [value["solution"] for value in r.values() if isinstance(value, dict)]
        for one, other in itertools.combinations(solutions, 2):
            yield ResponsePair(r["question"], one, other)
    for r in rows_of("autoif_dpo_query_eval_score_results"):
        for one, other in itertools.combinations([text for text, _ in r["response"]], 2):
            yield ResponsePair(r["query"], one, other)
