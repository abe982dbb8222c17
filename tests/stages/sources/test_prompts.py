"""The source: what every row becomes, and what a reader is told about the rows that are none."""

from __future__ import annotations

import gzip
import json
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from pipeline import ids
from pipeline.errors import PlanError
from pipeline.pair import Pair
from pipeline.records import Candidate, Judgment, Message, Prompt, Record, Reject
from pipeline.stage import Slice, SourceIndex
from stages.sources import repeats
from stages.sources.prompts import Prompts
from stages.sources.repeats import repeated

DATA = Path(__file__).resolve().parents[3] / "../shared/data"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="the shared data folder is not here")
QA = {"prompt": "question", "reference": "answer"}


def stage(path: Path, columns: dict[str, Any] | None = None, **fields: Any) -> Prompts:
    return Prompts.model_validate({"path": str(path), "columns": columns or QA, **fields})


def lines(path: Path, *rows: object) -> Path:
    path.write_bytes(b"".join(r if isinstance(r, bytes) else json.dumps(r).encode() + b"\n" for r in rows))
    return path


def everything(source: Prompts, shard_size: int = 128) -> tuple[list[Record], SourceIndex]:
    index = source.index(shard_size)
    return [r for part in index.slices for r in source.read(Slice(*part), index.duplicates, "prompts")], index


def only(rows: list[Record], kind: type[Any]) -> list[Any]:
    return [r for r in rows if isinstance(r, kind)]


def test_a_row_becomes_a_prompt_with_its_reference_and_origin(tmp_path: Path) -> None:
    columns = {**QA, "system": "sys", "row_id": "meta.id", "lang": "lang", "keep": ["meta.level", "tags"]}
    row = {
        "question": "2+2?",
        "answer": 4,
        "sys": "Be brief.",
        "meta": {"id": "x1", "level": 3},
        "tags": ["a"],
        "lang": "en",
    }
    [prompt], _ = everything(stage(lines(tmp_path / "sums.jsonl", row), columns, license="MIT"))
    assert prompt == Prompt(
        prompt_id=ids.prompt_id((Message("system", "Be brief."), Message("user", "2+2?"))),
        base_prompt_id=prompt.prompt_id,
        messages=(Message("system", "Be brief."), Message("user", "2+2?")),
        reference="4",
        source=prompt.source,  # type: ignore[attr-defined]
        ext_json='{"meta.level":3,"tags":["a"]}',
    )
    origin = prompt.source
    assert (origin.dataset, origin.row_id, origin.license, origin.lang) == ("sums", "x1", "MIT", "en")


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"question": "a", \n', "broken_json"),
        (b'{"question": "caf\xe9", "answer": "1"}\n', "invalid_utf8"),
        (b'["question"]\n', "not_an_object"),
        (b"\n", "broken_json"),
        (b'{"question": " ", "answer": "1"}\n', "empty_prompt"),
        (b'{"answer": "1"}\n', "missing_prompt"),
        (b'{"question": null}\n', "missing_prompt"),
        (b'{"question": true, "answer": "1"}\n', "non_text_prompt"),
        (b'{"question": 5}\n', "non_text_prompt"),
        (b'{"question": "c", "answer": false}\n', "non_text_reference"),
        (b'{"question": "a", "answer": "again"}\n', "duplicate_prompt"),
    ],
)
def test_a_row_that_is_no_prompt_is_rejected_with_file_and_line(tmp_path: Path, line: bytes, reason: str) -> None:
    path = lines(tmp_path / "in.jsonl", {"question": "a", "answer": "1"}, line, {"question": "b", "answer": NAN})
    rows, index = everything(stage(path))
    [reject] = only(rows, Reject)
    assert (reject.prompt_id, reject.subject, reject.reason) == ("", "row", reason)
    assert reject.detail.startswith("in.jsonl:2: ")
    assert [p.text for p in only(rows, Prompt)] == ["a", "b"]
    assert index.rows == 3


