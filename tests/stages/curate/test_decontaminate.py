"""Contamination: the rules of the specification word for word, in every text that was written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from pipeline.errors import PlanError
from pipeline.records import Message, Rationale
from pipeline.stage import Example
from stages.curate.decontaminate import Decontaminate
from stages.curate.hashing import words_only
from stages.curate.overlap import benchmark, hits
from tests.stages.curate.rows import asked, decided, pair_of, prompt_of

WORDS = [f"word{i}" for i in range(40)]
ITEM = " ".join(WORDS[:20])


def by_the_rules(text: str, items: list[str], whole: bool) -> bool:
    """The specification, spelled out for one text."""
    words, known = words_only(text).split(), [words_only(item).split() for item in items]
    if len(words) < 13:
        return whole and bool(words) and words in known

    def shared(width: int) -> list[int]:
        runs = {tuple(item[i : i + width]) for item in known for i in range(len(item) - width + 1)}
        return [i for i in range(len(words) - width + 1) if tuple(words[i : i + width]) in runs]

    covered = {i + k for i in shared(8) for k in range(8)}
    return bool(shared(13)) or len(covered) >= len(words) / 2


FEW = st.lists(st.sampled_from("abc"), max_size=30).map(" ".join)


@given(st.lists(FEW, min_size=1, max_size=4), st.lists(FEW, min_size=1, max_size=3), st.booleans())
def test_a_text_hits_exactly_by_the_rules(texts: list[str], items: list[str], whole: bool) -> None:
    found = hits(texts, [benchmark("b", items)], whole)
    assert [bool(names) for names in found] == [by_the_rules(text, items, whole) for text in texts]


@pytest.mark.parametrize(
    ("text", "hit"),
    [(" ".join(WORDS[2:15]).upper() + " and much more that nobody asked before, at great length, for a while", True),
     (" ".join(WORDS[2:14]) + " so much that nobody asked before, at great length, and for quite a while too", False),
     (" ".join(WORDS[:10]) + " then it ends in another way", True), (" ".join(WORDS[:12]), False), ("Short one!", True),
     ("Short one more", False)],
)  # fmt: skip
def test_thirteen_words_or_half_of_it_in_runs_of_eight_or_a_short_item_word_for_word(text: str, hit: bool) -> None:
    assert hits([text], [benchmark("b", [ITEM, "short, ONE"])], whole=True) == [("b",) if hit else ()]


def test_an_answer_that_is_a_short_item_is_no_hit() -> None:
    assert hits(["Yes."], [benchmark("b", ["yes"])], whole=False) == [()]


@pytest.fixture
def lists(tmp_path: Path) -> dict[str, Any]:
    (tmp_path / "one.jsonl").write_text(json.dumps({"q": ITEM, "a": ["no text"]}) + "\n", encoding="utf-8")
    turns = [{"role": "user", "content": " ".join(WORDS[20:])}]
    (tmp_path / "two.jsonl").write_text(json.dumps({"q": turns}) + "\n", encoding="utf-8")
    return {name: {"path": str(tmp_path / f"{name}.jsonl"), "columns": ["q"]} for name in ("one", "two")}


def test_a_prompt_that_hits_takes_its_base_prompt_along_and_is_counted_per_benchmark(lists: dict[str, Any]) -> None:
    examples = [asked(f"Please: {ITEM}?", base="b"), asked("Rivers?", base="b"), asked("Trees?", ("oak", "elm")),
                asked(f"{ITEM} {' '.join(WORDS[20:])}")]  # fmt: skip
    found = decided(Decontaminate(lists=lists), examples)
    assert found.reasons("prompt") == {"contaminated": 3, "kept": 1}
    assert [v.hits for v in found.verdicts if v.subject == "prompt"] == [("one",), ("one",), None, ("one", "two")]
    assert found.reasons("pair") == {"kept": 1}


@pytest.mark.parametrize(
    "changes",
    [{"chosen_tail": ITEM}, {"rejected_tail": ITEM}, {"rationale": ITEM}, {"rationale_rejected": ITEM},
     {"assistant_prefix": ITEM}, {"chosen_messages": (Message("assistant", ITEM),)},
     {"prompt_messages": (Message("user", ITEM),)}, {"rejected_prompt_messages": (Message("user", ITEM),)}],
)  # fmt: skip
def test_every_text_of_a_pair_is_looked_at(lists: dict[str, Any], changes: dict[str, Any]) -> None:
    prompt = prompt_of("Trees?")
    group: dict[str, Any] = {"group_id": "g", "group_size": 2}
    pairs = [pair_of(prompt, "oak", "elm", **changes, **group), pair_of(prompt, "oak", "ash", **group),
             pair_of(prompt, "fir", "ash")]  # fmt: skip
    found = decided(Decontaminate(lists=lists), [Example(prompt, pairs=pairs)])
    assert found.reasons("prompt") == {"kept": 1}
    assert found.reasons("pair") == {"contaminated": 1, "incomplete_group": 1, "kept": 1}
    assert found.of(pairs[0].pair_id).hits == ("one",)


def test_rationales_are_looked_at_and_fall_alone(lists: dict[str, Any]) -> None:
    prompt = prompt_of("Trees?")
    pair = pair_of(prompt, "oak", "elm")
    why = Rationale(
        prompt.prompt_id, "r1", pair.pair_id, "e", None, None, "general", "free", False, 0, "m", 0, "ok", text=ITEM
    )
    example: Example[Any] = Example(
        prompt, pairs=[pair], rationales=[why, replace(why, rationale_id="r2", text="Better.")]
    )
    found = decided(Decontaminate(lists=lists), [example])
    assert found.reasons("rationale") == {"contaminated": 1, "kept": 1}
    assert found.reasons("pair") == {"kept": 1}


def test_hits_may_only_be_noted(lists: dict[str, Any]) -> None:
    found = decided(Decontaminate(lists=lists, drop=False), [asked(f"Please: {ITEM}?", (ITEM, "no"))])
    assert [(v.subject, v.keep, v.hits) for v in found.verdicts] == [
        ("prompt", True, ("one",)),
        ("pair", True, ("one",)),
    ]


def test_a_list_is_part_of_the_recipe_by_its_content(lists: dict[str, Any], tmp_path: Path) -> None:
    before = Decontaminate(lists=lists).contents
    (tmp_path / "elsewhere.jsonl").write_bytes((tmp_path / "one.jsonl").read_bytes())
    moved = lists | {"one": {"path": str(tmp_path / "elsewhere.jsonl"), "columns": ["q"]}}
    assert Decontaminate(lists=moved).contents == before
    (tmp_path / "one.jsonl").write_text(json.dumps({"q": "another"}) + "\n", encoding="utf-8")
    assert Decontaminate(lists=lists).contents != before


def test_a_list_that_is_not_there_or_has_no_such_column_is_told_of(lists: dict[str, Any]) -> None:
    wrong = {"one": {**lists["one"], "columns": ["question"]}}
    with pytest.raises(PlanError, match=r"lists\.one: .*one\.jsonl has no text in column question"):
        Decontaminate(lists=wrong).check()
    missing = {"one": {**lists["one"], "path": "nowhere.jsonl"}}
    with pytest.raises(PlanError, match=r"no file at 'nowhere\.jsonl'"):
        Decontaminate(lists=missing).check()
