"""student_gain: whether a student gets probes right after one example, and what is not counted."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from pipeline.engine import ScoreRequest
from pipeline.errors import Rejected
from pipeline.records import Judgment
from pipeline.stage import Context, Example
from stages.judges.scores import candidate_scores
from stages.judges.student_gain import StudentGain
from tests.stages.candidates.scripts import PROMPT, answer

PROBES = [
    {"prompt": f"What is {i} + {i}?", "right": str(2 * i), "wrong": [str(2 * i + 1), f"about {2 * i}"]}
    for i in range(6)
]


class Student:
    """Finds the right answer likelier when the example says "add" – for the first few probes anyway."""

    def __init__(self, learns: int = 4) -> None:
        self.learns = learns
        self.asked: list[ScoreRequest] = []

    async def score(self, requests: Sequence[ScoreRequest]) -> list[list[float]]:
        self.asked += requests
        return [self._one(request) for request in requests]

    def _one(self, request: ScoreRequest) -> list[float]:
        *_, example, probe = request.messages or ()
        if "endless" in example.content:
            raise Rejected("context_overflow", "too long")
        number = int(probe.content.split()[2])
        right = request.continuation == str(2 * number)
        knows = "add" in example.content and number < self.learns
        tokens = len(str(request.continuation).split())
        return [-0.5 if right == knows else -1.0] * tokens


def run(candidates: Sequence[Any], student: Student, **fields: Any) -> list[Judgment]:
    stage = StudentGain.model_validate({"engine": "s", "probes": PROBES, **fields})
    engine: Any = student
    example: Example[Any] = Example(PROMPT, candidates)
    return asyncio.run(stage.process(example, Context("gain", "run", 7, "f", {"s": engine}, {"s": "org/student"})))


def test_accuracy_is_the_share_of_probes_whose_right_answer_is_likeliest() -> None:
    student = Student()
    rows = run([answer("good", "just add them"), answer("bad", "just guess")], student)
    assert len(rows) == 12
    assert {(r.status, r.aspect, r.judge_id) for r in rows} == {("ok", "icl_acc", "org/student")}
    assert len({r.judgment_key for r in rows}) == 12
    scores = candidate_scores(rows)
    accuracy = {name: (s.scores[0].raw, s.scores[0].n) for name, s in scores.items()}
    assert accuracy == {"good": (4 / 6, 6), "bad": (0.0, 6)}
    shown = student.asked[0].messages or ()
    assert [m.role for m in shown] == ["user", "assistant", "user"]
    assert shown[1].content == "just add them"


def test_the_candidates_own_question_is_no_probe_and_an_overlong_draft_has_no_score() -> None:
    own = {"prompt": f" {PROMPT.text}", "right": "a", "wrong": ["b"]}
    rows = run([answer("a", "just add them"), answer("b", "endless")], Student(), probes=[own, *PROBES])
    assert [(r.status, r.value) for r in rows[:2]] == [("na", None), ("ok", 1.0)]
    assert {(r.status, r.value) for r in rows[8:]} == {("too_long", None)}
    assert rows[7].status == "na"


def test_unfinished_and_planted_drafts_are_not_shown() -> None:
    student = Student()
    assert run([answer("a", finish_reason="length"), answer("b", policy_relation="canary")], student) == []
    assert student.asked == []


def test_probes_are_read_from_a_file_and_become_part_of_the_recipe(tmp_path: Path) -> None:
    file = tmp_path / "probes.jsonl"
    file.write_text("".join(json.dumps(p) + "\n" for p in PROBES), encoding="utf-8")
    assert StudentGain(engine="s", probes=str(file)) == StudentGain.model_validate({"engine": "s", "probes": PROBES})
    for wrong in ("not json\n", '{"prompt": "x"}\n', ""):
        file.write_text(wrong, encoding="utf-8")
        with pytest.raises(ValidationError):
            StudentGain(engine="s", probes=str(file))
    with pytest.raises(ValidationError, match="JSON lines of prompt, right and wrong"):
        StudentGain(engine="s", probes=str(tmp_path / "missing.jsonl"))
