"""What feedback loops are worth on the embedded model, where truth is known, each beside the same spending without the loop.

Rounds: the share of problems with a right pair (chosen right, rejected wrong) after one, two and three rounds of
`refine_pairs`, and of right revisions by `revise`; `blind` asks as often and shows no critique. The judges:
benchmarks/loop_judges.py.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import duckdb

from benchmarks import loop_judges
from benchmarks.figures import Figure, synth
from models.abacus.problems import make_problems, write_problems
from pipeline.config import read_config

SEED, PROBLEMS, JUDGED = 5, 150, 800
BLIND = "{% block user %}{{ prompt }}{% endblock %}"


def _config(folder: Path) -> dict[str, Any]:
    """generate, then both loops with and without critique; each from the same answers."""
    config = read_config("loops")
    by_name = {job.get("name", job["stage"]): job for job in config["jobs"]}
    source = by_name["prompts"] | {"path": str(folder / "problems.jsonl")}
    del source["limit"]
    blind = {}
    for stage in ("revise", "refine_pairs"):
        blind[stage] = str(folder / f"{stage}.j2")
        Path(blind[stage]).write_text(BLIND, encoding="utf-8")
    jobs: list[dict[str, Any]] = [source, by_name["generate"]]
    for name, template in (("revise", "abacus"), ("revise_blind", blind["revise"])):
        jobs.append(by_name["revise"] | {"name": name, "from": "generate", "template": template})
    for rounds in (1, 2, 3):
        for name, template in (("refine", "abacus"), ("blind", blind["refine_pairs"])):
            if (name, rounds) != ("blind", 1):  # it is the same
                made = {"name": f"{name}_{rounds}", "from": "generate", "template": template, "rounds": rounds}
                jobs.append(by_name["refine_pairs"] | made)
    jobs.append({"stage": "verify", "from": [job["name"] for job in jobs if "name" in job]})
    return config | {"name": "rounds", "shard_size": 100, "jobs": jobs}


class Tables:
    """The tables of the run, with the truth beside them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "runs/rounds"
        self._database = duckdb.connect()
        self._database.execute(
            "create view truth as select cand_ids[1] as who, any_value(value) >= 0.5 as fine "
            f"from {self.of('verify')} group by 1"
        )

    def of(self, job: str) -> str:
        """A table's expression."""
        return f"read_parquet('{self._folder}/{job}/*.parquet')"

    def one(self, query: str) -> tuple[Any, ...]:
        """The first row."""
        return tuple(self._database.execute(query).fetchall()[0])

    def pairs(self, job: str) -> tuple[int, int]:
        """(right pairs, all pairs)."""
        right, n = self.one(
            f"select coalesce(sum((a.fine and not b.fine)::int), 0), count(*) from {self.of(job)} p "
            "join truth a on a.who = p.chosen_gen.candidate_id join truth b on b.who = p.rejected_gen.candidate_id"
        )
        return int(right), int(n)

    def revisions(self, job: str) -> tuple[float, float, int]:
        """(share of right drafts, share of right revisions, revisions)."""
        found = self.one(
            f"select avg(d.fine::int), avg(r.fine::int), count(*) from {self.of(job)} c "
            "join truth r on r.who = c.candidate_id "
            "join truth d on d.who = json_extract_string(c.ext_json, '$.made.parent_id')"
        )
        return float(found[0]), float(found[1]), int(found[2])


def _rounds(tables: Tables) -> Figure:
    told: dict[str, Any] = {"problems": PROBLEMS}
    value = 0.0
    for name in ("refine_1", "refine_2", "refine_3", "blind_2", "blind_3"):
        right, n = tables.pairs(name)
        told[name] = f"{right / PROBLEMS:.3f} of problems, {right / max(1, n):.3f} of {n} pairs"
        value = right / PROBLEMS if name == "refine_3" else value
    return Figure("refine_right_pairs", round(value, 4), "share of problems", "more than after round 1", told)


def _revisions(tables: Tables) -> Figure:
    told: dict[str, Any] = {}
    for name in ("revise", "revise_blind"):
        drafts, revisions, n = tables.revisions(name)
        told[name] = f"{drafts:.3f} of drafts right, {revisions:.3f} of {n} revisions"
    return Figure(
        "revise_right", round(tables.revisions("revise")[1], 4), "share of revisions", "more than blind", told
    )


def run() -> list[Figure]:
    """Figures of all four loops."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_problems(folder / "problems.jsonl", make_problems(SEED, PROBLEMS, "heldout"))
        synth(_config(folder), folder)
        tables = Tables(folder)
        found = [_rounds(tables), _revisions(tables)]
        return found + loop_judges.run(folder, make_problems(SEED + 1, JUDGED, "heldout"))
