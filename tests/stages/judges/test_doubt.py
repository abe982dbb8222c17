"""Cascades and judging near errors: who is asked again, who decides, and what is never exceeded."""

from __future__ import annotations

import math
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.scripted_judges import asked_text, context
from pipeline import ids
from pipeline.dataset import Verdict, Verdicts
from pipeline.engine import Completion, Request
from pipeline.errors import PlanError
from pipeline.pair import Pair
from pipeline.records import Candidate, Embedding, Judgment, Reject
from pipeline.stage import Context, Example
from stages.judges.aggregate import Aggregate
from stages.judges.compare import Compare
from stages.judges.doubt import neighbours_wanted, standings
from stages.judges.near_errors import NearErrors
from tests.stages.curate.rows import decided, prompt_of

TEXTS = {"c0": "one", "c1": "two", "c2": "three"}
DUELS = [("c0", "c1"), ("c0", "c2"), ("c1", "c2")]
Said = tuple[float | None, float | None]  # P(first is better) in each order
chances = st.one_of(st.none(), st.floats(0.01, 0.99))


def pool(prompt_id: str) -> list[Candidate]:
    return [Candidate(prompt_id, who, text, "generate") for who, text in TEXTS.items()]


def told(job: str, said: dict[tuple[str, str], Said], prompt_id: str) -> list[Judgment]:
    rows = []
    for pair, values in said.items():
        for order, value in enumerate(values):
            status: Any = "ok" if value is not None else "parse_error"
            key = ids.content_hash(job, pair, order, prompt_id)
            rows.append(
                Judgment(prompt_id, key, job, "pairwise", "j", pair, status, value, order=order, logprob_source="raw")
            )
    return rows


def checked(who: str, right: bool, prompt_id: str) -> Judgment:
    return Judgment(prompt_id, f"v{who}", "verify", "tool", "v", (who,), "ok", float(right))


def asked(said: dict[tuple[str, str], Said], text: str = "Which?", job: str = "cheap") -> Example[Any]:
    prompt = prompt_of(text)
    return Example(prompt, pool(prompt.prompt_id), told(job, said, prompt.prompt_id))


def sure_of(best: str) -> Any:
    """A judge who knows the best and calls the rest a tie."""

    def answer(request: Request) -> Completion:
        found = re.search(
            r"<response_a>\n(.*?)\n</response_a>\n\n<response_b>\n(.*?)\n</", asked_text(request), re.DOTALL
        )
        assert found is not None
        p = 0.99 if found[1] == best else 0.01 if found[2] == best else 0.5
        logs = {"A": math.log(p), "B": math.log(1 - p), "T": -math.inf}
        return Completion("A" if p > 0.5 else "B", "stop", 9, 1, labels=logs)

    return answer


async def strong(example: Example[Any], answer: Any, **fields: Any) -> tuple[list[Judgment], int, dict[str, int]]:
    ctx, script = context(answer, "strong")
    stage = Compare(engine="judge", **({"schedule": "asked", "unsure": {"of": ["cheap"], "below": 0.2}} | fields))
    stage.check()
    return await stage.process(example, ctx), len(script.asked), ctx.counts


async def labelled(example: Example[Any], rows: list[Judgment], **fields: Any) -> tuple[list[Pair], dict[str, int]]:
    ctx = Context("aggregate", "run", 7, "f", {})
    seen: Example[Any] = Example(example.prompt, example.candidates, [*example.judgments, *rows])
    stage = Aggregate(cascade=("cheap", "strong"), strategy="all_pairs", max_pairs=9, **fields)
    made = await stage.process(seen, ctx)
    return [row for row in made if isinstance(row, Pair)], ctx.counts


def arms(pair: Pair) -> tuple[str, str]:
    assert pair.chosen_gen is not None
    assert pair.rejected_gen is not None
    return pair.chosen_gen.candidate_id, pair.rejected_gen.candidate_id


