"""What a kill costs: where there is a journal, no more than was in flight; else the shards in flight."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from benchmarks import killing
from benchmarks.fault_configs import SUMS, sums

if TYPE_CHECKING:
    from tests.conftest import Site

SLOTS = 2
PER_SHARD = 3


def config(site: Site, journal: bool) -> dict[str, Any]:
    """Searches over twelve sums, three to a shard."""
    sums(site.folder / "sums.jsonl", 12)
    columns = {"prompt": "prompt", "reference": "answer"}
    search = {"stage": "search", "engine": "policy", "delimiters": ["\n"], "sims": 16, "journal": journal,
              "self_eval": {"engine": "critic"}}  # fmt: skip
    return site.config(
        shard_size=PER_SHARD,
        engines={
            "policy": {"kind": "scripted", "function": "faults:noted_sums", "resources": {"slots": SLOTS}},
            "critic": {"kind": "scripted", "function": f"{SUMS}:critic"},
        },
        jobs=[
            {"stage": "prompts", "path": str(site.folder / "sums.jsonl"), "columns": columns}, search,
            {"stage": "pair_trajectories"},
        ],
    )  # fmt: skip


def noted(site: Site) -> list[tuple[str, str, int]]:
    """(asked or said, key, shard) in the order of time; forgotten afterwards."""
    lines = [line.split() for line in (site.folder / "noted").read_text().splitlines()]
    (site.folder / "noted").write_text("")
    return [(what, key, (int(first) - 2) // PER_SHARD) for what, key, first in lines]  # see fault_configs.sums


def most_in_flight(notes: list[tuple[str, str, int]]) -> int:
    """How many requests were under way at once."""
    now = most = 0
    for what, _, _ in notes:
        now += 1 if what == "asked" else -1
        most = max(most, now)
    return most


@pytest.mark.parametrize("journal", [True, False])
def test_a_kill_repeats_what_was_in_flight(site: Site, journal: bool) -> None:
    made = config(site, journal)
    whole = site.calm(made)
    in_peace = noted(site)
    path = site.save(made)
    with site.start("run", path) as process:
        size = (site.folder / "noted").stat
        enough = sum(len(" ".join(map(str, note))) + 1 for note in in_peace) * 0.6
        assert killing.wait_for(lambda: size().st_size > enough, process, 120)
        killing.kill_session(process)
    before = noted(site)
    finished = {int(p.stem) for p in (site.folder / "runs/t/search").glob("*.parquet")}
    code, _, err = site.command("run", path)
    assert code == 0, err
    after = noted(site)
    assert site.files() == whole
    assert site.leftovers() == []
    known = {key for _, key, _ in before}
    repeated = {(key, shard) for what, key, shard in after if what == "asked" and key in known}
    assert {key for _, key, _ in (*before, *after)} == {key for _, key, _ in in_peace}
    assert not {shard for _, shard in repeated} & finished
    if journal:
        assert len(repeated) <= most_in_flight(before)
    else:
        assert most_in_flight(before) < len(repeated)
        assert len({shard for _, shard in repeated}) <= SLOTS
