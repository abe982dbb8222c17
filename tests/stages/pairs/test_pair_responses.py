"""The stage: what a pool of judged answers becomes, and how everything else is accounted for."""

from __future__ import annotations

import asyncio
import json
import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from pydantic import ValidationError

from pipeline import ids
from pipeline.pair import Pair
from pipeline.records import Candidate, Judgment, Message, Prompt, Record, Reject, Source
from pipeline.stage import Context, Example, Slice
from stages.judges.labels import label_columns
from stages.judges.verify import Verify
from stages.pairs.pair_responses import PairResponses
from stages.pairs.select import STRATEGIES
from stages.sources.prompts import Prompts

DATA = Path(__file__).resolve().parents[3] / "../shared/data"
MESSAGES = (Message("user", "What is 2 + 2?"),)
PROMPT = Prompt(ids.prompt_id(MESSAGES), ids.prompt_id(MESSAGES), MESSAGES, "4", source=Source("sums"))
maybe_score = st.none() | st.integers(0, 8).map(lambda n: n / 8)
maybe_outcome = st.sampled_from([None, True, False])


def context() -> Context:
    return Context("pairs", "run", 7, "f" * 32, {})


def answer(name: str, text: str | None = None, **fields: Any) -> Candidate:
    return Candidate(PROMPT.prompt_id, name, f"answer {name}" if text is None else text, "generate", **fields)


def rated(name: str, value: float | None, judge: str = "j", aspect: str = "good", job: str = "rate") -> Judgment:
    key = f"{job}/{judge}/{aspect}/{name}"
    status: Any = "ok" if value is not None else "parse_error"
    return Judgment(PROMPT.prompt_id, key, job, "aspect", judge, (name,), status, value, aspect=aspect)


def checked(name: str, outcome: bool | None) -> Judgment:
    status: Any = "na" if outcome is None else "ok"
    value = None if outcome is None else float(outcome)
    return Judgment(PROMPT.prompt_id, f"verify/{name}", "verify", "tool", "verify", (name,), status, value)


def run(
    candidates: Sequence[Candidate], judgments: Sequence[Judgment], prompt: Prompt = PROMPT, **fields: Any
) -> tuple[list[Pair], list[Reject], dict[str, int]]:
    stage, ctx = PairResponses.model_validate(fields), context()
    example: Example[Any] = Example(prompt, candidates, judgments)
    rows = asyncio.run(stage.process(example, ctx))
    return [r for r in rows if isinstance(r, Pair)], [r for r in rows if isinstance(r, Reject)], ctx.counts


def pool(values: dict[str, float | None], **fields: Any) -> tuple[list[Pair], list[Reject], dict[str, int]]:
    return run([answer(n) for n in values], [rated(n, v) for n, v in values.items()], **fields)


def arms(pair: Pair) -> tuple[str, str]:
    """Candidate ids of the chosen and the rejected arm."""
    assert pair.chosen_gen is not None
    assert pair.rejected_gen is not None
    return pair.chosen_gen.candidate_id, pair.rejected_gen.candidate_id


def test_best_against_worst_fills_the_columns_of_the_pair() -> None:
    candidates = [answer("a", model="big", temperature=0.9, finish_reason="stop"), answer("b"), answer("c")]
    judgments = [rated("a", 0.9), rated("b", 0.5), rated("c", 0.1)]
    [pair], rejects, counts = run(candidates, judgments)
    assert (rejects, counts) == ([], {"kept": 1})
    assert (pair.kind, pair.level, pair.label_source, pair.dominance) == ("best_worst", "response", "judge", "scalar")
    assert pair.chosen_messages == (Message("assistant", "answer a"),)
    assert pair.rejected_messages == (Message("assistant", "answer c"),)
    assert (pair.chosen_score, pair.rejected_score) == (0.9, 0.1)
    assert pair.score_gap == 0.9 - 0.1
    assert pair.chosen_gen is not None
    assert (pair.chosen_gen.model, pair.chosen_gen.temperature) == ("big", 0.9)
    selection = pair.selection
    assert selection is not None
    assert (selection.n_candidates, selection.chosen_rank, selection.rejected_rank) == (3, 1, 3)
    assert math.isclose(selection.pool_mean, 0.5)
    assert math.isclose(selection.pool_std, math.sqrt(0.32 / 3))
    assert selection.chosen_z is not None
    assert math.isclose(selection.chosen_z, 0.4 / selection.pool_std)
    assert json.loads(selection.params_json)["min_margin"] == 0.1
    assert pair.strength is not None
    assert math.isclose(pair.strength, 0.8 / selection.pool_std)
    assert [(s.arm, s.judge, s.aspect, s.raw) for s in pair.scores] == [
        ("chosen", "j", "good", 0.9), ("rejected", "j", "good", 0.1),
    ]  # fmt: skip
    assert pair.lineage is not None
    assert pair.lineage.config_hash == "f" * 32
    assert pair.lineage.parent_ids == ("a", "c")
    assert pair.source == Source("sums")
    assert (pair.soft_label, pair.votes, pair.pref_prob, pair.margin_logit) == (None, None, None, None)


