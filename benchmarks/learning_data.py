"""The data of `benchmarks/learning.py`: runs of shipped configs, and the training rows of each row of the table.

Every choice among more pairs than are wanted is by a hash, so that nothing depends on order.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from benchmarks.figures import synth
from models.abacus.problems import make_problems, write_problems
from models.abacus.tasks import prompt_text
from pipeline.config import read_config
from pipeline.pair import Pair
from pipeline.records import Candidate, Judgment, Prompt, Rationale
from pipeline.store import Store
from stages.exports.token_dpo import TokenDpoRow

Rows = list[dict[str, Any]]
NOISE = 0.2
NOVICE = "models/novice"
EXPORT = {"format": "token-dpo", "tokenizer": NOVICE, "max_length": 256}


def drawn(seed: int, *name: object) -> float:
    """A number on [0, 1) that depends on what it is for."""
    return int.from_bytes(hashlib.sha256(repr((seed, *name)).encode()).digest()[:8]) / 2**64


def turned(row: Mapping[str, Any]) -> dict[str, Any]:
    """The row with its arms exchanged."""
    return {**row, "chosen_ids": row["rejected_ids"], "rejected_ids": row["chosen_ids"]}


class Made:
    """What one seed's runs made. A run that is there is not made again.

    model: the policy's folder. problems: how many are asked.
    """

    def __init__(self, folder: Path, seed: int, model: str, problems: int) -> None:
        self.folder, self.seed, self.model, self.problems = folder, seed, model, problems
        folder.mkdir(parents=True, exist_ok=True)

    def run(self, config: str, file: Path, change: Callable[[dict[str, Any]], dict[str, Any]] = dict) -> Store:
        """A finished run of a shipped config, reading `file`."""
        if not (done := self.folder / f"{config}.done").exists():
            data = change(read_config(config))
            source, *jobs = data["jobs"]
            for engine in data["engines"].values():
                engine["model"] = self.model if engine["model"] == NOVICE else engine["model"]
            data |= {"name": config, "seed": self.seed, "executor": "local", "max_reject_rate": 1.0}
            data["jobs"] = [source | {"path": str(file)}, *jobs]
            synth(data, self.folder)
            done.touch()
        return Store(str(self.folder / "runs" / config))

    @cached_property
    def asked(self) -> Path:
        """The file of the problems."""
        file = self.folder / "problems.jsonl"
        if not file.exists():
            write_problems(file, make_problems(self.seed, self.problems, "quickstart"))
        return file

    @cached_property
    def main(self) -> Store:
        """The run of configs/abacus_learning.yaml."""
        return self.run("abacus_learning", self.asked)

    def outcome_alone(self) -> Rows:
        """Pairs by outcome, of a run that makes nothing else."""
        wanted = ("prompts", "generate", "verify", "outcome", "outcome_pairs")

        def less(data: dict[str, Any]) -> dict[str, Any]:
            return data | {"jobs": [job for job in data["jobs"] if job.get("name", job["stage"]) in wanted]}

        return self.exported("outcome_pairs", self.run("abacus_learning", self.asked, less))

    def forms(self) -> Rows:
        """Pairs about the form that is asked for, of configs/abacus_multilevel.yaml with this policy."""

        def of_novice(data: dict[str, Any]) -> dict[str, Any]:
            data["engines"]["abacus"]["model"] = NOVICE
            jobs = [job for job in data["jobs"] if not job.get("name", "").startswith("export_")]
            return data | {"jobs": [job | EXPORT if job["stage"] == "export" else job for job in jobs]}

        return self.exported("export", self.run("abacus_multilevel", self.asked, of_novice))

    def exported(self, job: str, store: Store | None = None) -> Rows:
        """An export's rows in an order drawn by lot."""
        rows = read(store or self.main, job, TokenDpoRow)
        made = [
            {"pair_id": r.pair_id, "prompt_ids": list(r.prompt_ids), "chosen_ids": list(r.chosen_ids),
             "rejected_ids": list(r.rejected_ids)}
            for r in rows
        ]  # fmt: skip
        return sorted(made, key=lambda row: drawn(self.seed, job, row["pair_id"]))

    def random_labels(self) -> Rows:
        """Outcome pairs whose labels a coin decides."""
        return [
            turned(r) if drawn(self.seed, "coin", r["pair_id"]) < 0.5 else r for r in self.exported("outcome_pairs")
        ]

    def explained(self) -> Rows:
        """Outcome pairs with a rationale that passed its gate, blind ones first, then the others."""
        found = [r for r in read(self.main, "explain", Rationale) if r.status == "ok"]
        blind = {r.pair_id for r in found if not r.label_visible}
        told = {r.pair_id for r in found}
        return sorted(
            self.exported("outcome_pairs"), key=lambda r: (r["pair_id"] not in blind, r["pair_id"] not in told)
        )

    def both(self, count: int) -> Rows:
        """Half pairs of steps, half of whole answers."""
        steps, whole = self.exported("step_pairs"), self.exported("trajectory_pairs")
        return [*steps[: count - count // 2], *whole[: count // 2]]

    def noisy(self) -> Rows:
        """Outcome pairs, a fifth of them turned round."""
        return [turned(r) if self.is_noise(r["pair_id"]) else r for r in self.exported("outcome_pairs")]

    def is_noise(self, pair_id: str) -> bool:
        """Whether the label of the pair is turned round."""
        return drawn(self.seed, "noise", pair_id) < NOISE

    def repaired(self) -> Rows:
        """What configs/repair.yaml leaves of the noisy pairs."""
        file = self.folder / "noisy.jsonl"
        pairs = read(self.main, "outcome", Pair)
        texts = [
            [p.prompt_messages[-1].content, p.chosen_messages[-1].content, p.rejected_messages[-1].content]
            for p in pairs
        ]
        rows = [
            {"prompt": prompt, "chosen": worse if flip else better, "rejected": better if flip else worse}
            for (prompt, better, worse), flip in zip(texts, [self.is_noise(p.pair_id) for p in pairs], strict=True)
        ]
        file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")

        def as_tokens(data: dict[str, Any]) -> dict[str, Any]:
            source, *jobs = data["jobs"]
            columns = {name: name for name in ("prompt", "chosen", "rejected")}
            jobs = [job | EXPORT if job["stage"] == "export" else job for job in jobs if job["stage"] != "audit"]
            return data | {"jobs": [source | {"columns": columns}, *jobs]}

        return self.exported("export", self.run("repair", file, as_tokens))

    def right_answers(self) -> Rows:
        """Right answers as prompt and completion: one of each problem, then second ones."""
        right = {j.cand_ids[0] for j in read(self.main, "verify", Judgment) if j.value == 1}
        texts = {p.prompt_id: p.text for p in read(self.main, "prompts", Prompt)}
        seen: set[tuple[str, str]] = set()
        ranked: list[tuple[int, float, dict[str, Any]]] = []
        count: dict[str, int] = {}
        for candidate in sorted(read(self.main, "generate", Candidate), key=lambda c: drawn(self.seed, c.candidate_id)):
            if candidate.candidate_id not in right or (candidate.prompt_id, candidate.text) in seen:
                continue
            seen.add((candidate.prompt_id, candidate.text))
            place = count[candidate.prompt_id] = count.get(candidate.prompt_id, 0) + 1
            prompt = prompt_text("generate", prompt=texts[candidate.prompt_id], principle="")
            row = {"prompt": prompt, "completion": f"{candidate.text}<|end|>"}
            ranked.append((place, drawn(self.seed, "sft", candidate.candidate_id), row))
        return [row for *_, row in sorted(ranked, key=lambda r: r[:2])]


def read(store: Store, job: str, table: type[Any]) -> list[Any]:
    """All rows of a job's own table."""
    return [row for shard in sorted(store.done(job)) for row in store.read(job, table, shard, main=True)]


def short(rows: Iterable[Mapping[str, Any]], count: int) -> Sequence[dict[str, Any]]:
    """The first `count`, without what is for us alone. Raises ValueError where there are fewer."""
    taken = [{k: v for k, v in row.items() if k != "pair_id"} for row in rows][:count]
    if len(taken) < count:
        raise ValueError(f"{len(taken)} rows, {count} wanted")
    return taken
