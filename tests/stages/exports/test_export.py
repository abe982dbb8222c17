"""The export: which pairs a trainer may see, what their rows hold, and that the libraries open the folder."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from pipeline import ids
from pipeline.pair import Context as Condition
from pipeline.pair import Pair
from pipeline.records import Message, Rationale, Record
from pipeline.stage import Summary
from stages.exports.arms import ChatMessage
from stages.exports.card import fenced, table
from stages.exports.export import Export
from stages.exports.formats import format_names
from stages.exports.trl_dpo import TrlDpoRationaleRow, TrlDpoRow
from tests.stages.exports.example_rows import pair_of, rationale, run, said


def test_a_pair_becomes_a_row_of_plain_messages() -> None:
    pair = pair_of(" 4 \n", "5")
    [row], rejects, counts = run(pair)
    assert row == TrlDpoRow(
        prompt_id=pair.prompt_id,
        pair_id=pair.pair_id,
        prompt=(ChatMessage("system", "Be brief."), ChatMessage("user", "2+2?")),
        chosen=(ChatMessage("assistant", "4"),),
        rejected=(ChatMessage("assistant", "5"),),
    )
    assert (rejects, counts) == ([], {"exported": 1})


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"rejected_prompt_messages": (Message("user", "3+3?"),)}, "prompt_differs"),
        ({"prompt_messages": (Message("user", "2+2?"), Message("assistant", "Step 1"))}, "prompt_answered"),
        ({"chosen_terminal": False}, "not_terminal"),
        ({"rejected_terminal": False}, "not_terminal"),
        ({"context_id": "x", "context": Condition("given", "It rains.", "system")}, "context_missing"),
        ({"context_id": "x"}, "context_missing"),
        ({"chosen_messages": said("4", "5")}, "several_messages"),
        ({"chosen_messages": (Message("assistant", "4", None, "{}"),)}, "tool_calls"),
        ({"chosen_messages": (Message("assistant", "4", "2+2 is 4", None),)}, "reasoning"),
        ({"tools_json": "[]"}, "tools"),
        ({"context_id": "x", "context": Condition("given", "  ", "system")}, "context_missing"),
        ({"chosen_messages": said(" \n")}, "empty"),
        ({"chosen_messages": said("5\n")}, "identical_text"),
    ],
)
def test_a_pair_that_the_trainer_would_misread_is_refused_with_a_reason(changes: dict[str, Any], reason: str) -> None:
    pair = pair_of(**changes)
    rows, [reject], counts = run(pair)
    assert rows == []
    assert (reject.subject, reject.subject_id, reject.reason) == ("pair", pair.pair_id, reason)
    assert counts == {f"refused:{reason}": 1}


@given(st.text(), st.text(min_size=1), st.text(), st.text(min_size=1))
@settings(deadline=None)
def test_an_unfinished_step_is_exported_as_prefix_step_and_tail(prefix: str, step: str, tail: str, other: str) -> None:
    pair = pair_of(
        assistant_prefix=prefix, chosen_messages=said(step), rejected_messages=said(other), chosen_terminal=False,
        rejected_terminal=False, chosen_tail=tail, rejected_tail="",
    )  # fmt: skip
    rows, rejects, _ = run(pair)
    if rows:
        assert rows[0].chosen[0].content == (prefix + step + tail).strip()
        assert rows[0].rejected[0].content == (prefix + other).strip()
    else:
        assert rejects[0].reason in ("empty", "identical_text")


def test_a_context_that_the_prompt_shows_is_exported() -> None:
    rows, _, _ = run(pair_of(context_id="x", context=Condition("given", "Be brief.", "system")))
    assert len(rows) == 1


@pytest.mark.parametrize(
    ("sources", "kept", "reasons"),
    [
        (("judge", "judge"), None, ["contradiction", "contradiction"]),
        (("judge", "verifier"), 1, ["contradiction"]),
        (("human", "rm"), 0, ["contradiction"]),
    ],
)
def test_opposite_labels_of_the_same_answers_never_both_pass(
    sources: tuple[str, str], kept: int | None, reasons: list[str]
) -> None:
    pairs = pair_of("4", "5", sources[0]), pair_of("5", "4", sources[1])
    rows, rejects, _ = run(*pairs)
    assert [r.pair_id for r in rows] == ([] if kept is None else [pairs[kept].pair_id])
    assert [r.reason for r in rejects] == reasons


def test_the_same_pair_from_two_jobs_is_exported_once() -> None:
    rows, [reject], counts = run(pair_of(), pair_of(source="verifier"))
    assert len(rows) == 1
    assert reject.reason == "duplicate"
    assert counts == {"refused:duplicate": 1, "exported": 1}


@settings(deadline=None)
@given(st.lists(st.tuples(*[st.sampled_from(["4", "5", "6", " 4", ""])] * 2, st.booleans()), max_size=6))
def test_every_pair_is_exported_or_refused(arms: list[tuple[str, str, bool]]) -> None:
    pairs = [pair_of(c, r, chosen_terminal=done) for c, r, done in arms]
    rows, rejects, counts = run(*pairs)
    assert len(rows) + len(rejects) == len(pairs) == sum(counts.values())
    assert Counter(f"refused:{r.reason}" for r in rejects) == {k: n for k, n in counts.items() if k != "exported"}


def test_the_rationale_that_goes_along_passed_its_gate_and_was_written_blind_if_any_was() -> None:
    pair, bare = pair_of(), pair_of("4", "6")
    told = rationale(pair, "0", label_visible=True)
    failed = rationale(pair, "1", status="rejected")
    short = rationale(pair, "2", kind="general")
    good = rationale(pair, "3", shown_order=1)
    [row, other], _, _ = run(pair, bare, reasons=[told, failed, short, good], rationales=True)
    assert isinstance(row, TrlDpoRationaleRow)
    assert (row.rationale, row.rationale_kind, row.rationale_response_a) == ("3", "detailed", "rejected")
    assert (other.rationale, other.rationale_response_a) == (None, None)


def test_messages_have_no_further_keys() -> None:
    assert ChatMessage.__struct_fields__ == ("role", "content")


def test_an_unknown_format_is_an_error_that_lists_the_formats() -> None:
    assert "trl-dpo" in format_names()
    with pytest.raises(ValidationError, match=r"formats: .*trl-dpo"):
        Export.model_validate({"format": "trl"})


def test_what_it_needs_and_makes_follows_from_its_fields() -> None:
    assert (Export().needs(), Export().makes()) == ((Pair,), (TrlDpoRow,))
    assert Export(rationales=True).needs() == (Pair, Rationale)
    assert Export(rationales=True).makes() == (TrlDpoRationaleRow,)


class Letters:
    """A tokenizer with one token per character."""

    special = ("<e>",)

    def encode(self, text: str) -> list[int]:
        return [ord(c) for c in text]

    def chat(self, messages: Sequence[Message]) -> list[int]:
        return [0, *(ord(c) for m in messages for c in f"{m.content}\n")]


def test_lengths_are_checked_where_a_tokenizer_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stages.exports.export.load_tokenizer", lambda path: Letters())
    late, long = pair_of("x" * 90 + "4", "x" * 90 + "5"), pair_of(question="y" * 200)
    rows, rejects, _ = run(late, long, pair_of(), tokenizer="letters", max_length=80)
    assert len(rows) == 1
    assert [r.reason for r in rejects] == ["identical_truncated", "too_long"]
    assert len(run(late, long, pair_of())[0]) == 3
    [reject] = run(pair_of("4<e>"), tokenizer="letters")[1]
    assert (reject.reason, "<e>" in reject.detail) == ("control_tokens", True)


HOSTILE = 'ends here ``` \n````\n# Title\n| a | <img src=x onerror="x"> ---\n- [x](javascript:1)\nlicense: mit'


def summary_of(rows: Sequence[Record], **changes: Any) -> Summary:
    fields: dict[str, Any] = {
        "run": "my-run", "job": "export", "shards": {"00000.parquet": 1, "00001.parquet": len(rows) - 1},
        "recipes": {
            "prompts": {"stage": "prompts", "fields": {"path": "sums.jsonl"}, "templates": {"x": "secret"}},
            "export": {"stage": "export", "fields": {"format": "trl-dpo"}},
        },
        "counts": {
            "prompts": {"rows_in": 9, "rows_out": 8, "reject:row:broken_json": 1},
            "pair_responses": {"rows_in": 8, "rows_out": 5, "kept": 5, "refused:tie": 1, "no_pair:all_right": 2},
            "export": {"exported": len(rows), "refused:not_terminal": 2, "reject:pair:not_terminal": 2},
        },
        "first_rows": tuple(msgspec.to_builtins(row) for row in rows[:3]),
    }  # fmt: skip
    return Summary(**{**fields, **changes})


def test_the_card_tells_columns_counts_and_reasons() -> None:
    [row], _, _ = run(pair_of())
    files = Export(max_length=512, license="mit").finish(summary_of([row]))
    text = files["README.md"]
    _, head, body = text.split("---\n", 2)
    assert yaml.safe_load(head)["license"] == "mit"
    assert yaml.safe_load(head)["configs"][0]["data_files"] == [{"split": "train", "path": "[0-9]*.parquet"}]
    for wanted in (
        "| prompts | 9 | 8 |", "| pair_responses | prompt without a pair | all_right | 2 |",
        "| export | refused | not_terminal | 2 |", "| prompts | row rejected | broken_json | 1 |",
        "max_length=512", '"path": "sums.jsonl"', "| chosen | the better answer", "DPOTrainer", "Licence: mit",
    ):  # fmt: skip
        assert wanted in body
    assert body.count("not_terminal") == 1
    assert "secret" not in body


def test_the_manifest_names_the_rows_of_each_shard_and_all_recipes_and_no_time() -> None:
    [row], _, _ = run(pair_of())
    summary = summary_of([row] * 3)
    text = Export().finish(summary)["manifest.json"]
    manifest = json.loads(text)
    assert (manifest["rows"], manifest["shards"]) == (3, {"00000.parquet": 1, "00001.parquet": 2})
    assert (manifest["format"], manifest["recipes"], manifest["counts"]) == ("trl-dpo", summary.recipes, summary.counts)
    assert manifest["fingerprint"] == ids.content_hash("job/1", {"stage": "export", "fields": {"format": "trl-dpo"}})
    assert text == Export().finish(summary)["manifest.json"]


def test_text_of_a_model_cannot_leave_its_fence_in_the_card() -> None:
    [row], _, _ = run(pair_of(HOSTILE, "5", question=HOSTILE))
    text = Export(license=HOSTILE).finish(summary_of([row]))["README.md"]
    _, head, body = text.split("---\n", 2)
    assert yaml.safe_load(head)["license"] == HOSTILE
    outside, fence = [], ""
    for line in body.splitlines():
        marks = line[: len(line) - len(line.lstrip("`"))]
        if not fence and len(marks) >= 3:
            fence = marks
        elif fence and line.strip() == fence:
            fence = ""
        elif not fence:
            outside.append(line)
    assert fence == ""
    assert [line for line in outside if line.startswith("# ")] == ["# my-run"]
    assert not any("<img" in line.replace("\\<", "") for line in outside)


@given(st.text())
@settings(deadline=None)
def test_a_fence_is_longer_than_any_run_of_backticks_inside(text: str) -> None:
    first, *_, last = fenced(text, "json").split("\n")
    fence = first.removesuffix("json")
    assert last == fence
    assert fence not in text


def test_a_table_cell_cannot_end_its_row() -> None:
    assert table(("a",), [("x | y\nz",)]) == "| a |\n| --- |\n| x \\| y z |"


def folder_of(path: Path, n: int = 6) -> Path:
    """A finished export as it lies on disk: two shards, card, manifest, recipe and rejects beside."""
    rows = [run(pair_of(str(i), f"not {i}", question=f"{i}+0?"))[0][0] for i in range(n)]
    message = pa.list_(pa.struct([pa.field("role", pa.string(), False), pa.field("content", pa.string(), False)]))
    texts = [pa.field(name, pa.string(), False) for name in ("prompt_id", "pair_id")]
    schema = pa.schema([*texts, *(pa.field(name, message, False) for name in ("prompt", "chosen", "rejected"))])
    path.mkdir()
    for shard, part in enumerate((rows[: n // 2], rows[n // 2 :])):
        table = pa.Table.from_pylist(msgspec.to_builtins(part), schema=schema)
        pq.write_table(table, path / f"{shard:05d}.parquet", compression="zstd")
    for name, text in Export().finish(summary_of(rows)).items():
        (path / name).write_text(text, encoding="utf-8")
    (path / "job.json").write_text('{"fingerprint": "x", "recipe": {}}', encoding="utf-8")
    (path / "rejects").mkdir()
    pq.write_table(pa.table({"reason": ["tie"]}), path / "rejects" / "00000.parquet")
    return path


@pytest.mark.slow  # importing the library takes seconds
def test_datasets_opens_the_folder_with_all_that_lies_beside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("datasets")
    folder = folder_of(tmp_path / "export")
    monkeypatch.setattr("datasets.config.HF_DATASETS_OFFLINE", True)
    data = datasets.load_dataset(str(folder), split="train", cache_dir=str(tmp_path / "cache"))
    assert (len(data), data.column_names) == (6, ["prompt_id", "pair_id", "prompt", "chosen", "rejected"])
    assert data[4]["prompt"][1] == {"role": "user", "content": "4+0?"}
    assert data[4]["chosen"] == [{"role": "assistant", "content": "4"}]


def test_pandas_and_duckdb_open_the_shards_as_they_lie(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "export")
    pandas, duckdb = pytest.importorskip("pandas"), pytest.importorskip("duckdb")
    frame = pandas.concat(pandas.read_parquet(f) for f in sorted(folder.glob("*.parquet")))
    assert frame["chosen"].iloc[0][0]["content"] == "0"
    found = duckdb.sql(f"select count(*), max(rejected[1].content) from '{folder}/*.parquet'").fetchall()
    assert found == [(6, "not 5")]