def test_text_in_parquet_that_is_no_utf8_costs_that_row(tmp_path: Path) -> None:
    raw = pa.array([b"a", b"caf\xe9", b"b"], pa.binary())
    text = pa.StringArray.from_buffers(3, raw.buffers()[1], raw.buffers()[2])  # unchecked, as other writers leave it
    pq.write_table(pa.table({"question": text, "answer": ["1", "2", "3"]}), tmp_path / "in.parquet")
    rows, index = everything(stage(tmp_path / "in.parquet"))
    assert [(r.reason, r.detail) for r in only(rows, Reject)] == [
        ("invalid_utf8", "in.parquet:2: byte 0xe9 is no UTF-8")
    ]  # fmt: skip
    assert [p.text for p in only(rows, Prompt)] == ["a", "b"]
    assert index.rows == 3


NAN = float("nan")  # Python writes it into JSON; one such value must not cost the row


@pytest.mark.parametrize(
    ("written", "read"),
    [("\\ud83d half", "� half"), ("half \\ude00", "half �"), ("\\ud83d\\ude00", "😀"), ("\\\\ud83d", "\\ud83d")],
)
def test_half_of_a_surrogate_pair_costs_that_character(tmp_path: Path, written: str, read: str) -> None:
    line = f'{{"question": "{written}", "answer": "{written}", "kept": ["{written}"]}}\n'.encode()
    columns = {**QA, "keep": ["kept"]}
    [prompt], _ = everything(stage(lines(tmp_path / "in.jsonl", line), columns))
    assert (prompt.text, prompt.reference, json.loads(prompt.ext_json)["kept"]) == (read, read, [read])  # type: ignore[attr-defined]


@pytest.mark.parametrize("size", [1, 2, 4, 128])
def test_a_repeated_prompt_names_the_line_it_repeats_wherever_that_is(tmp_path: Path, size: int) -> None:
    path = lines(tmp_path / "in.jsonl", *({"question": q, "answer": "1"} for q in "abcbaa"))
    rows, index = everything(stage(path), size)
    assert index.duplicates == {3: 1, 4: 0, 5: 0}
    assert index == SourceIndex.model_validate_json(index.model_dump_json())
    assert [r.detail for r in only(rows, Reject)] == [
        "in.jsonl:4: repeats the prompt of in.jsonl:2",
        "in.jsonl:5: repeats the prompt of in.jsonl:1",
        "in.jsonl:6: repeats the prompt of in.jsonl:1",
    ]


@settings(deadline=None)
@given(st.lists(st.sampled_from(["a", "b", "c", "d", "", None, "broken"]), min_size=1, max_size=30), st.integers(1, 8))
def test_rows_in_are_prompts_plus_rejected_rows_for_any_sharding(
    tmp_path_factory: pytest.TempPathFactory, questions: list[str | None], size: int
) -> None:
    path = tmp_path_factory.mktemp("rows") / "in.jsonl"
    lines(path, {"question": "z"}, *(b"{\n" if q == "broken" else {"question": q} for q in questions))
    source = stage(path, {"prompt": "question"})
    rows, index = everything(source, size)
    assert len(only(rows, Prompt)) + sum(r.subject == "row" for r in only(rows, Reject)) == index.rows
    assert index.rows == len(questions) + 1
    assert [p.text for p in only(rows, Prompt)] == list(
        dict.fromkeys(["z", *(q for q in questions if q and q != "broken")])
    )
    whole, _ = everything(source, 1000)
    assert [r for r in rows if not isinstance(r, Reject)] == [r for r in whole if not isinstance(r, Reject)]
    assert [s[1] - s[0] for s in index.slices[:-1]] == [size] * (len(index.slices) - 1)


@settings(deadline=None)
@given(st.lists(st.integers(0, 5), max_size=60), st.booleans(), st.sampled_from((1 << 20, 7)))
def test_repetitions_are_those_a_dictionary_finds(keys: list[int], adjacent_too: bool, together: int) -> None:
    wanted: dict[int, int] = {}
    first: dict[int, int] = {}
    for row, key in enumerate(keys):
        if key and first.setdefault(key, row) != row and (adjacent_too or _broken(keys, row)):
            wanted[row] = first[key]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(repeats, "TOGETHER", together)
        found = repeated(b"".join(bytes([key, *[0] * 14, key]) for key in keys), adjacent_too)
    assert list(found.items()) == list(wanted.items())


def _broken(keys: list[int], row: int) -> bool:
    """Whether another prompt stands between `row` and the first row of the same prompt."""
    between = keys[keys.index(keys[row]) : row]
    return any(key not in (0, keys[row]) for key in between)


