"""Pairs across prompts: given ones (DOVE), and those a judge decides in both orders."""

from __future__ import annotations

import asyncio
import json
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline import ids
from pipeline.engine import Completion, Request
from pipeline.pair import Pair
from pipeline.records import Candidate, Judgment, Message, Prompt, Reject
from pipeline.stage import Context, Example, Slice
from stages.exports.arms import both_arms, conditional_arms
from stages.exports.wanted import Wanted
from stages.pairs.pair_joint import PairJoint
from stages.sources.prompts import Prompts

SHARED = Path(__file__).resolve().parents[4] / "shared" / "data"
_SHOWN = re.compile(r"<response_[ab]>\n(.*?)\n</response_[ab]>", re.DOTALL)
STAGE: dict[str, Any] = {"engine": "m", "other_prompt": "i2", "other_response": "r2"}


class Judge:
    """P(A) by a function of both answers."""

    def __init__(self, p: Any) -> None:
        self.p = p

    async def generate(self, requests: Sequence[Request]) -> list[list[Completion]]:
        """See Engine."""
        return [[self._one(request)] for request in requests]

    def _one(self, request: Request) -> Completion:
        a, b = _SHOWN.findall(request.messages[-1].content if request.messages else "")
        p = self.p(a, b)
        if p is None:
            return Completion("who knows", "stop", 9, 2)
        labels = {"A": math.log(p), "B": math.log(1 - p), "T": -30.0}
        return Completion("A" if p >= 0.5 else "B", "stop", 9, 1, labels=labels)


def run(p: Any, own: str = "good", other: str = "bad", i2: str = "And who?", **fields: Any) -> tuple[list[Any], Any]:
    messages = (Message("user", "What is it?"),)
    kept = msgspec.json.encode({"i2": i2, "r2": other}).decode()
    prompt = Prompt(ids.prompt_id(messages), ids.prompt_id(messages), messages, ext_json=kept)
    judge: Any = Judge(p)
    ctx = Context("joint", "run", 7, "f", {"m": judge}, {"m": "org/m"})
    stage = PairJoint.model_validate({**STAGE, "max_attempts": 1, **fields})
    example: Example[Any] = Example(prompt, [Candidate(prompt.prompt_id, "c", own, "prompts")])
    return asyncio.run(stage.process(example, ctx)), ctx.counts


def likes_good(a: str, b: str) -> float:
    return 0.9 if a == "good" else 0.1


def test_the_better_answer_for_its_own_prompt_is_chosen_whichever_it_is() -> None:
    for own, other in (("good", "bad"), ("bad", "good")):
        rows, counts = run(likes_good, own, other)
        [pair] = [r for r in rows if isinstance(r, Pair)]
        assert (pair.kind, pair.level, pair.label_source, counts) == ("joint", "joint", "judge", {"kept": 1})
        assert pair.chosen_messages[0].content == "good"
        asked = [m[0].content for m in (pair.prompt_messages, pair.rejected_prompt_messages or ())]
        assert asked == (["What is it?", "And who?"] if own == "good" else ["And who?", "What is it?"])
        assert pair.pref_prob == pytest.approx(0.9)
        assert (pair.chosen_score, pair.rejected_score, pair.score_gap) == (None, None, None)  # better, not good
        arms = [
            ids.arm(ids.prompt_id(m), None, c[0].content)
            for m, c in (
                (pair.prompt_messages, pair.chosen_messages),
                (pair.rejected_prompt_messages or (), pair.rejected_messages),
            )
        ]
        assert pair.pair_id == ids.pair_id("joint", None, *arms)
        assert len([r for r in rows if isinstance(r, Judgment)]) == 2


@pytest.mark.parametrize(
    ("p", "fields", "reason"),
    [
        (lambda a, b: 0.9, {}, "orders_disagree"),
        (lambda a, b: 0.5, {}, "tie"),
        (lambda a, b: None, {}, "no_verdict"),
        (lambda a, b: None if a == "good" else 0.1, {}, "no_verdict"),
        (likes_good, {"i2": "And " + "so " * 120 + "who?"}, "lengths"),
        (likes_good, {"other": "good"}, "identical_text"),
        (likes_good, {"other": " "}, "empty"),
    ],
)
def test_what_is_not_told_in_both_orders_is_no_pair(p: Any, fields: dict[str, Any], reason: str) -> None:
    rows, counts = run(p, **fields)
    assert [r.reason for r in rows if isinstance(r, Reject)] == [reason]
    assert not [r for r in rows if isinstance(r, Pair)]
    assert counts == {f"refused:{reason}": 1}


