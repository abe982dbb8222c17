"""The way back: what an export wrote, read by `prompts` with the format's name, is exported again as the same rows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from pydantic import ValidationError

from pipeline.config import read_config
from pipeline.errors import PlanError, Rejected
from pipeline.pair import Pair, Score
from pipeline.records import Message, Prompt, Rationale, Record, Reject
from pipeline.run import execute
from pipeline.stage import FIELD_OF, Example, Slice
from pipeline.store import Store
from pipeline.tables import to_table
from pipeline.tree import Node, RankedAnswer, Ranking, Trace, Tree
from stages.exports.formats import format_names, format_of
from stages.sources.imports import Origin
from stages.sources.prompts import Prompts
from tests.stages.exports.example_rows import exported, pair_of, prompt_of, rationale, said

IDENTITY = {"prompt_id", "pair_id", "source_id", "ranking_id"}  # made anew of what the row holds
WITHOUT_A_WAY_BACK = {"token-dpo"}
READABLE = sorted({*format_names()} - WITHOUT_A_WAY_BACK)
OF_PAIRS = [name for name in READABLE if name not in ("iopo", "stepwise", "ranked")]

words = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12).filter(lambda t: bool(t.strip()))
units = st.integers(0, 10**6).map(lambda n: n / 10**6)  # as near as scores may lie: ratings are 1 + 4 times them
systems = st.one_of(st.just(()), words.map(lambda t: (Message("system", t),)))


@st.composite
def pairs_of(draw: st.DrawFn) -> Pair:
    """A pair of texts, prompts and numbers that few formats could all carry."""
    question = (*draw(systems), Message("user", draw(words)))
    turns = draw(st.sampled_from([question, (*question, *said("So?"), Message("user", "Go on.")), question[-1:]]))
    other = draw(st.one_of(st.none(), words.map(lambda t: (Message("user", t),))))
    low, high = sorted((draw(units), draw(units)))
    scores = [
        Score(arm, "j", None, s, s, 0, 1, 1, 0)
        for arm in ("chosen", "rejected")
        for s in draw(st.lists(units, max_size=2))
    ]
    return pair_of(
        draw(words) + " is one.", draw(words) + " is two.", prompt_messages=turns, rejected_prompt_messages=other,
        chosen_score=high, rejected_score=low, margin_logit=draw(units), strength=draw(st.floats(-1, 9)),
        strength_std=draw(st.one_of(st.none(), units)), strength_signed_int=draw(st.integers(1, 3)), scores=tuple(scores),
    )  # fmt: skip


def plain(rows: Sequence[Any]) -> list[dict[str, Any]]:
    """Rows as a data set gives them."""
    return to_table(type(rows[0]), rows).to_pylist() if rows else []


def imported(name: str, row: dict[str, Any]) -> Example[Any]:
    """What the format reads in a row, as a later job sees it."""
    shown = format_of(name)[0]
    assert shown.imports is not None
    prompt, *rest = shown.imports(row, Origin("prompts"))
    assert isinstance(prompt, Prompt)
    assert {type(record) for record in rest} <= {*shown.imported}
    assert {record.prompt_id for record in rest} <= {prompt.prompt_id}
    example: Example[Any] = Example(prompt)
    for cls, field in FIELD_OF.items():
        setattr(example, field, [record for record in rest if isinstance(record, cls)])
    return example


def check_the_way_back(name: str, example: Example[Any], **fields: Any) -> None:
    """Every row that is exported comes back."""
    first = exported(example, format=name, **fields)
    table = "thumbs" if name == "trl-kto" else None
    for row in plain(first.rows):
        again = imported(name, row)
        [second] = plain(exported(again, format=name, table=table, **fields).rows)
        assert {k: v for k, v in second.items() if k not in IDENTITY} == {
            k: v for k, v in row.items() if k not in IDENTITY
        }
        [third] = plain(exported(imported(name, second), format=name, table=table, **fields).rows)
        assert third == second


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("name", OF_PAIRS)
@settings(deadline=None, max_examples=25)
@given(pair=pairs_of(), text=words, order=st.integers(0, 1))
def test_a_row_made_of_a_pair_comes_back(name: str, full: bool, pair: Pair, text: str, order: int) -> None:
    if name != "trl-reward":
        pair = replace(pair, rejected_prompt_messages=None)
    why = rationale(pair, "r", text=f"Response A {text}, Response B.", statement="So A.", shown_order=order)
    example: Example[Any] = Example(prompt_of(), pairs=[pair], rationales=[why])
    check_the_way_back(name, example, **(dict.fromkeys(format_of(name)[0].options, True) if full else {}))


@settings(deadline=None, max_examples=25)
@given(words, words, words, words, systems)
def test_a_quad_comes_back(one: str, other: str, first: str, second: str, system: tuple[Message, ...]) -> None:
    asked = [(*system, Message("user", text)) for text in (one, other)]
    columns: dict[str, Any] = {"group_id": "g", "group_size": 2}
    pairs = [
        pair_of(first, second, prompt_messages=asked[0], **columns),
        pair_of(second, first, prompt_messages=asked[1], **columns),
    ]
    pairs = [replace(pair, pair_id=str(i), unordered_id=str(i)) for i, pair in enumerate(pairs)]
    check_the_way_back("iopo", Example(prompt_of(), pairs=pairs))


step_lists = st.lists(words.map(lambda text: f"{text.strip()}."), min_size=1, max_size=4)


@settings(deadline=None, max_examples=25)
@given(step_lists, st.data())
def test_steps_with_labels_come_back(steps: list[str], data: st.DataObject) -> None:
    hard = data.draw(st.lists(st.integers(0, 1), min_size=len(steps), max_size=len(steps)))
    prompt = replace(prompt_of(), messages=prompt_of().messages[1:])
    tree = Tree(prompt_id=prompt.prompt_id, tree_id="t", job="search", config_json='{"delimiters": ["\\n\\n"]}')
    trace = Trace(
        prompt_id=prompt.prompt_id, trace_id="x", tree_id="t", leaf_id=1, steps=tuple([f"{s}\n\n" for s in steps]),
        soft=(None,) * len(steps), hard=tuple(hard), outcome=1,
    )  # fmt: skip
    check_the_way_back("stepwise", Example(prompt, trees=[tree], traces=[trace]))


@settings(deadline=None, max_examples=25)
@given(st.lists(step_lists, min_size=2, max_size=3), systems)
def test_a_ranking_comes_back(answers: list[list[str]], system: tuple[Message, ...]) -> None:
    prompt = replace(prompt_of(), messages=(*system, Message("user", "2+2?")))
    gaps = [*[0.25] * (len(answers) - 1), None]
    ranked = tuple([
        RankedAnswer(i, tuple([f"{step}\n" for step in steps]), (), 1 - i / 4, 1 - 2 * i, gaps[i], 0)
        for i, steps in enumerate(answers)
    ])  # fmt: skip
    of: dict[str, Any] = {"prompt_id": prompt.prompt_id, "tree_id": "t"}
    tree = Tree(**of, job="search", config_json='{"delimiters": ["\\n"]}')
    nodes = [Node(**of, node_id=i, is_terminal=True, finish_reason="eos") for i in range(len(answers))]
    ranking = Ranking(**of, ranking_id="r", prompt_token_ids=(), answers=ranked)
    check_the_way_back("ranked", Example(prompt, trees=[tree], nodes=nodes, rankings=[ranking]))


@pytest.mark.parametrize("name", READABLE)
def test_a_row_that_is_none_of_the_format_is_rejected_with_a_reason(name: str) -> None:
    shown = format_of(name)[0]
    assert shown.imports is not None
    for broken in ({}, {"prompt": 3, "chosen": [[]], "rejected": {}}):
        with pytest.raises(Rejected, match=r"no|not|is"):
            shown.imports(broken, Origin("prompts"))


def folder_of(path: Path, name: str, pairs: Sequence[Pair], why: Sequence[Rationale] = (), **fields: Any) -> list[Any]:
    """A folder as the export writes it; its rows."""
    found = exported(Example(prompt_of(), pairs=pairs, rationales=why), format=name, **fields)
    assert found.rejects == []
    table: dict[type[Record], list[Record]] = {type(found.rows[0]): found.rows}
    Store(str(path)).write("export", 0, table, {"counts": {}})
    return found.rows


def test_a_folder_is_read_with_all_pairs_of_a_prompt(tmp_path: Path) -> None:
    questions = ("1+1?", "2+2?", "1+1?", "1+1?")
    pairs = [pair_of(f"{i} is right", f"{i} is wrong", question=q) for i, q in enumerate(questions)]
    rows = folder_of(tmp_path, "trl-dpo", pairs)
    source = Prompts.model_validate({"path": str(tmp_path / "export"), "format": "trl-dpo"})
    source.check()
    index = source.index(shard_size=2)
    read = [
        list(source.read(Slice(*part), index.duplicates, "prompts"))
        for part in index.slices
    ]  # fmt: skip
    assert index.rows == len(rows)
    assert not any(isinstance(record, Reject) for part in read for record in part)
    found = [record for part in read for record in part if isinstance(record, Pair)]
    assert [p.chosen_messages for p in found] == [p.chosen_messages for p in pairs]
    assert {p.label_source for p in found} == {"given"}
    for part in read:  # a prompt once in a slice, however its rows lie
        prompts = [record.prompt_id for record in part if isinstance(record, Prompt)]
        assert len(prompts) == len({*prompts})


def test_the_shipped_config_rewrites_a_folder_for_another_trainer(tmp_path: Path) -> None:
    pair = pair_of()
    swapped = pair_of("5", "4", question="3+1?")
    folder_of(tmp_path, "trl-dpo", [pair, swapped, replace(pair, unordered_id="again")])
    config = read_config("reformat") | {"executor": "local", "runs_dir": str(tmp_path)}
    config["jobs"][0] |= {"path": str(tmp_path / "export")}
    run = execute(config, plain=True, quiet=True)
    rows = pq.read_table(Path(run.store.root) / "export" / "00000.parquet").to_pylist()
    assert [(row["conversations"][-1]["content"], row["chosen"]["content"]) for row in rows] == [
        ("2+2?", "4"), ("3+1?", "5")
    ]  # fmt: skip
    assert (Path(run.store.root) / "export" / "dataset_info.json").exists()


def test_a_folder_of_another_format_is_an_error_that_says_what_it_holds(tmp_path: Path) -> None:
    folder_of(tmp_path, "llama-factory", [pair_of()])
    source = Prompts.model_validate({"path": str(tmp_path / "export"), "format": "trl-dpo"})
    with pytest.raises(
        PlanError, match=r"no prompt.*its columns: prompt_id, pair_id, conversations.*of the format: prompt"
    ):
        source.check()


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"format": "trl"}, r"unknown format 'trl'; formats: .*trl-dpo"),
        ({"format": "token-dpo"}, "rows of token-dpo cannot be read back"),
        ({"format": "trl-dpo", "columns": {"prompt": "prompt"}}, "give columns, or the format"),
    ],
)
def test_what_cannot_be_read_is_refused_before_anything_runs(fields: dict[str, Any], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        Prompts.model_validate({"path": "x.parquet", **fields})


def test_all_formats_but_the_named_ones_have_a_way_back() -> None:
    assert {name for name in format_names() if format_of(name)[0].imports is None} == WITHOUT_A_WAY_BACK
