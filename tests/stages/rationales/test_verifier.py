"""V8 to V10 with a verifier that answers from a script."""

from __future__ import annotations

import json
import math
import re
from typing import Any

import pytest

from pipeline.engine import Completion, Request
from pipeline.errors import Rejected
from stages.rationales.explain import Explain
from stages.rationales.measures import HIDDEN
from tests.stages.rationales.scripts import Script, explain, honest, pair, shown_text
from tests.stages.rationales.test_kinds import reviewer

GIVEN, WITHOUT, PERTURBED = 0.86, 0.60, 0.55


def notes_of(request: Request) -> str:
    found = re.search(r"<notes>\n(.*)\n</notes>", shown_text(request), re.DOTALL)
    return found[1] if found else ""


def right_place(request: Request) -> str:
    text = shown_text(request)
    return "A" if text.index("= 7") < text.index("= 8") else "B"


def letters(request: Request, p_right: float) -> Completion:
    """A verdict with P(right response) = p_right, whatever the place."""
    place = right_place(request)
    p = {place: p_right, {"A": "B", "B": "A"}[place]: 1 - p_right}
    return Completion(max(p, key=lambda k: p[k]), "stop", 50, 1, labels={k: math.log(v) for k, v in p.items()})


def reader(p_yes: float = 0.9, given: float = GIVEN, perturbed: float = PERTURBED) -> Script:
    """Finds the reasons in whole notes, not in destroyed ones; sure of the claims with p_yes."""

    def answer(request: Request) -> Completion:
        if "<claim>" in shown_text(request):
            labels = {"Yes": math.log(p_yes), "No": math.log(1 - p_yes)}
            return Completion("Yes" if p_yes >= 0.5 else "No", "stop", 50, 1, labels=labels)
        notes = notes_of(request)
        whole = "3 + 4 is 7, not 8" in notes and "goes wrong in step 1" in notes
        return letters(request, WITHOUT if not notes else given if whole else perturbed)

    return Script(answer)


FIELDS: dict[str, Any] = {"samples": 1, "post_hoc": False, "verifier": {"engine": "small"}}


async def test_a_kept_rationale_is_read_in_both_orders_without_with_and_with_destroyed_notes() -> None:
    verifier = reader()
    [row], _, _ = await explain(honest, verifier_says=verifier, **FIELDS)
    assert (row.verify.p_label, row.verify.p_label_without, row.verify.p_label_perturbed) == pytest.approx(
        (GIVEN, WITHOUT, PERTURBED)
    )
    assert row.verify.utility == pytest.approx(1.4098248585, abs=1e-6)
    assert row.verify.sensitivity == pytest.approx(0.31, abs=1e-6)
    assert (row.verify.truthfulness, row.verify.relevance) == pytest.approx((0.9, 0.9))
    assert (row.status, row.verify.quality) == ("ok", 1.0)
    asked = [q for q in verifier.asked if "<claim>" not in shown_text(q)]
    assert sorted((bool(notes_of(q)), right_place(q)) for q in asked) == [
        (False, "A"), (False, "B"), (True, "A"), (True, "A"), (True, "B"), (True, "B"),
    ]  # fmt: skip
    for request in asked:  # notes name the responses by the order they are shown in
        wrong = {"A": "B", "B": "A"}[right_place(request)]
        assert f"Response {wrong} goes wrong" in notes_of(request) or "goes wrong in step 1" not in notes_of(request)
    assert len({q.seed for q in verifier.asked}) == len({q.key for q in verifier.asked}) == len(verifier.asked)
    assert {q.labels for q in asked} == {("A", "B")}


async def test_the_verifier_never_reads_a_verdict() -> None:
    def author(request: Request) -> str:
        reply = json.loads(honest(request))
        right = reply["verdict"]["label"]
        reply["elaboration"] += f" So Response {right} is better, and I prefer Response {right}."
        return json.dumps(reply)

    verifier = reader()
    [row], _, _ = await explain(author, verifier_says=verifier, **FIELDS)
    assert "is better" in (row.text or "")
    assert "I prefer" in (row.text or "")
    notes = [notes_of(q) for q in verifier.asked if notes_of(q)]
    assert len(notes) == 4
    assert not any("is better" in n or "I prefer" in n for n in notes)
    assert all(row.statement is None or row.statement not in n for n in notes)
    assert HIDDEN in notes[0]