def test_ids_can_be_computed_again_from_the_row() -> None:
    [pair], _, _ = pool({"a": 0.9, "b": 0.1})
    texts = pair.chosen_messages[0].content, pair.rejected_messages[0].content
    sides = [ids.arm(ids.prompt_id(pair.prompt_messages), pair.assistant_prefix, text) for text in texts]
    assert pair.pair_id == ids.pair_id(pair.kind, pair.context_id, sides[0], sides[1])
    assert pair.unordered_id == ids.unordered_id(pair.context_id, sides[0], sides[1])
    assert pair.pair_id != ids.pair_id(pair.kind, pair.context_id, sides[1], sides[0])
    assert pair.unordered_id == ids.unordered_id(pair.context_id, sides[1], sides[0])


def test_right_beats_wrong_whatever_the_judge_says() -> None:
    candidates = [answer("right"), answer("wrong")]
    judgments = [rated("right", 0.0), rated("wrong", 1.0), checked("right", True), checked("wrong", False)]
    [pair], _, _ = run(candidates, judgments)
    assert arms(pair)[0] == "right"
    assert (pair.label_source, pair.dominance, pair.soft_label) == ("verifier", "checker", 0.98)
    assert (pair.strength_signed_int, pair.weight) == (3, 1.0)
    [pair], _, _ = run(candidates, judgments, outcome="ignore")
    assert arms(pair)[0] == "wrong"
    assert (pair.label_source, pair.soft_label) == ("judge", None)


@pytest.mark.parametrize(
    ("p", "soft", "strength", "weight"),
    [(0.5, 0.5, 0, 0.0), (0.65, 0.65, 1, 0.5), (0.76, 0.76, 2, 1.0), (0.99, 0.98, 3, 1.0), (0.35, 0.35, -1, 0.5)],
)
def test_what_a_probability_says_of_the_label(p: float, soft: float, strength: int, weight: float) -> None:
    assert label_columns(p) == {"soft_label": soft, "strength_signed_int": strength, "weight": weight}


def test_within_equal_outcomes_the_score_decides_unless_only_outcomes_may() -> None:
    candidates = [answer("a"), answer("b")]
    judgments = [rated("a", 0.9), rated("b", 0.1), checked("a", True), checked("b", True)]
    [pair], _, _ = run(candidates, judgments)
    assert pair.label_source == "judge"
    assert run(candidates, judgments, outcome="only") == ([], [], {"no_pair:all_right": 1})


def test_an_unknown_outcome_is_not_a_wrong_answer() -> None:
    candidates = [answer("right"), answer("unknown")]
    judgments = [checked("right", True), checked("unknown", None)]
    assert run(candidates, judgments) == ([], [], {"dropped:unknown_outcome": 1, "no_pair:unknown_outcome": 1})


def test_a_failed_judge_call_costs_that_answer_only() -> None:
    [pair], _, counts = pool({"a": 0.9, "b": None, "c": 0.4})
    assert arms(pair)[1] == "c"
    assert counts == {"dropped:no_score": 1, "kept": 1}


@pytest.mark.parametrize(
    ("outcomes", "reason"),
    [
        ([True, True], "all_right"), ([False, False], "all_wrong"), ([True], "single_candidate"), ([], "no_candidates"),
        ([None, None], "unknown_outcome"),
    ],
)  # fmt: skip
def test_a_prompt_without_a_pair_says_why(outcomes: list[bool | None], reason: str) -> None:
    candidates = [answer(str(i)) for i in range(len(outcomes))]
    judgments = [checked(str(i), outcome) for i, outcome in enumerate(outcomes)]
    pairs, rejects, counts = run(candidates, judgments)
    assert (pairs, rejects) == ([], [])
    assert counts[f"no_pair:{reason}"] == 1