@given(st.floats(0.01, 0.99), st.floats(0.01, 0.99))
def test_a_bias_for_the_first_place_never_decides(p: float, q: float) -> None:
    rows, _ = run(lambda a, b: p if a == "good" else q)
    pairs = [r for r in rows if isinstance(r, Pair)]
    agree = (p > 0.5 and q < 0.5) or (p < 0.5 and q > 0.5)
    assert bool(pairs) <= agree or math.isclose(p, 0.5) or math.isclose(q, 0.5)
    assert all((pair.chosen_messages[0].content == "good") == (p > 0.5) for pair in pairs)


def read(path: Path, **columns: Any) -> list[Any]:
    return list(Prompts.model_validate({"path": str(path), "columns": columns}).read(Slice(0, 10_000), {}, "prompts"))


DOVE = {"prompt": "i_chosen", "chosen": "r_chosen", "rejected": "r_reject", "rejected_prompt": "i_reject"}


def test_labelled_pairs_across_prompts_come_in_and_only_those_who_can_carry_them_get_them(tmp_path: Path) -> None:
    path = tmp_path / "dove.jsonl"
    rows = [{"i_chosen": "q1", "r_chosen": "a1", "i_reject": q, "r_reject": "a2"} for q in ("q2", "q1")]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    joint, plain = (r for r in read(path, **DOVE) if isinstance(r, Pair))
    assert (joint.level, plain.level) == ("joint", "response")
    assert plain.rejected_prompt_messages is None
    assert both_arms(joint, Wanted()).rejected_prompt[0].content == "q2"
    with pytest.raises(Exception, match="different prompts"):
        conditional_arms(joint, Wanted())


@pytest.mark.skipif(not SHARED.exists(), reason="the shared data lies beside the project, and is not there")
def test_doves_own_files_come_in() -> None:
    pairs = [r for r in read(SHARED / "dove_helpful_conditional_pref.jsonl", **DOVE) if isinstance(r, Pair)]
    assert len(pairs) > 350
    assert {p.level for p in pairs} <= {"response", "joint"}
    assert sum(p.level == "response" for p in pairs) > 350  # the file is the conditional half of DOVE


@pytest.mark.skipif(not SHARED.exists(), reason="the shared data lies beside the project, and is not there")
def test_items_of_doves_prompts_are_paired_and_judged(tmp_path: Path) -> None:
    lines = (SHARED / "dove_helpful_test_gold.jsonl").read_text(encoding="utf-8").splitlines()
    gold = [json.loads(line) for line in lines[:100]]
    path = tmp_path / "items.jsonl"
    items = [
        {"i1": a["instruction"], "r1": a["gold_response"], "i2": b["instruction"], "r2": b["gold_response"]}
        for a, b in zip(gold[::2], gold[1::2], strict=True)
    ]
    path.write_text("".join(json.dumps(item) + "\n" for item in items), encoding="utf-8")
    rows = read(path, prompt="i1", candidates=["r1"], keep=["i2", "r2"])
    prompts = {r.prompt_id: r for r in rows if isinstance(r, Prompt)}
    judge: Any = Judge(lambda a, b: 0.8 if len(a) > len(b) else 0.2)
    ctx = Context("joint", "run", 7, "f", {"m": judge}, {"m": "org/m"})
    made = [
        row
        for c in rows
        if isinstance(c, Candidate)
        for row in asyncio.run(PairJoint.model_validate(STAGE).process(Example(prompts[c.prompt_id], [c]), ctx))
    ]
    pairs = [r for r in made if isinstance(r, Pair)]
    assert len(pairs) > 30
    assert {p.level for p in pairs} == {"joint"}
    assert all(len(p.chosen_messages[0].content) > len(p.rejected_messages[0].content) for p in pairs)
