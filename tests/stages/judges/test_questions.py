"""What every judging stage keeps: failures are nulls at their rate, repeats are rows, and judges are blind."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.scripted_judges import asked_text, context, example, judged
from pipeline import ids
from pipeline.catalogue import stage_class
from pipeline.engine import Completion, Request, Sampling
from pipeline.errors import EngineError, Rejected
from pipeline.records import Judgment, LabelProb
from stages.judges.checklist import Checklist
from stages.judges.compare import Compare
from stages.judges.criteria import checklist_score
from stages.judges.rate import Rate
from stages.judges.use_tools import UseTools

CRITERIA = [{"text": f"Says {n}."} for n in range(4)]
STAGES: dict[str, Callable[..., Any]] = {
    "rate": lambda **f: Rate(engine="judge", aspects=["correctness", "clarity"], **f),
    "compare": lambda **f: Compare(engine="judge", schedule="all", **f),
    "checklist": lambda **f: Checklist(engine="judge", criteria=CRITERIA, **f),
}
TEXTS = ("40", "41", "42", "43")
GARBAGE = [
    Completion("", "stop", 9, 0), Completion("hm, hard to say", "stop", 9, 5), Completion("The re", "length", 9, 8),
    Completion("I'm sorry, but I can't help with that.", "stop", 9, 9), Completion("Score: 11", "stop", 9, 4),
    Completion("A or B or maybe yes", "stop", 9, 4), Completion("\ufffd\ufffd\x00", "abort", 9, 4),
    Completion("{}", "stop", 9, 1), Completion("Score: 5 out of 7", "stop", 9, 4), Completion("yes and no", "stop", 9, 4),
    Completion("I cannot answer", "length", 9, 4), Completion("C", "stop", 9, 1), Completion("1" * 500, "length", 9, 8),
]  # fmt: skip


def honest(request: Request) -> Completion:
    """A verdict in the asked form, by the question's hash, with label probabilities where they are asked for."""
    draw = ids.seed(asked_text(request)) % 5
    label = (request.labels or ("1", "2", "3", "4", "5"))[draw % max(1, len(request.labels))]
    labels = {other: math.log(0.9 if other == label else 0.02) for other in request.labels} or None
    return Completion(label, "stop", 30, 1, labels=labels)


def failing(share: float, seed: int = 0) -> Callable[[Request], Completion]:
    """`honest`, but for a share of the calls, which bring garbage."""

    def answer(request: Request) -> Completion:
        draw = ids.stream("failing", seed, request.key)
        return draw.choice(GARBAGE) if draw.random() < share else honest(request)

    return answer


def values(rows: Sequence[Judgment]) -> dict[str, float | None]:
    return {row.judgment_key: row.value for row in rows}


@pytest.mark.parametrize("name", STAGES)
@given(share=st.sampled_from([0.0, 0.1, 0.5, 1.0]), seed=st.integers(0, 10**6))
async def test_a_failed_call_is_a_null_and_changes_no_other(name: str, share: float, seed: int) -> None:
    stage = STAGES[name](max_attempts=1)
    judge = failing(share, seed)
    clean, script = await judged(stage, honest, *TEXTS)
    failed = {request.key for request in script.asked if judge(request).text != honest(request).text}
    rows, _ = await judged(stage, judge, *TEXTS)
    assert None not in values(clean).values()
    assert values(rows) == {key: None if key in failed else value for key, value in values(clean).items()}
    assert all((row.value is None) == (row.status != "ok") == (row.value_mode is None) for row in rows)


@pytest.mark.parametrize("name", STAGES)
async def test_nulls_come_at_the_rate_of_the_failures(name: str) -> None:
    for share in (0.1, 0.4):
        rows = [
            r
            for seed in range(40)
            for r in (await judged(STAGES[name](max_attempts=1), failing(share, seed), *TEXTS))[0]
        ]
        missing = sum(row.value is None for row in rows) / len(rows)
        assert missing == pytest.approx(share, abs=3.5 * math.sqrt(share * (1 - share) / len(rows)))


async def test_a_pair_lacks_a_preference_at_the_rate_at_which_one_of_its_two_calls_fails() -> None:
    share, lost, n = 0.3, 0, 0
    for seed in range(60):
        rows, _ = await judged(STAGES["compare"](max_attempts=1), failing(share, seed), *TEXTS)
        for pair in {row.cand_ids for row in rows}:
            n += 1
            lost += any(row.value is None for row in rows if row.cand_ids == pair)
    wanted = 1 - (1 - share) ** 2
    assert lost / n == pytest.approx(wanted, abs=3.5 * math.sqrt(wanted * (1 - wanted) / n))


@given(st.lists(st.booleans(), min_size=1, max_size=12))
def test_a_criterion_without_an_answer_is_neither_met_nor_missed(answered: list[bool]) -> None:
    met = checklist_score([(1.0, 1.0 if a else None) for a in answered])
    missed = checklist_score([(1.0, 0.0 if a else None) for a in answered])
    assert (met, missed) in ((100.0, 0.0), (None, None))


@pytest.mark.parametrize("name", STAGES)
async def test_an_engine_that_fails_makes_no_rows(name: str) -> None:
    def broken(request: Request) -> Completion:
        raise EngineError("gone")

    with pytest.raises(EngineError):
        await judged(STAGES[name](), broken, *TEXTS)