async def test_destroyed_notes_differ_in_a_third_of_their_words_and_are_the_same_every_time() -> None:
    first, second = reader(), reader()
    await explain(honest, verifier_says=first, **FIELDS)
    await explain(honest, pair(), pair("other"), verifier_says=second, **FIELDS)
    notes = [notes_of(q) for q in first.asked if notes_of(q)]
    assert notes == [notes_of(q) for q in second.asked if notes_of(q)][: len(notes)]
    whole, destroyed = notes[0].split(), notes[2].split()
    changed = sum(a != b for a, b in zip(whole, destroyed, strict=True)) / len(whole)
    assert 0.15 < changed < 0.45  # of the blank-separated words; numbers and marks share some of them


@pytest.mark.parametrize(
    ("changes", "failed"),
    [
        ({"given": WITHOUT}, "utility"),
        ({"perturbed": GIVEN - 0.04}, "sensitivity"),
        ({"p_yes": 0.4}, "claims"),
    ],
)
async def test_each_verified_check_refuses_when_nothing_else_speaks(changes: dict[str, float], failed: str) -> None:
    fields = FIELDS | {"verifier": {"engine": "small", "checks": [failed]}, "soft": {"max_copy": 1, "min_quality": 1}}
    [kept], _, _ = await explain(honest, verifier_says=reader(), **fields)
    [row], _, _ = await explain(honest, verifier_says=reader(**changes), **fields)
    assert (kept.status, kept.verify.quality) == ("ok", 1.0)
    assert (row.status, row.reject_reason, row.verify.quality) == ("rejected", "low_quality", 0.5)  # own words: passed


async def test_what_the_verifier_does_not_answer_is_open_and_costs_nothing() -> None:
    def mute(request: Request) -> Completion:
        return Completion("I cannot say.", "stop", 50, 3)

    def narrow(request: Request) -> Completion:
        raise Rejected("context_overflow", "9000 tokens, 4096 fit")

    def one_order(request: Request) -> Completion:
        return letters(request, 0.9) if right_place(request) == "A" else mute(request)

    for answer in (mute, narrow, one_order):
        [row], _, _ = await explain(
            honest, verifier_says=Script(answer), **FIELDS | {"verifier": {"engine": "small", "checks": ["utility"]}}
        )
        assert (row.status, row.verify.p_label, row.verify.utility, row.verify.quality) == ("ok", None, None, 1.0)


async def test_what_the_gate_refused_is_not_verified() -> None:
    verifier = reader()
    rows, _, _ = await explain(lambda r: "nonsense", verifier_says=verifier, **FIELDS)
    assert [r.reject_reason for r in rows] == ["parse_error"]
    assert not verifier.asked


async def test_only_what_is_checked_is_asked() -> None:
    for checks, n in (["claims"], 2), (["utility"], 4), (["sensitivity"], 4), (["utility", "sensitivity"], 6):
        verifier = reader()
        await explain(honest, verifier_says=verifier, **FIELDS | {"verifier": {"engine": "small", "checks": checks}})
        assert len(verifier.asked) == n
        names = [
            t.name for t in Explain(engine="j", **FIELDS | {"verifier": {"engine": "s", "checks": checks}}).templates()
        ]
        assert ("explain/claim" in names) == ("claims" in checks)


async def test_a_critique_is_read_as_notes_on_its_own_response() -> None:
    verifier = reader()
    checks = {"engine": "small", "checks": ["utility", "claims"]}
    await explain(reviewer, verifier_says=verifier, kinds=("critique",), **FIELDS | {"verifier": checks})
    about: dict[str, set[bool]] = {"chosen": set(), "rejected": set()}
    for request in verifier.asked:
        if notes := notes_of(request):
            name = notes.removeprefix("Of Response ")[0]
            about["chosen" if "adds without a slip" in notes else "rejected"].add(name == right_place(request))
        elif "<claim>" in shown_text(request):
            assert "<response_b>" not in shown_text(request)
    assert about == {"chosen": {True}, "rejected": {False}}


def test_a_verifier_must_tell_labels_and_the_author_need_not() -> None:
    stage = Explain(engine="judge", verifier={"engine": "small"})
    assert stage.engines() == ("judge", "small")
    assert [sorted(stage.capabilities(alias)) for alias in ("judge", "small")] == [["generate"], ["generate", "labels"]]