def test_doubt_is_what_cannot_be_relied_on() -> None:
    said: dict[tuple[str, str], Said] = {DUELS[0]: (0.9, 0.9), DUELS[1]: (0.9, 0.2), DUELS[2]: (0.9, None)}
    example = asked(said)
    found = standings(example.candidates, example.judgments)
    assert found[DUELS[0]].confidence == pytest.approx(0.4)
    assert [found[d].confidence for d in DUELS[1:]] == [0.0, 0.0]  # the orders disagree; one was not answered
    assert found[DUELS[2]].p is None
    divided = told("other", {DUELS[0]: (0.3, 0.3)}, example.prompt.prompt_id)
    assert standings(example.candidates, [*example.judgments, *divided])[DUELS[0]].confidence == 0.0
    assert standings(example.candidates, [*example.judgments, *divided], ("cheap",))[DUELS[0]].confidence > 0.3
    known = [*example.judgments, checked("c0", False, "p"), checked("c1", True, "p")]
    assert standings(example.candidates, known)[DUELS[0]][::2] == (0.5, False)


async def test_only_what_the_cheap_judge_left_open_goes_to_the_strong_one() -> None:
    example = asked({DUELS[0]: (0.95, 0.95), DUELS[1]: (0.6, 0.6), DUELS[2]: (None, 0.9)})
    rows, calls, counts = await strong(example, sure_of("three"))
    assert list(dict.fromkeys(row.cand_ids for row in rows)) == [DUELS[2], DUELS[1]]  # the least sure first
    assert (calls, counts["left_as_sure"], counts["calls_saved"]) == (4, 1, 2)
    pairs, counts = await labelled(example, rows)
    assert {arms(p) for p in pairs} == {("c0", "c1"), ("c2", "c0"), ("c2", "c1")}
    deciders = {arms(p): [s.judge.split(":")[0] for s in p.signals] for p in pairs}
    assert deciders == {("c0", "c1"): ["cheap"], ("c2", "c0"): ["strong"], ("c2", "c1"): ["strong"]}
    assert (counts["decided:cheap:j"], counts["decided:strong:org/Judge-1"]) == (1, 2)


@settings(max_examples=40, deadline=None)
@given(st.tuples(*[st.tuples(chances, chances)] * 3), st.floats(0.05, 0.5), st.sampled_from(sorted(TEXTS.values())))
async def test_a_cascade_never_changes_a_confident_verdict(said: Any, below: float, best: str) -> None:
    example = asked(dict(zip(DUELS, said, strict=True)))
    before = standings(example.candidates, example.judgments)
    rows, calls, _ = await strong(example, sure_of(best), unsure={"of": ["cheap"], "below": below})
    confident = {pair for pair, one in before.items() if one.confidence >= below}
    assert calls == 2 * (len(before) - len(confident))
    pairs, _ = await labelled(example, rows, ambiguous="flag")
    for pair in pairs:
        won, lost = arms(pair)
        duel = (min(won, lost), max(won, lost))
        decider = pair.signals[0].judge.split(":")[0]
        assert (decider == "cheap") == (duel in confident)
        if duel in confident:
            p = before[duel].p
            assert pair.pref_prob == pytest.approx(p if duel == (won, lost) else 1 - (p or 0))


async def test_a_strong_judge_that_fails_leaves_no_label_where_the_cheap_one_was_unsure() -> None:
    example = asked({DUELS[0]: (0.95, 0.95), DUELS[1]: (0.65, 0.65), DUELS[2]: (0.65, 0.65)})
    rows, _, _ = await strong(example, lambda request: Completion("Well …", "stop", 9, 2), max_attempts=1)
    assert {row.value for row in rows} == {None}
    pairs, _ = await labelled(example, rows)
    assert [arms(p) for p in pairs] == [("c0", "c1")]


def test_a_tournament_cannot_leave_pairs_out() -> None:
    with pytest.raises(PlanError, match="unsure goes with"):
        Compare(engine="judge", schedule="swiss", unsure={"below": 0.2}).check()


