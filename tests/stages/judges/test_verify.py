"""The verify stage: right, wrong, unknown; recorded solutions keep their flags; a hang costs one verdict."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from pipeline.errors import PlanError
from pipeline.records import Candidate, Judgment, Message, Prompt
from pipeline.stage import Context, Example
from stages.judges.verify import Verify
from stages.judges.workers import Worker, Workers

ROOT = Path(__file__).resolve().parents[3]
DATA = ROOT / "../shared/data"
needs_data = pytest.mark.skipif(not DATA.exists(), reason="the shared data sets are not at hand")


def context() -> Context:
    return Context("verify", "run", 7, "f", {})


def example(reference: str | None, *texts: str, finish: str | None = None) -> Example[Candidate]:
    prompt = Prompt("p", "p", (Message("user", "?"),), reference)
    return Example(prompt, [Candidate("p", f"c{i}", t, "generate", finish_reason=finish) for i, t in enumerate(texts)])


async def judge(reference: str | None, *texts: str, finish: str | None = None, **fields: Any) -> list[Judgment]:
    return await Verify(**fields).process(example(reference, *texts, finish=finish), context())


def rows(name: str) -> Iterator[dict[str, Any]]:
    with (DATA / name).open(encoding="utf-8") as lines:
        yield from (json.loads(line) for line in lines)


async def test_right_wrong_and_unknown() -> None:
    right, wrong, unknown, empty = await judge("so\n#### 1,000", "A: $1000.0", "A: 999", "A: I cannot tell", "")
    assert [j.value for j in (right, wrong, unknown, empty)] == [1.0, 0.0, None, None]
    assert [j.status for j in (right, wrong, unknown, empty)] == ["ok", "ok", "na", "na"]
    assert right.mode == "tool"
    assert right.judge_id == "verify:auto"
    assert right.tool_trace is not None
    assert right.tool_trace[0].tool == "numbers"


async def test_without_a_reference_nothing_is_wrong() -> None:
    assert [(j.value, j.status) for j in await judge(None, "A: 5")] == [(None, "na")]


async def test_an_answer_that_was_cut_before_its_marker_is_unknown() -> None:
    cut, marked = await judge("8", "First 5 and then", "A: 9", finish="length")
    assert (cut.value, cut.status) == (None, "truncated")
    assert marked.value == 0.0


async def test_formulas_are_compared_as_mathematics() -> None:
    answers = (r"\boxed{(x+1)^2}", r"Answer: $x^2 + 2x$", r"Answer: \left(", "Answer: no idea")
    verdicts = await judge("x^2+2x+1", *answers)
    assert [(j.value, j.status) for j in verdicts] == [(1.0, "ok"), (0.0, "ok"), (None, "parse_error"), (None, "na")]


async def test_a_formula_equal_to_the_reference_number_is_right() -> None:
    assert [j.value for j in await judge("0.5", r"\boxed{\frac{\sqrt{4}}{4}}")] == [1.0]


@pytest.mark.parametrize("power", [r"9^{9^{9^9}}", r"99999999!"])
async def test_a_check_that_hangs_is_unknown_and_the_next_one_works(power: str) -> None:
    hang, right = await judge(r"\sqrt{2}", rf"\boxed{{{power}}}", r"\boxed{2^{1/2}}", timeout_s=2.0, workers=1)
    assert hang.value is None
    assert hang.status in ("timeout", "parse_error")
    assert right.value == 1.0


async def test_a_regular_expression_that_explodes_is_a_timeout() -> None:
    verdicts = await judge("5", "a" * 60, "result 5", method="regex", pattern=r"(?:a+)+b|result (\d)", timeout_s=0.5)
    assert [(j.value, j.status) for j in verdicts] == [(None, "timeout"), (1.0, "ok")]


async def test_choice_exact_and_tolerance() -> None:
    assert [j.value for j in await judge("B", "The answer is (B).", "Answer: C", "who knows")] == [1.0, 0.0, None]
    assert [j.value for j in await judge("Paris", "Answer: paris.", "Answer: London")] == [1.0, 0.0]
    assert [j.value for j in await judge("3.1416", "Answer: 3.14159", tolerance=1e-4)] == [1.0]
    assert [j.value for j in await judge("3.1416", "Answer: 3.14159")] == [0.0]


async def test_the_key_tells_candidate_and_config_apart_and_nothing_else() -> None:
    first, second = await judge("5", "A: 5", "A: 5")
    again = (await judge("5", "A: 5", workers=5))[0]
    other = (await judge("5", "A: 5", tolerance=0.5))[0]
    assert len({first.judgment_key, second.judgment_key, other.judgment_key}) == 3
    assert again == first


def test_a_config_that_cannot_work_is_refused() -> None:
    with pytest.raises(PlanError, match="method regex and pattern go together"):
        Verify(method="regex").check()
    with pytest.raises(PlanError, match="no regular expression"):
        Verify(method="regex", pattern="(").check()
    with pytest.raises(ValidationError):
        Verify(tolerance=-1)


@needs_data
@pytest.mark.parametrize("fields", [{}, {"marker": "A:", "reference_marker": "A:"}])
async def test_every_recorded_flag_is_reproduced(fields: dict[str, Any]) -> None:
    names = ("6b_finetuning", "6b_verification", "175b_finetuning", "175b_verification")
    n = both = wanted = 0
    for row in rows("gsm8k_model_solutions_400.jsonl"):
        verdicts = await judge(row["ground_truth"], *(row[name]["solution"] for name in names), **fields)
        assert [j.value for j in verdicts] == [float(row[name]["is_correct"]) for name in names], row["question"]
        n += len(verdicts)
        both += {j.value for j in verdicts} == {0.0, 1.0}
        wanted += len({row[name]["is_correct"] for name in names}) == 2
    assert n == 1600
    assert both == wanted > 0


@needs_data
async def test_gsm8k_references_agree_with_themselves_and_not_with_others() -> None:
    answers = [row["answer"] for row in rows("gsm8k_train_2000.jsonl")]
    for mine, other in pairwise(answers):
        same = mine.split("####")[1].strip() == other.split("####")[1].strip()
        assert [j.value for j in await judge(mine, mine, other)] == [1.0, float(same)]


@needs_data
async def test_svamp_answers_agree_with_their_numbers() -> None:
    for row in rows("svamp_600.jsonl"):
        n = int(row["Answer"])
        verdicts = await judge(str(row["Answer"]), f"It is {n + 1} - 1.\nAnswer: {n}", f"That leaves {n + 1}.")
        assert [j.value for j in verdicts] == [1.0, 0.0]


@needs_data
async def test_math_solutions_agree_with_their_answers() -> None:
    wrong = 0
    sample = [row for i, row in enumerate(rows("math_agieval_nooverlap.jsonl")) if i % 30 == 0]
    for row in sample:
        (verdict,) = await judge(row["answer"], row["other"]["solution"])
        assert verdict.value == 1.0, row["answer"]
    for mine, other in pairwise(sample):
        (verdict,) = await judge(mine["answer"], f"Answer: ${other['answer']}$")
        wrong += verdict.value == 1.0 and mine["answer"] != other["answer"]
    assert not wrong


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_worker_that_is_killed_from_outside_decides_nothing(number: signal.Signals) -> None:
    worker = Worker()
    assert worker.ask(5.0, "same_math", "1", "1") == {"value": True}
    assert worker.process is not None
    worker.process.send_signal(number)
    worker.process.wait()
    assert worker.ask(5.0, "same_math", "1", "2") == {"value": False}
    worker.stop()
    assert worker.process is None


async def test_no_process_is_left_when_the_pool_closes() -> None:
    workers = Workers(1)
    assert await workers.ask(5.0, "last_match", r"\d", "a1b2") == {"value": "2"}
    (worker,) = workers._all
    process = worker.process
    workers.close()
    assert process is not None
    assert process.returncode is not None


def test_workers_end_when_their_parent_is_killed() -> None:
    code = (
        "import sys; from stages.judges.workers import Worker; w = Worker(); w.ask(5.0, 'last_match', 'a', 'a');"
        "print(w.process.pid, flush=True); w.ask(2.0, 'last_match', '(?:a+)+b', 'a' * 60)"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = os.pidfd_open(int(parent.stdout.readline()))  # readable when the process has ended
    with parent:
        parent.kill()
    assert select.select([child], [], [], 60)[0]
    os.close(child)