@pytest.mark.parametrize("name", STAGES)
async def test_a_failed_call_is_asked_again_with_another_seed_and_every_attempt_is_a_row(name: str) -> None:
    asked: dict[str, list[Request]] = {}

    def hesitant(request: Request) -> Completion:
        tries = asked.setdefault(asked_text(request), [])
        tries.append(request)
        return Completion("hm", "stop", 9, 1) if len(tries) < 3 else honest(request)

    rows, script = await judged(STAGES[name](), hesitant, "40", "41")
    assert len(rows) == len(script.asked)
    assert [(row.attempt, row.status) for row in rows[:3]] == [(0, "parse_error"), (1, "parse_error"), (2, "ok")]
    assert len({row.judgment_key for row in rows}) == len({request.seed for request in script.asked}) == len(rows)
    assert {request.key for request in script.asked} == {row.judgment_key for row in rows}
    for tries in asked.values():
        assert [request.sampling.temperature for request in tries] == [0.0, 0.7, 0.7]
    again, _ = await judged(STAGES[name](), hesitant, "40", "41")
    assert [row.judgment_key for row in again] == [row.judgment_key for row in rows if row.attempt == 0]


async def test_attempts_end_and_their_last_failure_stays() -> None:
    rows, _ = await judged(STAGES["compare"](max_attempts=2), lambda request: GARBAGE[0], "40", "41")
    assert [(row.attempt, row.value) for row in rows] == [(0, None), (1, None)] * 2


async def test_a_judge_that_wanted_to_say_something_else_is_not_asked_until_it_does_not() -> None:
    def evasive(request: Request) -> Completion:
        return Completion(request.labels[0], "stop", 9, 1, labels={request.labels[0]: math.log(0.2)})

    rows, _ = await judged(STAGES["compare"](), evasive, "40", "41")
    assert [(row.status, row.attempt) for row in rows] == [("low_mass", 0)] * 2


async def test_what_cannot_be_asked_again_keeps_its_first_failure() -> None:
    def narrow(request: Request) -> Completion:
        if request.sampling.temperature:
            raise Rejected("not_recorded", "there is but one")
        return GARBAGE[1]

    rows, _ = await judged(STAGES["rate"](), narrow, "40")
    assert [(row.status, row.attempt) for row in rows] == [("parse_error", 0)] * 2


async def test_a_repeat_is_as_hot_as_the_first_call_or_hotter() -> None:
    rate = STAGES["rate"](sampling=Sampling(temperature=1.0, max_tokens=4))
    _, script = await judged(rate, lambda request: GARBAGE[0], "40")
    assert {request.sampling.temperature for request in script.asked} == {1.0}


# --- blindness (spec judges C0.4) ---

JUDGES = {
    **{name: make() for name, make in STAGES.items()},
    "rate, reasoned": STAGES["rate"](reason=True),
    "rate, listwise": STAGES["rate"](listwise_orders=2),
    "rate, prometheus": STAGES["rate"](template="prometheus"),
    "rate, abacus": STAGES["rate"](template="abacus"),
    "compare, shortlist": Compare(engine="judge"),
    "compare, abacus": STAGES["compare"](template="abacus", reason=True),
    "checklist, written": Checklist(engine="judge", author="author", min_criteria=1),
    "use_tools": UseTools(engine="judge"),
}


def marked() -> Any:
    """An example in which everything that a judge must not know says so."""
    asked = example(*TEXTS)
    asked.candidates = [
        msgspec.structs.replace(
            c, model="SECRET-model", model_revision="SECRET", engine="SECRET", policy_relation="SECRET-gold",
            principle="SECRET", job="SECRET-job", finish_reason="SECRET", ext_json='{"SECRET": 1}', seed=777777,
            mean_logp=-777777.0,
        )
        for c in asked.candidates
    ]  # fmt: skip
    asked.judgments = [
        Judgment(
            "p", "SECRET", "SECRET", "aspect", "SECRET", (c.candidate_id,), "ok", 0.1 * i, 0.777777, aspect="SECRET",
            reasoning="SECRET", raw_text="SECRET 777777", label_probs=(LabelProb("SECRET", 0.777777),),
        )
        for i, c in enumerate(asked.candidates)
    ]  # fmt: skip
    asked.prompt = msgspec.structs.replace(
        asked.prompt, ext_json='{"SECRET": 777777}', split="SECRET", context_id="SECRET"
    )
    return asked


@pytest.mark.parametrize("name", JUDGES)
async def test_a_judge_is_shown_texts_and_nothing_that_is_known_of_them(name: str) -> None:
    def listing(request: Request) -> Completion:
        return Completion('["Says 42."]', "stop", 9, 9) if "JSON list" in asked_text(request) else honest(request)

    ctx, script = context(listing, job="SECRET-job")
    await JUDGES[name].process(marked(), ctx)
    shown = [asked_text(request) for request in script.asked]
    assert any(text in "".join(shown) for text in TEXTS)
    for hidden in ("SECRET", "777777", "c0", "c1", "org/Judge"):
        assert not [text for text in shown if hidden in text]


def test_no_template_of_a_judge_can_name_what_is_hidden_from_it() -> None:
    hidden = {
        "model",
        "label",
        "value",
        "score",
        "chosen",
        "rejected",
        "judgments",
        "candidate",
        "verdict",
        "winner",
        "job",
    }
    for name in ("rate", "compare", "checklist", "use_tools", "compare_contexts"):
        assert not stage_class(name).template_variables & hidden


@pytest.mark.parametrize("name", STAGES)
async def test_rows_hold_what_was_asked_where_that_is_wanted_and_are_else_the_same(name: str) -> None:
    kept, script = await judged(STAGES[name](keep_prompts=True), failing(0.3), *TEXTS)
    asked = {request.key: request.messages for request in script.asked}
    assert kept
    assert all(row.messages == asked[row.judgment_key] for row in kept)
    plain, _ = await judged(STAGES[name](), failing(0.3), *TEXTS)
    assert plain == [msgspec.structs.replace(row, messages=None) for row in kept]