@pytest.mark.parametrize(
    ("values", "fields", "reason"),
    [
        ({"a": 0.5, "b": 0.5}, {}, "tie"),
        ({"a": 0.55, "b": 0.5}, {}, "margin"),
        ({"a": 0.5, "b": 0.1}, {"chosen_min": 0.6}, "chosen_low"),
        ({"a": 0.9, "b": 0.1}, {"min_judgments": 2}, "too_few_judgments"),
        ({"a": 0.9, "b": 0.1}, {"gate": {"min_chars": 50}}, "empty"),
        ({"a": 0.9, "b": 0.1}, {"gate": {"max_similarity": 0.5}}, "too_similar"),
    ],
)
def test_a_refused_pair_is_a_reject_that_is_counted(
    values: dict[str, float | None], fields: dict[str, Any], reason: str
) -> None:
    pairs, [reject], counts = pool(values, **fields)
    assert pairs == []
    assert (reject.subject, reject.reason, reject.job, reject.prompt_id) == ("pair", reason, "pairs", PROMPT.prompt_id)
    assert "; candidate " in reject.detail
    assert counts == {f"refused:{reason}": 1, f"no_pair:{reason}": 1}


def test_truncated_and_empty_answers_never_enter_a_pool() -> None:
    candidates = [answer("cut", finish_reason="length"), answer("blank", text=" "), answer("a"), answer("b")]
    judgments = [rated("cut", 1.0), rated("blank", 0.0), rated("a", 0.9), rated("b", 0.1)]
    [pair], _, counts = run(candidates, judgments)
    assert arms(pair)[0] == "a"
    assert counts == {"dropped:empty": 1, "dropped:truncated": 1, "kept": 1}


def test_the_cap_keeps_the_widest_gaps() -> None:
    pairs, rejects, counts = pool({"a": 1.0, "b": 0.75, "c": 0.25, "d": 0.0}, strategy="all_pairs", max_pairs=3)
    assert [p.score_gap for p in pairs] == [1.0, 0.75, 0.75]
    assert (rejects, counts) == ([], {"kept": 3, "over_cap": 3})


def test_only_the_named_jobs_score_and_outcomes_always_count() -> None:
    candidates = [answer("a"), answer("b")]
    judgments = [rated("a", 0.9), rated("b", 0.1), rated("a", 0.0, job="other"), rated("b", 1.0, job="other")]
    [pair], _, _ = run(candidates, judgments, scores=["other"])
    assert arms(pair)[0] == "b"
    judgments += [checked("a", True), checked("b", False)]
    [pair], _, _ = run(candidates, judgments, scores=["other"])
    assert arms(pair)[0] == "a"


REWARDS = {"a": 4.0, "b": 3.0, "c": -1.0}


def rewarded() -> list[Judgment]:
    bounds = {"scale_min": -math.inf, "scale_max": math.inf}
    return [replace(rated(n, v, job="score_reward"), mode="rm", aspect=None, **bounds) for n, v in REWARDS.items()]


@pytest.mark.parametrize("combine", ["auto", "rank"])
def test_what_only_tells_the_better_one_of_a_pool_is_no_score_of_an_answer(combine: str) -> None:
    ratings = [rated(n, v / 10 + 0.5) for n, v in REWARDS.items()]
    judgments = rewarded() if combine == "auto" else ratings
    [pair], _, _ = run([answer(n) for n in REWARDS], judgments, combine=combine)
    assert arms(pair) == ("a", "c")
    assert (pair.chosen_score, pair.rejected_score, pair.score_gap) == (None, None, None)
    assert pair.strength is not None
    assert pair.strength > 0
    assert pair.filters[0].value is not None  # the gap that passed `min_margin`
    all_right = [*judgments, *[checked(n, True) for n in REWARDS]]
    [pair], _, _ = run([answer(n) for n in REWARDS], all_right, combine=combine)
    assert (pair.chosen_score, pair.rejected_score) == (None, None)
    decided = [*judgments, checked("a", True), checked("b", True), checked("c", False)]
    [pair], _, _ = run([answer(n) for n in REWARDS], decided, combine=combine)
    assert (pair.chosen_score, pair.rejected_score, pair.score_gap) == (1.0, 0.0, 1.0)
    [pair], _, _ = run([answer(n) for n in REWARDS], decided, combine=combine, outcome="ignore")
    assert pair.score_gap is None


