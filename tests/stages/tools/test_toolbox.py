"""Search, and the tools as a judge meets them: an observation, and whether it is one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipeline.errors import PlanError
from stages.sandbox.limits import Limits
from stages.tools.corpus import K_MAX, read_corpus
from stages.tools.toolbox import MAX_OBSERVATION, Toolbox

ROWS = [
    {"title": "Nile", "text": "The Nile is a river in Africa, 6,650 km long."},
    {"title": "Amazon", "text": "The Amazon is a river in South America. " + "It carries much water. " * 60},
    {"id": "r3", "text": "The Rhine flows through Basel; it rises in the Alps."},
    {"text": "Bread is made of flour."},
]


@pytest.fixture
def corpus(tmp_path: Path) -> str:
    path = tmp_path / "corpus.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in ROWS) + "\n\n", encoding="utf-8")
    return str(path)


def test_the_best_passages_come_first(corpus: str) -> None:
    found = read_corpus(corpus)
    assert [p.title for p in found.search("How long is the river Nile?", 3)][:1] == ["Nile"]
    assert [p.title for p in found.search("RIVER", 8)] == ["Nile", "Amazon"]  # of two with the word, the shorter
    assert [p.title for p in found.search("alps flour", 8)] == ["line 4", "r3"]
    assert found.search("quark", 3) == []
    assert len(found.search("the", 1)) == 1
    assert len(found.search("the is in of it", 99)) <= K_MAX


def test_bm25_is_what_the_formula_says(tmp_path: Path) -> None:
    path = tmp_path / "c.jsonl"
    path.write_text('{"title": "a", "text": "x y"}\n{"title": "b", "text": "x x x"}\n', encoding="utf-8")
    rows, weights = read_corpus(str(path))._weights["x"]
    # idf = ln(1 + 0.5/2.5); mean length 3.5; tf part = tf * 2.5 / (tf + 1.5 * (0.25 + 0.75 * length / 3.5))
    assert rows.tolist() == [0, 1]
    assert weights.tolist() == pytest.approx([0.18232156 * 2.5 / 2.33928571, 0.18232156 * 7.5 / 4.66071429])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"[1]\n", "line 1: expected an object"),
        (b'{"text": "a"}\n{"texts": 1}', "line 2: expected"),
        (b"\xff", "UTF-8"),
    ],
)
def test_a_corpus_that_is_none_says_where(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_bytes(content)
    with pytest.raises(PlanError, match=message):
        read_corpus(str(path))
    with pytest.raises(PlanError, match="cannot be read"):
        read_corpus(str(tmp_path / "none.jsonl"))


async def test_every_call_is_an_observation(corpus: str) -> None:
    box = Toolbox(("calculator", "dates", "python", "search"), corpus, Limits(cpu_s=1, wall_s=2.0))
    good = [
        ("calculator", "6 * 7", "42"),
        ("dates", "2024-03-05", "2024-03-05 is a Tuesday, day 65 of 2024"),
        ("python", "sum(range(5))", "10\n"),
        ("python", "x = 1", "nothing was printed"),
        ("search", "nile", "[1] Nile: The Nile is a river in Africa, 6,650 km long."),
        ("search", '{"query": "river", "k": 1}', "[1] Nile: The Nile is a river in Africa, 6,650 km long."),
    ]
    for tool, argument, observation in good:
        call = await box.call(tool, argument)
        assert (call.tool, json.loads(call.args_json), call.observation, call.ok) == (
            tool, {"input": argument}, observation, True
        )  # fmt: skip
    bad = [
        ("calculator", "1 / 0", "error: division by zero"),
        ("dates", "soon", "error: not understood"),
        ("python", "1 / 0", "error: line 1: ZeroDivisionError"),
        ("python", "while True: pass", "timeout: "),
        ("search", "quark", "error: nothing found"),
        ("telescope", "moon", "error: there is no such tool; tools: calculator, dates, python, search"),
    ]
    for tool, argument, beginning in bad:
        call = await box.call(tool, argument)
        assert not call.ok
        assert call.observation.startswith(beginning)


async def test_a_tool_that_is_not_allowed_does_not_run() -> None:
    call = await Toolbox(("calculator",)).call("python", "print(1)")
    assert (call.ok, call.observation) == (False, "error: there is no such tool; tools: calculator")


async def test_equal_calls_are_made_once() -> None:
    box = Toolbox(("python",))
    code = "import time; time.perf_counter_ns()"
    assert await box.call("python", code) is await box.call("python", code)


async def test_long_observations_lose_their_middle_and_no_text_breaks_a_row() -> None:
    box = Toolbox(("python", "calculator"))
    call = await box.call("python", "print('a' * 3000 + 'b' * 3000)")
    assert len(call.observation) < MAX_OBSERVATION + 60
    assert call.observation.startswith("aaa")
    assert call.observation.endswith("bbb\n")
    assert "characters left out" in call.observation
    half = await box.call("calculator", "\ud800")
    assert (half.ok, half.args_json) == (False, '{"input": "\ufffd"}')
    assert half.observation.encode()
