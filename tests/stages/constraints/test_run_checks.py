"""Check functions that a model wrote: run in the sandbox, believed only where they answer, never a crash for a no."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from benchmarks.scripted_judges import Script
from pipeline import ids
from pipeline.engine import Completion, Engine
from pipeline.errors import PlanError, Rejected
from pipeline.pair import Pair
from pipeline.records import Candidate, Judgment, Message, Prompt
from pipeline.stage import Context, Example
from stages.constraints.run_checks import RunChecks
from stages.constraints.written_checks import Case, read_checks, trusted, truth, verdict, written_checks
from stages.pairs.pair_criteria import PairCriteria
from stages.sandbox.limits import Limits
from stages.sandbox.sandbox import Outcome

DATA = Path(__file__).resolve().parents[3] / "../shared/data"
QUICK = Limits(cpu_s=1, wall_s=2.0)
NO_E = "def evaluate(response):\n    return 'e' not in response.lower()"
HELPED = "def has(text):\n    return 'e' in text\n\ndef evaluate(response):\n    return not has(response.lower())"
CRASHES = "def evaluate(response):\n    return int(response) > 0"
WORDS = "def evaluate(response):\n    return 'false' if 'e' in response.lower() else 'true'"
BY_LOT = "import random\ndef evaluate(response):\n    return random.SystemRandom().random()"
SHOUTS = "def evaluate(response):\n    return response.upper()"
needs_sandbox = pytest.mark.skipif(sys.platform != "linux", reason="the sandbox is made of Linux system calls")


def asked(**columns: Any) -> Prompt:
    messages = (Message("user", "Say hello without the letter e."),)
    return Prompt(ids.prompt_id(messages), "base", messages, ext_json=json.dumps(columns))


def candidates(prompt: Prompt, texts: Sequence[str], **fields: Any) -> list[Candidate]:
    return [Candidate(prompt.prompt_id, f"c{i}", text, "generate", **fields) for i, text in enumerate(texts)]


def run(
    prompt: Prompt, texts: Sequence[str], engine: Engine | None = None, **fields: Any
) -> tuple[list[Judgment], dict[str, int]]:
    ctx = Context("checks", "run", 7, "f" * 32, {"writer": engine} if engine else {})
    stage = RunChecks.model_validate({"python": QUICK, **fields})
    stage.check()
    return asyncio.run(stage.process(Example(prompt, candidates(prompt, texts)), ctx)), ctx.counts


def paired(prompt: Prompt, texts: Sequence[str], judgments: Sequence[Judgment], **fields: Any) -> list[Pair]:
    ctx = Context("pairs", "run", 7, "f" * 32, {})
    example: Example[Any] = Example(prompt, candidates(prompt, texts), judgments)
    rows = asyncio.run(PairCriteria.model_validate(fields).process(example, ctx))
    return [row for row in rows if isinstance(row, Pair)]


@needs_sandbox
def test_functions_decide_and_what_crashes_or_is_no_truth_decides_nothing() -> None:
    codes = [NO_E, HELPED, CRASHES, WORDS, BY_LOT, SHOUTS]
    rows, counts = run(asked(funcs=codes), ["Hi, what's up", "Hello"], functions="funcs")
    values = [[row.value for row in rows if row.cand_ids == (who,)] for who in ("c0", "c1")]
    assert values == [[1.0, 1.0, None, 1.0, None, None], [0.0, 0.0, None, 0.0, None, None]]
    assert {row.status for row in rows} == {"ok", "na", "out_of_range"}
    assert {(row.mode, row.judge_family) for row in rows} == {("criterion", "tool")}
    assert "ValueError" in (rows[2].tool_trace or ())[0].observation
    assert counts == {"untrusted": 0}


@needs_sandbox
def test_a_crashing_check_never_makes_a_rejected_answer() -> None:
    texts = ["Hi, what's up", "Hello"]
    prompt = asked(funcs=[NO_E])
    good, _ = run(prompt, texts, functions="funcs")
    [pair] = paired(prompt, texts, good)
    assert pair.chosen_messages[0].content == texts[0]
    assert (pair.kind, pair.label_source, pair.chosen_score, pair.rejected_score) == (
        "conditionalised",
        "checker",
        1.0,
        0.0,
    )
    [constraint] = pair.constraints or ()
    assert (constraint.family, constraint.chosen_ok, constraint.rejected_ok) == ("python", True, False)
    assert json.loads(constraint.kwargs_json)["code"] == NO_E
    for codes in ([CRASHES], [NO_E, CRASHES], [], ["not code"]):
        faulty, _ = run(asked(funcs=codes), texts, functions="funcs")
        assert paired(prompt, texts, faulty) == []


@needs_sandbox
def test_cases_tell_which_functions_are_trusted() -> None:
    cases = [
        ["my lip", True],
        ["every cloud", False],
        ["hi world", True],
        ["hello", False],
        ["nobody says this", "maybe"],
    ]
    prompt = asked(funcs=[NO_E, CRASHES, "def evaluate(response):\n    return True"], cases=cases)
    rows, counts = run(prompt, ["Hi"], functions="funcs", cases="cases", min_cases=4)
    assert [row.aspect for row in rows] == [f"check {ids.content_hash('check/1', NO_E)[:12]}"]
    assert counts == {"untrusted": 2}
    assert run(prompt, ["Hi"], functions="funcs", cases="cases", min_cases=5) == ([], {"untrusted": 2, "no_checks": 1})


@needs_sandbox
def test_cut_and_empty_answers_are_not_checked() -> None:
    prompt = asked(funcs=[NO_E])
    ctx = Context("checks", "run", 7, "f" * 32, {})
    cut = candidates(prompt, ["Hi, what"], finish_reason="length")
    rows = asyncio.run(RunChecks(functions="funcs", python=QUICK).process(Example(prompt, cut), ctx))
    assert [row.value for row in [*rows, *run(prompt, [" "], functions="funcs")[0]]] == [None, None]


@needs_sandbox
def test_an_author_writes_functions_and_the_cases_that_they_are_tried_on() -> None:
    reply = {
        "functions": [NO_E, CRASHES],
        "cases": [{"input": "hi", "output": True}, {"input": "he", "output": "false"}],
    }
    fenced = f"Here they are:\n```json\n{json.dumps(reply)}\n```"
    writer = Script(lambda request: Completion(fenced, "stop", 1, 1))
    rows, counts = run(asked(), ["Hi", "Hello"], writer, author="writer")
    assert [(row.mode, row.value) for row in rows] == [("meta", None), ("criterion", 1.0), ("criterion", 0.0)]
    assert counts == {"untrusted": 1}
    silent = Script(lambda request: Completion("I would rather not.", "stop", 1, 1))
    rows, counts = run(asked(), ["Hi"], silent, author="writer")
    assert {row.mode for row in rows} == {"meta"}
    assert counts["no_checks"] == 1


@needs_sandbox
@pytest.mark.parametrize("number", [0, 3, 20])
def test_autoifs_functions_run_on_the_answers_that_it_scored(number: int) -> None:
    path = DATA / "autoif_dpo_query_w_funcs.jsonl"
    if not path.exists():
        pytest.skip("no shared data beside the project")
    row = json.loads(path.read_text(encoding="utf-8").splitlines()[number])
    prompt = asked(eval_func=row["eval_func"])
    rows, _ = run(prompt, row["gpt-answer"][:3], functions="eval_func", min_accuracy=0.6)
    assert len(rows) == 3
    assert {r.value for r in rows} == {None}  # int('Ann') raises: AutoIF counts a crash as broken and trains on it
    assert run(prompt, row["gpt-answer"][:1], functions="eval_func") == ([], {"untrusted": 0, "no_checks": 1})


@needs_sandbox
def test_autoifs_back_translated_functions_agree_with_the_cases_they_were_chosen_by() -> None:
    path = DATA / "autoif_back_trans.jsonl"
    if not path.exists():
        pytest.skip("no shared data beside the project")
    row = json.loads(path.read_text(encoding="utf-8").splitlines()[0])
    prompt = asked(eval_func=row["eval_func"], cases=row["cases"])
    rows, counts = run(prompt, ["My lip", "Every cloud"], functions="eval_func", cases="cases", min_functions=3)
    assert [r.value for r in rows] == [1.0] * (len(rows) // 2) + [0.0] * (len(rows) // 2)
    assert len(rows) >= 6
    assert counts == {"untrusted": 0}


@pytest.mark.parametrize(
    ("value", "expected"),
    [(True, True), ("False", False), ("true ", True), (1, None), (0, None), (None, None), ("yes", None), ([], None)],
)
def test_only_true_and_false_are_answers(value: Any, expected: bool | None) -> None:
    assert truth(value) is expected


def test_runs_that_differ_say_nothing() -> None:
    assert verdict([Outcome("ok", value=True), Outcome("ok", value=False)]) is None
    assert verdict([Outcome("ok", value=True), Outcome("timeout")]) is None
    assert verdict([Outcome("ok", value=False)] * 2) is False


def test_functions_and_cases_are_read_from_what_data_sets_and_models_write() -> None:
    checks = read_checks(
        [[NO_E, 1.0], [NO_E + "\n", 0.9], [HELPED, 0.3], ["x = 1", 1.0], 7], [["a", True], ["a", False]], 0.8
    )
    assert checks.functions == (NO_E,)
    assert checks.cases == ()  # the two contradict each other
    for reply in ("", "[]", "{", '{"functions": 3, "cases": {}}', "[" * 50_000):
        assert written_checks(reply).functions == ()


def test_a_function_is_right_on_the_cases_that_any_function_reproduces() -> None:
    cases = [Case("a", True), Case("b", False), Case("c", True)]
    assert trusted([[True, False, None], [None, None, None]], cases, 0.8) == ([0], 2)
    assert trusted([[None, None, None]], cases, 0.8) == ([], 0)


def test_functions_come_from_one_place() -> None:
    for fields in ({}, {"functions": "f", "author": "w"}, {"author": "w", "cases": "c"}):
        with pytest.raises(PlanError, match="give functions"):
            RunChecks.model_validate(fields).check()
    with pytest.raises(Rejected, match="missing_funcs"):
        run(asked(), ["Hi"], functions="funcs")