def test_a_reward_that_weighs_nothing_takes_nothing_from_the_ratings() -> None:
    judgments = [*[rated(n, v / 10 + 0.5) for n, v in REWARDS.items()], *rewarded()]
    [pair], _, _ = run([answer(n) for n in REWARDS], [replace(j, aspect=j.aspect or "rm") for j in judgments],
                       weights={"good": 1.0, "rm": 0.0})  # fmt: skip
    assert (pair.chosen_score, pair.rejected_score) == (0.9, 0.4)


def test_judges_are_standardised_over_the_pool_so_that_a_bold_one_does_not_outvote_a_careful_one() -> None:
    bold = {"a": 0.0, "b": 1.0, "c": 0.5}
    careful = {"a": 0.62, "b": 0.58, "c": 0.5}
    second = {"a": 0.7, "b": 0.66, "c": 0.6}
    judges = {"x": bold, "y": careful, "z": second}
    judgments = [rated(n, v, judge=judge) for judge, table in judges.items() for n, v in table.items()]
    candidates = [answer(n) for n in bold]
    [by_z], _, _ = run(candidates, judgments, min_margin=0)
    [by_mean], _, _ = run(candidates, judgments, combine="mean", min_margin=0)
    assert arms(by_mean)[0] == "b"
    for combine in ("auto", "z"):
        [pair], _, _ = run(candidates, judgments, combine=combine, min_margin=0)
        assert 0 <= pair.rejected_score < pair.chosen_score <= 1  # type: ignore[operator]
    assert by_z.n_judges == 3
    assert by_z.votes is not None
    assert by_z.votes.chosen + by_z.votes.rejected + by_z.votes.tie == 3
    assert by_z.agreement == by_z.votes.chosen / 3
    assert by_z.pref_prob == by_z.soft_label == (by_z.votes.chosen + by_z.votes.tie / 2 + 0.5) / 4
    assert by_z.strength_std is not None


def test_aspects_that_all_agree_are_strict_dominance() -> None:
    candidates = [answer("a"), answer("b")]
    both = [rated("a", 0.9, aspect="x"), rated("a", 0.9, aspect="y"), rated("b", 0.1, aspect="x")]
    assert run(candidates, [*both, rated("b", 0.9, aspect="y")])[0][0].dominance == "strict_pareto"
    assert run(candidates, [*both, rated("b", 1.0, aspect="y")])[0][0].dominance == "weighted"


@settings(deadline=None)
@given(
    st.lists(st.tuples(maybe_score, maybe_outcome), max_size=6), st.sampled_from(sorted(STRATEGIES)),
    st.sampled_from(["first", "only", "ignore"]), st.randoms(use_true_random=False),
)  # fmt: skip
def test_pairs_keep_their_invariants(facts: list[Any], strategy: str, outcome: str, shuffled: Any) -> None:
    candidates = [answer(f"c{i}") for i in range(len(facts))]
    judgments = [rated(f"c{i}", score) for i, (score, _) in enumerate(facts)]
    judgments += [checked(f"c{i}", right) for i, (_, right) in enumerate(facts)]
    pairs, rejects, counts = run(candidates, judgments, strategy=strategy, outcome=outcome)
    shuffled.shuffle(candidates)
    shuffled.shuffle(judgments)
    assert run(candidates, judgments, strategy=strategy, outcome=outcome) == (pairs, rejects, counts)
    right = {f"c{i}": facts[i][1] for i in range(len(facts))}
    for pair in pairs:
        assert pair.score_gap == pair.chosen_score - pair.rejected_score >= 0.1 - 1e-9  # type: ignore[operator]
        assert pair.selection is not None
        assert pair.selection.chosen_rank < pair.selection.rejected_rank
        outcomes = right[arms(pair)[0]], right[arms(pair)[1]]
        if outcome != "ignore":
            assert outcomes != (False, True)
        if outcome == "only":
            assert outcomes == (True, False)
    assert len({p.unordered_id for p in pairs}) == len(pairs) <= 4
    assert counts.get("kept", 0) == len(pairs)
    assert sum(n for name, n in counts.items() if name.startswith("refused:")) == len(rejects)
    assert sum(n for name, n in counts.items() if name.startswith("no_pair:")) == (not pairs)


