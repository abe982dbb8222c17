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

from transformers import AutoTokenizer

from benchmarks.figures import synth
from models.abacus.problems import make_problems, write_problems
from models.abacus.tasks import prompt_text
from pipeline.config import read_config
from pipeline.pair import Pair
from pipeline.records import Candidate, Judgment, Prompt, Rationale
from pipeline.store import Store
from stages.exports.token_dpo import TokenDpoRow

Rows = list[dict[str, Any]]
NOVICE = "models/novice"
EXPORT = {"format": "token-dpo", "tokenizer": NOVICE, "max_length": 256}


def drawn(seed: int, *name: object) -> float:
    """A number on [0, 1) that depends on what it is for."""
    return int.from_bytes(hashlib.sha256(repr((seed, *name)).encode()).digest()[:8]) / 2**64


def turned(row: Mapping[str, Any]) -> dict[str, Any]:
    """The row with its arms exchanged."""
    return {**row, "chosen_ids": row["rejected_ids"], "rejected_ids": row["chosen_ids"]}


class Data:
    """Runs over the problems of all seeds at once; each seed has problems of its own. A run that is there is not made again.

    jobs: of configs/abacus_learning.yaml that are wanted now; others may follow in the same run.
    """

    def __init__(self, folder: Path, seeds: Sequence[int], problems: int, jobs: Sequence[str] = ()) -> None:
        self.folder, self.jobs = folder, jobs
        self.texts = {seed: [p.text for p in make_problems(seed, problems, "quickstart")] for seed in seeds}
        self.file = folder / "problems.jsonl"
        folder.mkdir(parents=True, exist_ok=True)
        if not self.file.exists():
            write_problems(self.file, [p for seed in seeds for p in make_problems(seed, problems, "quickstart")])

    def run(
        self, config: str, file: Path, change: Callable[[dict[str, Any]], dict[str, Any]] = dict, name: str = ""
    ) -> Store:
        """A finished run of a shipped config, reading `file`."""
        data = change(read_config(config))
        source, *jobs = data["jobs"]
        data |= {
            "name": name or config,
            "executor": "local",
            "max_reject_rate": 1.0,
            "jobs": [source | {"path": str(file)}, *jobs],
        }
        store = Store(str(self.folder / "runs" / (name or config)))
        exports = [job.get("name", "export") for job in jobs if job["stage"] == "export"]
        if not all(store.exists(export, "manifest.json") for export in exports):
            synth(data, self.folder)
        return store

    @cached_property
    def main(self) -> Store:
        """The run of configs/abacus_learning.yaml."""

        def wanted(data: dict[str, Any]) -> dict[str, Any]:
            jobs = [job for job in data["jobs"] if not self.jobs or job.get("name", job["stage"]) in self.jobs]
            return data | {"jobs": jobs}

        return self.run("abacus_learning", self.file, wanted)

    @cached_property
    def forms(self) -> Store:
        """The run of configs/abacus_multilevel.yaml with this policy."""

        def of_novice(data: dict[str, Any]) -> dict[str, Any]:
            data["engines"]["abacus"]["model"] = NOVICE
            jobs = [job for job in data["jobs"] if not job.get("name", "").startswith("export_")]
            return data | {"jobs": [job | EXPORT if job["stage"] == "export" else job for job in jobs]}

        return self.run("abacus_multilevel", self.file, of_novice)

    def repaired(self, noise: float) -> Store:
        """The run of configs/repair.yaml on the outcome pairs, that share of them turned round."""
        file = self.folder / f"noisy-{noise}.jsonl"
        rows = []
        for pair in read(self.main, "outcome", Pair):
            prompt, *arms = (
                m[-1].content for m in (pair.prompt_messages, pair.chosen_messages, pair.rejected_messages)
            )
            chosen, rejected = reversed(arms) if is_noise(pair.pair_id, noise) else arms
            rows.append({"prompt": prompt, "chosen": chosen, "rejected": rejected})
        file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")

        def as_tokens(data: dict[str, Any]) -> dict[str, Any]:
            source, *jobs = data["jobs"]
            columns = {name: name for name in ("prompt", "chosen", "rejected")}
            jobs = [job | EXPORT if job["stage"] == "export" else job for job in jobs if job["stage"] != "audit"]
            return data | {"jobs": [source | {"columns": columns}, *jobs]}

        return self.run("repair", file, as_tokens, f"repair-{100 * noise:.0f}")


def is_noise(pair_id: str, noise: float) -> bool:
    """Whether the label of the pair is turned round."""
    return drawn(0, "noise", pair_id) < noise