@pytest.mark.parametrize(
    ("p", "k"), [(0.2, 8), (0.5, 8), (0.51, 4), (0.75, 2), (0.875, 1), (0.9, 1), (0.99, 1), (1.0, 0)]
)
def test_neighbours_as_in_skywork(p: float, k: int) -> None:
    assert neighbours_wanted(p) == k


STORIES = ("A hall has {} rows of {} seats.", "Ann picks {} apples and {} plums.", "A train needs {} hours for {} km.")


def stories(n: int, doubtful: int = 0) -> list[Example[Any]]:
    """n prompts of three kinds; judges are sure but for the first `doubtful` of the first kind."""
    found = []
    for i in range(n):
        unsure = i % 3 == 0 and i // 3 < doubtful
        found.append(asked({DUELS[0]: (0.5, 0.5) if unsure else (0.999, 0.999)}, STORIES[i % 3].format(i + 2, i + 5)))
    return found


def budgets(verdicts: list[Verdict]) -> list[int]:
    return [v.budget if v.budget is not None else -1 for v in verdicts]


def test_prompts_like_those_in_doubt_are_judged_again() -> None:
    found = decided(NearErrors(budget=6, per_prompt=1), stories(30, doubtful=1))
    given_ = budgets(found.verdicts)
    assert sum(given_) == 6
    assert given_[0] == 1
    assert {i % 3 for i, n in enumerate(given_) if n} == {0}  # halls, as the one in doubt
    assert all(v.keep and v.reason is None for v in found.verdicts)


def test_an_error_that_a_check_finds_calls_for_its_neighbours_and_is_itself_decided() -> None:
    examples = stories(30)
    wrong = examples[3]
    wrong.judgments = [*wrong.judgments, *[checked(c, c == "c1", wrong.prompt.prompt_id) for c in ("c0", "c1")]]
    given_ = budgets(decided(NearErrors(budget=5, per_prompt=1), examples).verdicts)
    assert given_[3] == 0
    assert sum(given_) == 5
    assert sum(n for i, n in enumerate(given_) if i % 3 == 0) == 5


def test_embeddings_say_what_is_alike_where_there_are_some() -> None:
    examples = stories(9, doubtful=1)
    for i, example in enumerate(examples):
        vector = (1.0, 0.0) if i in (0, 4, 8) else (0.0, 1.0)
        example.embeddings = [Embedding(example.prompt.prompt_id, "m", vector)]
    given_ = budgets(decided(NearErrors(budget=3, per_prompt=1, semantic=True), examples).verdicts)
    assert [i for i, n in enumerate(given_) if n] == [0, 4, 8]


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 40), st.integers(1, 3), st.integers(0, 12), st.integers(1, 7), st.randoms())
def test_the_budget_is_hard_and_the_same_whatever_the_shards(
    budget: int, each: int, doubtful: int, per_shard: int, shuffle: Any
) -> None:
    stage, examples = NearErrors(budget=budget, per_prompt=each), stories(24, doubtful)
    whole = decided(stage, examples, per_shard=24)
    shuffled = [*examples]
    shuffle.shuffle(shuffled)
    parts = decided(stage, shuffled, per_shard=per_shard)
    assert {v.prompt_id: v.budget for v in whole.verdicts} == {v.prompt_id: v.budget for v in parts.verdicts}
    assert sum(budgets(whole.verdicts)) <= budget
    assert max(budgets(whole.verdicts)) <= each


async def test_a_budget_bounds_what_is_compared_behind_it() -> None:
    example = asked(dict.fromkeys(DUELS, (0.5, 0.5)))
    for budget, calls in ((0, 0), (1, 2), (2, 4), (9, 6)):
        row = Verdict(example.prompt.prompt_id, "near", "prompt", example.prompt.prompt_id, True, budget=budget)
        example.budget = Verdicts([row]).budget(example.prompt.prompt_id)
        rows, made, _ = await strong(example, sure_of("two"))
        assert (len(rows), made) == (calls, calls)
    assert Verdicts([]).budget("p") is None
    assert not [row for row in rows if isinstance(row, Reject)]
