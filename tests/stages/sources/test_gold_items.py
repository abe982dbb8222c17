"""Gold files: what a line becomes, and what happens to lines that are none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import PlanError, Rejected
from pipeline.pair import Pair
from pipeline.records import Candidate, Judgment, Prompt, Record, Reject, Source
from pipeline.stage import Slice
from stages.sources.gold_items import GoldItems
from stages.sources.gold_rows import gold_records

ROW = {"prompt": "2 + 2?", "response_a": "4", "response_b": "5", "label": "a"}


def records(pairs: bool = False, **more: Any) -> list[Record]:
    return gold_records({**ROW, **more}, "gold", Source("sums"), "7", pairs)


def judged(**verdicts: Any) -> list[tuple[int | None, int, float | None, str]]:
    found = [r for r in records(verdicts=verdicts) if isinstance(r, Judgment)]
    return [(j.order, j.sample_idx, j.value, j.status) for j in found]


def written(folder: Path, *rows: Any) -> GoldItems:
    path = folder / "gold.jsonl"
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    return GoldItems(path=str(path))


def test_an_item_is_a_prompt_with_two_candidates() -> None:
    prompt, a, b = records(domain="sums", adversarial=True, id=12)
    assert isinstance(prompt, Prompt)
    assert json.loads(prompt.ext_json or "") == {"adversarial": True, "domain": "sums", "label": "a"}
    assert prompt.source.row_id == "12"
    assert isinstance(a, Candidate)
    assert isinstance(b, Candidate)
    assert (a.text, a.sample_idx, b.text, b.sample_idx) == ("4", 0, "5", 1)


EDITS: list[dict[str, Any]] = [{}, {"response_b": "6"}, {"id": "x"}, {"id": "y"}]


def test_the_same_question_with_other_answers_or_another_id_is_another_item() -> None:
    ids = {records(**more)[0].prompt_id for more in EDITS}
    assert len(ids) == 4


@pytest.mark.parametrize(
    ("said", "rows"),
    [
        ("a", [(0, 0, 1.0, "ok")]),
        ("B", [(0, 0, 0.0, "ok")]),
        ("tie", [(0, 0, 0.5, "ok")]),
        (0.8, [(0, 0, 0.8, "ok")]),
        (None, [(0, 0, None, "parse_error")]),
        ("neither of them", [(0, 0, None, "parse_error")]),
        ("refused", [(0, 0, None, "refused")]),
        (7, [(0, 0, None, "out_of_range")]),
        ({"ab": "a", "ba": "b"}, [(0, 0, 1.0, "ok"), (1, 0, 0.0, "ok")]),
        ({"ba": ["a", None]}, [(1, 0, 1.0, "ok"), (1, 1, None, "parse_error")]),
    ],
)
def test_a_verdict_is_a_row_for_each_call_and_what_cannot_be_read_has_no_value(said: Any, rows: Any) -> None:
    assert judged(judge=said) == rows


def test_a_judge_without_a_verdict_has_no_row() -> None:
    assert judged() == []


def test_rewards_are_a_row_for_each_answer() -> None:
    found = [r for r in records(rewards={"rm": [1.5, "-2"], "other": [None, 0]}) if isinstance(r, Judgment)]
    assert [(j.judge_id, j.mode, j.value, j.status) for j in found] == [
        ("other", "rm", None, "na"), ("other", "rm", 0.0, "ok"), ("rm", "rm", 1.5, "ok"), ("rm", "rm", -2.0, "ok")
    ]  # fmt: skip


def test_the_label_becomes_a_pair_where_it_is_wanted() -> None:
    (pair,) = [r for r in records(pairs=True, label="b") if isinstance(r, Pair)]
    assert (pair.chosen_messages[0].content, pair.rejected_messages[0].content, pair.label_source) == (
        "5",
        "4",
        "given",
    )
    assert not [r for r in records(pairs=True, label="tie") if isinstance(r, Pair)]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"label": "1"}, "bad_label"),
        ({"response_a": True}, "non_text_response_a"),
        ({"response_b": None}, "missing_response_b"),
        ({"prompt": ""}, "empty_prompt"),
        ({"verdicts": ["a"]}, "bad_verdicts"),
        ({"verdicts": {"j": {"first": "a"}}}, "bad_verdicts"),
        ({"rewards": {"j": 3}}, "bad_rewards"),
    ],
)
def test_a_line_that_is_no_item_says_why(change: dict[str, Any], reason: str) -> None:
    with pytest.raises(Rejected) as why:
        records(**change)
    assert why.value.reason == reason


def test_an_empty_answer_is_an_answer() -> None:
    assert records(response_b="")[2].text == ""  # type: ignore[attr-defined]


def test_a_repeated_item_and_a_broken_line_cost_one_row_each(tmp_path: Path) -> None:
    gold = written(tmp_path, ROW, {**ROW, "label": "z"}, ROW, {**ROW, "prompt": "3 + 3?"})
    index = gold.index(shard_size=3)
    assert [part[:2] for part in index.slices] == [(0, 3), (3, 4)]
    rows = [
        row for start, stop, at in index.slices for row in gold.read(Slice(start, stop, at), index.duplicates, "gold")
    ]
    rejects = {row.reason: row.detail for row in rows if isinstance(row, Reject)}
    assert rejects.keys() == {"bad_label", "duplicate_item"}
    assert "repeats gold.jsonl:1" in rejects["duplicate_item"]
    assert sum(isinstance(row, Prompt) for row in rows) == 2


def test_a_file_without_any_item_is_refused_before_the_run(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match=r"no gold file \(missing_response_a"):
        written(tmp_path, {"prompt": "2 + 2?", "answer": "4"}).check()