@settings(deadline=None)
@given(st.lists(st.integers(0, 8).map(lambda n: n / 8), max_size=6), st.sampled_from(sorted(STRATEGIES)), st.data())
def test_faults_never_raise_the_number_of_pairs(values: list[float], strategy: str, data: st.DataObject) -> None:
    if strategy in ("random", "best_random"):
        strategy = "all_pairs"  # a draw of one may move from below the margin to above it
    if strategy in ("adjacent", "best_second", "max_vs_mu_ksigma"):
        strategy = "top_bottom"  # taking a middle answer out widens the gap to the next
    candidates = [answer(f"c{i}") for i in range(len(values))]
    judgments = [rated(f"c{i}", v) for i, v in enumerate(values)]
    clean, _, _ = run(candidates, judgments, strategy=strategy, max_pairs=99, min_margin=0, m=1)
    broken = [
        rated(j.cand_ids[0], None) if data.draw(st.booleans(), label="parse failure") else j for j in judgments
    ]  # fmt: skip
    copies = [answer(f"copy{i}", text=f"answer c{i} ") for i in range(len(values))]
    judged_copies = [rated(f"copy{i}", v) for i, v in enumerate(values)]
    for more, said in ((candidates, broken), ([*candidates, *copies], [*judgments, *judged_copies])):
        faulty, _, _ = run(more, said, strategy=strategy, max_pairs=99, min_margin=0, m=1)
        assert len(faulty) <= len(clean)


def test_deviations_of_a_small_pool_are_warned_of() -> None:
    candidates = [answer(f"c{i}") for i in range(20)]
    judgments = [rated(f"c{i}", i / 20) for i in range(20)]
    warned = [run(candidates[:n], judgments[:n], strategy="max_vs_mu_ksigma")[2] for n in (19, 20)]
    assert ["warned:deviations_of_fewer_than_20" in counts for counts in warned] == [True, False]


def test_an_unknown_strategy_is_an_error() -> None:
    with pytest.raises(ValidationError, match="best_worst"):
        PairResponses.model_validate({"strategy": "best"})


@pytest.mark.skipif(not DATA.is_dir(), reason="the shared data folder is not here")
def test_recorded_solutions_give_a_pair_exactly_where_both_kinds_exist() -> None:
    names = ("6b_finetuning", "6b_verification", "175b_finetuning", "175b_verification")
    path = DATA / "gsm8k_model_solutions_400.jsonl"
    columns = {"prompt": "question", "reference": "ground_truth", "candidates": [f"{n}.solution" for n in names]}
    source = Prompts.model_validate({"path": str(path), "columns": columns})
    index = source.index(512)
    rows = [r for part in index.slices for r in source.read(Slice(*part), {}, "prompts")]
    flags = [[json.loads(line)[n]["is_correct"] for n in names] for line in path.read_text().splitlines()]
    pairs, counts, judged = asyncio.run(_verified_pairs(rows))
    wanted = [len(set(row)) == 2 for row in flags]
    assert judged == [float(flag) for row in flags for flag in row]
    assert [bool(p) for p in pairs] == wanted
    assert counts["kept"] == sum(wanted)
    no_pair = Counter("all_right" if row[0] else "all_wrong" for row in flags if len(set(row)) == 1)
    assert {k: v for k, v in counts.items() if k.startswith("no_pair")} == {
        f"no_pair:{k}": v for k, v in no_pair.items()
    }


async def _verified_pairs(rows: list[Record]) -> tuple[list[list[Pair]], dict[str, int], list[float | None]]:
    verify, stage, ctx = Verify(), PairResponses(), context()
    candidates: dict[str, list[Candidate]] = {}
    for row in rows:
        if isinstance(row, Candidate):
            candidates.setdefault(row.prompt_id, []).append(row)
    pairs, judged = [], []
    for prompt in (r for r in rows if isinstance(r, Prompt)):
        example: Example[Any] = Example(prompt, candidates[prompt.prompt_id])
        judgments = await verify.process(example, ctx)
        judged += [j.value for j in judgments]
        example.judgments = judgments
        pairs.append([r for r in await stage.process(example, ctx) if isinstance(r, Pair)])
    return pairs, ctx.counts, judged
