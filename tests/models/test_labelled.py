"""The shipped labelled pairs and gold items: which are wrong is known, and they are what the module makes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.abacus.judging import score
from models.abacus.labelled import gold_items, made_pairs, main, mislabelled
from models.abacus.problems import make_problems, split_of
from models.abacus.solutions import first_wrong, is_correct

FOLDER = Path(__file__).resolve().parents[2] / "models" / "abacus"


def rows(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (FOLDER / name).read_text(encoding="utf-8").splitlines()]


def test_a_fifth_of_the_shipped_labels_is_wrong_and_told() -> None:
    known = {p.text: p for p in make_problems(0, 200, "quickstart")}
    found = rows("labelled.jsonl")
    assert [row["label_right"] for row in found].count(False) == 40
    for row in found:
        better, worse = (row[side] for side in ("chosen", "rejected")[:: 1 if row["label_right"] else -1])
        assert first_wrong(known[row["prompt"]], better) is None
        assert not is_correct(known[row["prompt"]], worse)


def test_shipped_gold_items_are_right_and_of_other_problems() -> None:
    known = {p.text: p for p in make_problems(5, 80, "heldout")}
    found = rows("gold.jsonl")
    assert {split_of(row["prompt"]) for row in found} == {"heldout"}
    assert {row["label"] for row in found} == {"a", "b"}
    for row in found:
        assert first_wrong(known[row["prompt"]], row[f"response_{row['label']}"]) is None
        assert not is_correct(known[row["prompt"]], row["response_b" if row["label"] == "a" else "response_a"])


def test_shipped_scores_are_those_of_the_generator() -> None:
    known = {p.text: p for p in make_problems(3, 60, "quickstart")}
    for row in rows("scored.jsonl"):
        problem = known[row["prompt"]]
        assert row["answer"] == str(problem.answer)
        for side in ("chosen", "rejected"):
            assert row[f"{side}_score"] == score(problem, first_wrong(problem, row[side]))
        assert row["chosen_score"] == 5 > 3 >= row["rejected_score"]


@given(st.integers(0, 50), st.floats(0, 1), st.integers(0, 99))
def test_exactly_the_share_is_turned_round_and_nothing_is_lost(n: int, share: float, seed: int) -> None:
    pairs = [(f"p{i}", "better", "worse") for i in range(n)]
    found = mislabelled(pairs, seed, share)
    assert [row["prompt"] for row in found] == [pair[0] for pair in pairs]
    assert sum(not row["label_right"] for row in found) == round(share * n)
    assert all((row["chosen"] == "better") == row["label_right"] for row in found)
    assert all(row[f"response_{row['label']}"] == "better" for row in gold_items(pairs, seed))


def test_the_command_makes_the_shipped_files_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shipped = {
        "labelled.jsonl": "",
        "gold.jsonl": "--gold --count 80 --seed 5 --split heldout",
        "scored.jsonl": "--scored --count 60 --seed 3",
    }
    for name, options in shipped.items():
        assert main([*options.split(), "--out", str(tmp_path / name)]) == 0
        assert (tmp_path / name).read_bytes() == (FOLDER / name).read_bytes()
    assert made_pairs(0, 1, "quickstart") == made_pairs(0, 1, "quickstart")
    assert "80 pairs in" in capsys.readouterr().out