def test_slices_carry_the_byte_offset_they_begin_at(tmp_path: Path) -> None:
    path = lines(tmp_path / "in.jsonl", *({"question": f"é {i}"} for i in range(10)))
    index = stage(path, {"prompt": "question"}).index(4)
    data = path.read_bytes()
    assert [(start, stop) for start, stop, _ in index.slices] == [(0, 4), (4, 8), (8, 10)]
    assert [json.loads(data[at:].split(b"\n")[0])["question"] for _, _, at in index.slices] == ["é 0", "é 4", "é 8"]


def write_as(path: Path, rows: list[dict[str, Any]]) -> str:
    """The same rows in the format that the name of `path` asks for."""
    data = b"".join(json.dumps(r).encode() + b"\n" for r in rows)
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(data))
    elif path.suffix == ".zst":
        with pa.output_stream(str(path), compression="zstd") as stream:
            stream.write(data)
    elif path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=7)
    else:
        path.mkdir()
        for i in range(0, len(rows), 10):
            pq.write_table(pa.Table.from_pylist(rows[i : i + 10]), path / f"{i:03d}.parquet", row_group_size=3)
    return str(path)


@pytest.mark.parametrize("name", ["in.jsonl.gz", "in.jsonl.zst", "in.parquet", "folder"])
@pytest.mark.parametrize("order", [1, -1])
def test_every_format_gives_the_same_prompts(tmp_path: Path, name: str, order: int) -> None:
    rows = [{"question": f"q{i}", "deep": {"answer": i}, "unused": [1.5]} for i in range(25)]
    columns = {"prompt": "question", "reference": "deep.answer"}
    plain, _ = everything(stage(lines(tmp_path / "in.jsonl", *rows), columns, dataset="d"))
    source = Prompts.model_validate({"path": write_as(tmp_path / name, rows), "columns": columns, "dataset": "d"})
    index = source.index(4)
    assert index.rows == 25
    found = {part[0]: list(source.read(Slice(*part), {}, "prompts")) for part in index.slices[::order]}
    assert [r for start in sorted(found) for r in found[start]] == plain


def test_a_row_of_a_folder_is_named_by_its_file(tmp_path: Path) -> None:
    rows = [{"question": "" if i == 12 else f"q{i}"} for i in range(15)]
    found, _ = everything(stage(Path(write_as(tmp_path / "many", rows)), {"prompt": "question"}))
    assert [r.detail for r in only(found, Reject)] == ["010.parquet:3: the prompt is empty"]


@pytest.mark.slow  # importing the library takes seconds
def test_hugging_face_data_sets_are_read_from_local_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_DATASETS_OFFLINE", "1")
    path = lines(tmp_path / "in.jsonl", *({"question": f"q{i}", "answer": str(i), "unused": i} for i in range(9)))
    hub = {"path": "json", "data_files": str(path), "split": "train[:7]"}
    source = Prompts.model_validate({"hf": hub, "columns": QA})
    source.check()
    rows, index = everything(source, 3)
    assert [(p.text, p.reference) for p in only(rows, Prompt)] == [(f"q{i}", str(i)) for i in range(7)]
    assert index.stamp == source.stamp()


def test_candidates_come_with_models_scores_and_their_own_rejects(tmp_path: Path) -> None:
    columns = {"prompt": "q", "candidates": "answers", "candidate_text": "body", "candidate_score": "stars"}
    answers = [
        {"body": "one", "model": "m1", "stars": 5}, {"body": "", "model": "m2", "stars": 1},
        {"body": True, "model": "m3"}, {"body": "two", "model": "m4", "stars": "N/A"}, {"body": "three", "stars": 9},
    ]  # fmt: skip
    path = lines(tmp_path / "in.jsonl", {"q": "why?", "answers": answers}, {"q": "how?", "answers": [{"body": None}]})
    source = stage(path, columns, score_range=[1, 5])
    rows, _ = everything(source)
    assert source.makes() == (Prompt, Candidate, Judgment)
    made = only(rows, Candidate)
    assert [(c.text, c.model, c.sample_idx) for c in made] == [("one", "m1", 0), ("two", "m4", 3), ("three", None, 4)]
    prompt_id = made[0].prompt_id
    assert made[0].candidate_id == ids.content_hash("cand/1", prompt_id, "m1", 0, "one")
    assert [(j.value, j.status) for j in only(rows, Judgment)] == [
        (5, "ok"),
        (None, "parse_error"),
        (None, "out_of_range"),
    ]
    assert Counter((r.subject, r.reason) for r in only(rows, Reject)) == {
        ("candidate", "empty_candidate"): 1, ("candidate", "non_text_candidate"): 1, ("row", "no_candidate"): 1,
    }  # fmt: skip


