"""Curation of a million synthetic prompts on Ray: what de-duplication and decontamination find, and what they cost."""

from __future__ import annotations

import tempfile
import time
from collections import Counter
from pathlib import Path

import psutil
import pyarrow.parquet as pq

from benchmarks.curation_prompts import Planted, plant
from benchmarks.figures import Figure, Watch, synth
from pipeline import ids
from pipeline.records import Message

PROMPTS = 1_000_000


class TreeMemory(Watch):
    """Memory of all processes together, in MB; what they share (Ray's object store) is counted once."""

    def __init__(self, pid: int) -> None:
        super().__init__(pid, every_s=1.0)

    def sample(self) -> None:
        """One look at all processes."""
        total = 0
        try:
            tree = [self._root, *self._root.children(recursive=True)]
        except psutil.Error:
            return
        for process in tree:
            try:
                total += process.memory_full_info().pss
            except psutil.Error:
                continue
        self.usage.rss_mb.append(total / 2**20)


def run(prompts: int = PROMPTS) -> list[Figure]:
    """Recall of planted duplicates, precision of clusters, minutes and memory; beside: the same at a tenth."""
    small, (planted, told) = _measure(prompts // 10)[1], _measure(prompts)
    costs = {f"{key} at {prompts // 10:,}": value for key, value in small.items() if key in ("minutes", "peak MB")}
    beside = {"prompts": prompts, "minutes": told["minutes"], "peak MB": told["peak MB"], **costs}
    counts = Counter(planted.how)
    return [
        Figure("dedup_exact_recall", told["exact"], "share", ">= 0.99", {"planted": counts["exact"], **beside}),
        Figure("dedup_near_recall", told["near"], "share", ">= 0.95 at Jaccard >= 0.8", {"planted": counts["near"]}),
        Figure("dedup_precision", told["precision"], "share", ">= 0.98", {"near-misses planted": counts["miss"]}),
        Figure(
            "decontamination_recall", told["contaminated"], "share", ">= 0.99",
            {"planted": counts["contaminated"], "precision": told["contamination precision"]},
        ),
        Figure("curation_minutes", told["minutes"], "min", "<= 10 on two cores", {"prompts": prompts, **costs}),
        Figure("curation_peak_mb", told["peak MB"], "MB", "<= 12000", {"prompts": prompts}),
    ]  # fmt: skip


def _measure(prompts: int) -> tuple[Planted, dict[str, float]]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        planted = plant(prompts, folder)
        config = {
            "name": "curation",
            "shard_size": 4096,
            "executor": "ray",
            "jobs": [
                {"stage": "prompts", "path": str(folder / "prompts.jsonl"), "columns": {"prompt": "prompt"}},
                {"stage": "dedup"},
                {"stage": "decontaminate", "lists": {"items": {"path": str(folder / "items.jsonl"), "columns": ["question"]}}},
            ],
        }  # fmt: skip
        began = time.monotonic()
        usage = synth(config, folder, watched=TreeMemory)
        minutes = round((time.monotonic() - began) / 60, 2)
        found = _compare(planted, folder / "runs/curation")
    return planted, {**found, "minutes": minutes, "peak MB": round(max(usage.rss_mb))}


def _compare(planted: Planted, run_folder: Path) -> dict[str, float]:
    """What the verdicts say against the truth."""
    clusters = dict(zip(*_columns(run_folder / "dedup", "subject_id", "cluster"), strict=True))
    kept = dict(zip(*_columns(run_folder / "decontaminate", "subject_id", "keep"), strict=True))
    prompt_ids = [ids.prompt_id([Message("user", text)]) for text in planted.texts]
    same: Counter[str] = Counter()
    members: dict[str, list[int]] = {}
    for line, prompt_id in enumerate(prompt_ids):
        members.setdefault(clusters[prompt_id], []).append(planted.origin[line])
        same[planted.how[line]] += clusters[prompt_id] == clusters[prompt_ids[planted.origin[line]]]
    of = Counter(planted.how)
    merges = sum(len(each) - 1 for each in members.values())
    right = sum(len(each) - len(set(each)) for each in members.values())
    hit = [how == "contaminated" for how, prompt_id in zip(planted.how, prompt_ids, strict=True) if not kept[prompt_id]]
    return {
        "exact": same["exact"] / of["exact"],
        "near": same["near"] / of["near"],
        "precision": right / merges,
        "contaminated": sum(hit) / of["contaminated"],
        "contamination precision": sum(hit) / len(hit),
    }


def _columns(folder: Path, *names: str) -> list[list[object]]:
    table = pq.read_table([str(file) for file in sorted(folder.glob("*.parquet"))], columns=list(names))
    return [table.column(name).to_pylist() for name in names]