class Made:
    """What was made of one seed's problems."""

    def __init__(self, data: Data, seed: int) -> None:
        self.data, self.seed = data, seed

    @cached_property
    def texts(self) -> dict[str, str]:
        """Prompt id -> problem."""
        mine = set(self.data.texts[self.seed])
        return {p.prompt_id: p.text for p in read(self.data.main, "prompts", Prompt) if p.text in mine}

    @cached_property
    def right(self) -> set[str]:
        """Ids of the right answers."""
        return {j.cand_ids[0] for j in read(self.data.main, "verify", Judgment) if j.value == 1}

    def exported(self, job: str, store: Store | None = None) -> Rows:
        """An export's rows in an order drawn by lot."""
        made = [
            {"pair_id": r.pair_id, "prompt_ids": list(r.prompt_ids), "chosen_ids": list(r.chosen_ids),
             "rejected_ids": list(r.rejected_ids)}
            for r in read(store or self.data.main, job, TokenDpoRow) if r.prompt_id in self.texts
        ]  # fmt: skip
        return sorted(made, key=lambda row: drawn(self.seed, job, row["pair_id"]))

    def random_labels(self, draw: int = 0) -> Rows:
        """Two answers of each problem, drawn by lot, that may be the same; of a right and a wrong one every other time the
        right one is preferred, so that labels say nothing about what is right.

        A free coin prefers a few more of one sort, which is enough to teach so small a model; and half of the chosen answers
        of pairs by outcome would be right, which is more than the policy's own share.
        """
        tokens = AutoTokenizer.from_pretrained(NOVICE)
        answers: dict[str, list[Candidate]] = {}
        for candidate in read(self.data.main, "generate", Candidate):
            if candidate.prompt_id in self.texts and candidate.finish_reason == "stop":
                answers.setdefault(candidate.prompt_id, []).append(candidate)
        rows: Rows = []
        mixed = 0
        for prompt_id in sorted(answers, key=lambda each: drawn(self.seed, draw, "random", each)):
            arms = sorted(answers[prompt_id], key=lambda c: drawn(self.seed, draw, "coin", c.candidate_id))[:2]
            if len({c.candidate_id in self.right for c in arms}) == 2:
                arms.sort(key=lambda c: (c.candidate_id in self.right) == (mixed % 2 == 0))
                mixed += 1
            if len(arms) == 2:
                asked = prompt_text("generate", prompt=self.texts[prompt_id], principle="")
                given = (asked, *(f"{c.text}<|end|>" for c in arms))
                ids = [tokens(text, add_special_tokens=False)["input_ids"] for text in given]
                rows.append(
                    {"pair_id": prompt_id, **dict(zip(("prompt_ids", "chosen_ids", "rejected_ids"), ids, strict=True))}
                )
        return rows

    def explained(self) -> Rows:
        """Outcome pairs with a rationale that passed its gate, blind ones first, then the others."""
        found = [r for r in read(self.data.main, "explain", Rationale) if r.status == "ok"]
        blind = {r.pair_id for r in found if not r.label_visible}
        told = {r.pair_id for r in found}
        return sorted(
            self.exported("outcome_pairs"), key=lambda r: (r["pair_id"] not in blind, r["pair_id"] not in told)
        )

    def both(self, count: int) -> Rows:
        """Half pairs of steps, half of whole answers."""
        steps, whole = self.exported("step_pairs"), self.exported("trajectory_pairs")
        return [*steps[: count - count // 2], *whole[: count // 2]]

    def noisy(self, noise: float) -> Rows:
        """Outcome pairs, that share of them turned round."""
        return [turned(r) if is_noise(r["pair_id"], noise) else r for r in self.exported("outcome_pairs")]

    def repaired(self, noise: float) -> Rows:
        """What the repair leaves of the noisy pairs."""
        return self.exported("export", self.data.repaired(noise))

    def forms(self) -> Rows:
        """Pairs about the form of answers."""
        return self.exported("export", self.data.forms)

    def right_answers(self) -> Rows:
        """Right answers as prompt and completion: one of each problem, then second ones."""
        seen: set[tuple[str, str]] = set()
        ranked: list[tuple[int, float, dict[str, Any]]] = []
        count: dict[str, int] = {}
        for candidate in sorted(
            read(self.data.main, "generate", Candidate), key=lambda c: drawn(self.seed, c.candidate_id)
        ):
            if (
                candidate.prompt_id not in self.texts
                or candidate.candidate_id not in self.right
                or (candidate.prompt_id, candidate.text) in seen
            ):
                continue
            seen.add((candidate.prompt_id, candidate.text))
            place = count[candidate.prompt_id] = count.get(candidate.prompt_id, 0) + 1
            prompt = prompt_text("generate", prompt=self.texts[candidate.prompt_id], principle="")
            row = {"prompt": prompt, "completion": f"{candidate.text}<|end|>"}
            ranked.append((place, drawn(self.seed, "sft", candidate.candidate_id), row))
        return [row for *_, row in sorted(ranked, key=lambda r: r[:2])]


def read(store: Store, job: str, table: type[Any]) -> list[Any]:
    """All rows of a job's own table."""
    return [row for shard in sorted(store.done(job)) for row in store.read(job, table, shard, main=True)]


def short(rows: Iterable[Mapping[str, Any]], count: int) -> Sequence[dict[str, Any]]:
    """The first `count`, without what is for us alone. Raises ValueError where two thirds of them are not there."""
    taken = [{k: v for k, v in row.items() if k != "pair_id"} for row in rows][:count]
    if 3 * len(taken) < 2 * count:
        raise ValueError(f"{len(taken)} rows, {count} wanted")
    return taken