TALK = [{"role": "user", "content": "Hi?"}]
YES, NO = {"role": "assistant", "content": "Yes."}, {"role": "assistant", "content": "No."}


@pytest.mark.parametrize(
    ("columns", "row"),
    [
        ({"prompt": "p"}, {"p": "Hi?", "chosen": "Yes.", "rejected": "No."}),
        ({"prompt": "p"}, {"p": TALK, "chosen": [YES], "rejected": [NO]}),
        ({}, {"chosen": [*TALK, YES], "rejected": [*TALK, NO]}),
        ({"prompt": "p"}, {"p": "Hi?", "chosen": [*TALK, YES], "rejected": [*TALK, NO]}),
        (
            {},
            {"chosen": [{"from": "human", "value": "Hi?"}, {"from": "gpt", "value": "Yes."}], "rejected": [*TALK, NO]},
        ),
    ],
)
def test_ready_pairs_are_read_in_every_common_form(
    tmp_path: Path, columns: dict[str, str], row: dict[str, Any]
) -> None:
    source = stage(lines(tmp_path / "in.jsonl", row), {**columns, "chosen": "chosen", "rejected": "rejected"})
    rows, _ = everything(source)
    assert source.makes() == (Prompt, Candidate, Pair)
    [prompt], [chosen, rejected], [pair] = (only(rows, kind) for kind in source.makes())
    assert (chosen.text, rejected.text) == ("Yes.", "No.")
    assert pair.prompt_messages == (Message("user", "Hi?"),)
    assert (pair.chosen_messages[0].content, pair.rejected_messages[0].content) == ("Yes.", "No.")
    assert (pair.label_source, pair.kind) == ("given", "given")
    assert (pair.chosen_gen.candidate_id, pair.rejected_gen.candidate_id) == (
        chosen.candidate_id,
        rejected.candidate_id,
    )
    arms = [ids.arm(prompt.prompt_id, None, c.text) for c in (chosen, rejected)]
    assert pair.pair_id == ids.pair_id("given", None, *arms)
    assert pair.unordered_id == ids.unordered_id(None, *arms)


@pytest.mark.parametrize(
    ("chosen", "rejected", "reason"),
    [
        ("Yes.", " Yes.\n", "identical_text"),
        ("", "No.", "empty_chosen"),
        (True, "No.", "non_text_chosen"),
        ([*TALK, YES], [{"role": "user", "content": "Ho?"}, NO], "prompt_differs"),
        ([{"role": "user", "content": "Ho?"}, YES], [{"role": "user", "content": "Ho?"}, NO], "prompt_differs"),
        (TALK, [*TALK, NO], "chosen_not_answered"),
    ],
)
def test_a_pair_that_is_none_costs_its_row(tmp_path: Path, chosen: Any, rejected: Any, reason: str) -> None:
    path = lines(tmp_path / "in.jsonl", {"p": "Hi?", "chosen": chosen, "rejected": rejected})
    rows, _ = everything(stage(path, {"prompt": "p", "chosen": "chosen", "rejected": "rejected"}))
    assert [(type(r), getattr(r, "reason", "")) for r in rows] == [(Reject, reason)]


def test_scores_of_given_pairs_are_put_on_the_unit_interval(tmp_path: Path) -> None:
    columns = {"prompt": "p", "chosen": "c", "rejected": "r", "chosen_score": "cs", "rejected_score": "rs"}
    path = lines(tmp_path / "in.jsonl", {"p": "Hi?", "c": "Yes.", "r": "No.", "cs": 9, "rs": "5"})
    rows, _ = everything(stage(path, columns, score_range=[1, 9]))
    [pair] = only(rows, Pair)
    assert (pair.chosen_score, pair.rejected_score, pair.score_gap, pair.ambiguous) == (1.0, 0.5, 0.5, False)


def test_merged_rows_add_to_the_prompt_before_them_and_are_never_cut_apart(tmp_path: Path) -> None:
    asked = [("a", "1"), ("a", "2"), ("a", "1"), ("b", "3"), ("a", "4")]
    path = lines(tmp_path / "in.jsonl", *({"q": q, "x": x} for q, x in asked))
    source = stage(path, {"prompt": "q", "candidates": ["x"]}, on_duplicate="merge")
    for size in (1, 2, 9):
        rows, index = everything(source, size)
        assert [p.text for p in only(rows, Prompt)] == ["a", "b"]
        assert [c.text for c in only(rows, Candidate)] == ["1", "2", "3"]
        assert [r.reason for r in only(rows, Reject)] == ["duplicate_prompt"]
        assert index.slices[0][1] >= 3


def test_the_context_joins_the_system_message_and_leaves_the_base_prompt(tmp_path: Path) -> None:
    path = lines(tmp_path / "in.jsonl", {"q": "Go out?", "c": "It rains.", "s": "Be kind."})
    [prompt], _ = everything(stage(path, {"prompt": "q", "context": "c", "system": "s"}))
    assert isinstance(prompt, Prompt)
    assert prompt.messages[0] == Message("system", "Be kind.\n\nIt rains.")
    assert prompt.context_id == ids.content_hash("given", "It rains.", [])
    assert prompt.base_prompt_id == ids.prompt_id((Message("system", "Be kind."), Message("user", "Go out?")))


def test_a_missing_file_or_column_is_one_line_that_says_what_exists(tmp_path: Path) -> None:
    path = lines(tmp_path / "in.jsonl", {"question": "a", "answer": "1"})
    started = time.monotonic()
    with pytest.raises(PlanError, match=r"no column 'qestion'; did you mean question\? its columns: question, answer"):
        stage(path, {"prompt": "qestion"}).check()
    with pytest.raises(PlanError, match=r"beside it: in\.jsonl"):
        stage(tmp_path / "inn.jsonl").check()
    with pytest.raises(PlanError, match=r"no column 'answer\.text'"):
        stage(path, {"prompt": "question", "reference": "answer.text"}).check()
    assert time.monotonic() - started < 1
    with pytest.raises(PlanError, match="cannot be read: none of its first 1 lines"):
        stage(lines(tmp_path / "array.jsonl", [{"question": "a"}])).check()
    with pytest.raises(PlanError, match="has no rows"):
        stage(lines(tmp_path / "nothing.jsonl")).index(1)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"columns": QA}, "either path or hf"),
        ({"path": "x", "columns": {"prompt": "p", "chosen": "c"}}, "belong together"),
        ({"path": "x", "columns": {"reference": "r"}}, "map a prompt column"),
        ({"path": "x", "columns": {"prompt": "p", "candidates": "c", "scores": "s"}}, "score_range"),
    ],
)
def test_fields_that_contradict_each_other_are_errors(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Prompts.model_validate(fields)


@needs_data
def test_gsm8k_solutions_give_four_candidates_by_model_each() -> None:
    names = ("6b_finetuning", "6b_verification", "175b_finetuning", "175b_verification")
    columns = {"prompt": "question", "reference": "ground_truth", "candidates": [f"{n}.solution" for n in names]}
    rows, index = everything(stage(DATA / "gsm8k_model_solutions_400.jsonl", columns))
    assert (index.rows, len(only(rows, Prompt)), len(only(rows, Candidate)), only(rows, Reject)) == (400, 400, 1600, [])
    assert Counter(c.model for c in only(rows, Candidate)) == dict.fromkeys(names, 400)


@needs_data
def test_dirty_rows_of_pandalm_are_rejects_with_a_reason() -> None:
    columns = {"prompt": "instruction", "input": "input", "candidates": ["response1", "response2"]}
    rows, index = everything(stage(DATA / "pandalm_human_testset.jsonl", columns, on_duplicate="merge"))
    assert Counter((r.subject, r.reason) for r in only(rows, Reject)) == {
        ("candidate", "empty_candidate"): 54, ("candidate", "non_text_candidate"): 6, ("row", "empty_prompt"): 1,
    }  # fmt: skip
    assert index.rows == 999
    assert len(only(rows, Prompt)) == 169
    assert not any(isinstance(c.text, bool) or not c.text.strip() for c in only(rows, Candidate))
