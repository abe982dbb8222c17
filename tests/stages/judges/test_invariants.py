"""The invariants of judging (spec judges C0, C7) where several stages meet: from calls to labels, and in whole runs.

Where each is tested:

| | |
|---|---|
| C0.1 null is not low | test_questions (every judging stage), test_verdicts, test_options, test_scores; labels: here |
| C0.2 two orders or nothing | test_aggregate, test_compare, test_jury; the rate at which pairs are lost: test_questions, here |
| C0.3 antisymmetry | test_jury (arrays), test_options (one call), here (label columns) |
| C0.4 blindness | test_questions (every judge), test_explain (authors), test_plant_probes |
| C0.5 order bits | test_compare, test_listwise; however prompts are cut: here |
| C0.6 raw before aggregate | here; a calibration is part of the recipe: test_aggregate |
| C0.7 independence | test_jury (one signal), test_aggregate, here (who made the label) |
| C0.8 keys, attempts | test_rate, test_questions, test_verify |
| C7 bias up to 3, silent judges, permutations, Bradley–Terry | test_jury, test_compare |
| C7 failures at a rate | test_questions (rows), here (labels); endpoints that answer some calls only: engines/test_openai |
| a calibration of another judge, template or kind | test_aggregate, test_calibrate |
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

import duckdb
import msgspec
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from benchmarks.scripted_judges import context, example
from pipeline import ids
from pipeline.engine import Completion, Request
from pipeline.pair import Pair, Score, Signal
from pipeline.records import Candidate, Judgment
from pipeline.stage import Context
from stages.judges.aggregate import Aggregate
from stages.judges.compare import Compare
from stages.judges.panel import Rules
from stages.judges.preferences import prefer
from stages.judges.rate import Rate
from tests.conftest import Site
from tests.stages.judges.test_aggregate import aggregate, arms, compared, given_pair
from tests.stages.judges.test_questions import GARBAGE

TEXTS = ("the first", "a second answer", "one more", "and the last")
probability = st.floats(1e-6, 1 - 1e-6)


def honest(request: Request) -> Completion:
    """Sure of its verdict, which depends on what is shown and on nothing else."""
    shown = "\n".join(m.content for m in request.messages or ())
    p = 0.55 + 0.4 * (ids.seed(shown) % 97) / 97
    best = request.labels[ids.seed("label", shown) % len(request.labels)]
    rest = (1 - p) / max(1, len(request.labels) - 1)
    return Completion(best, "stop", 9, 1, labels={k: math.log(p if k == best else rest) for k in request.labels})


# --- C0.3: swapping the arms turns every sign and nothing else ---

Said = tuple[list[tuple[float, float]], list[float], list[float]]
opinions = st.tuples(
    st.lists(st.tuples(probability, probability), min_size=1, max_size=4),
    st.lists(st.floats(-3, 3), max_size=2),
    st.lists(st.floats(1, 5), min_size=2, max_size=2),
)


def label(said: Said, first: str, second: str, turned: bool = False) -> dict[str, Any]:
    """The columns of the label that `first` is better (turned: `second`), by comparisons, rewards and scores."""
    candidates = [
        Candidate("p", name, text, "generate") for name, text in ((first, "a text"), (second, "a longer text"))
    ]
    rows = [
        _row("pairwise", (first, second), value, job=f"compare{k}", order=order)
        for k, values in enumerate(said[0])
        for order, value in enumerate(values)
    ]
    rows += [
        _row("rm", (c,), r, job=f"rm{k}", scale_min=-math.inf, scale_max=math.inf)
        for k, reward in enumerate(said[1])
        for c, r in ((first, reward), (second, -reward))
    ]
    rows += [
        _row("aspect", (c,), v, job="rate", scale_min=1.0, scale_max=5.0)
        for c, v in zip((first, second), said[2], strict=True)
    ]
    found = prefer(candidates, rows, Rules(), 0.05)
    found = found._replace(panel=found.panel._replace(calibrated=True))  # else there is no margin
    i, j = found.places[first], found.places[second]
    return found.columns(*((j, i) if turned else (i, j)), 0.05)


@given(opinions)
def test_the_opposite_label_has_every_sign_turned_exactly(said: Said) -> None:
    one, other = label(said, "a", "b"), label(said, "a", "b", turned=True)
    assert one["pref_prob"] + other["pref_prob"] == 1.0
    assert other["strength"] == -one["strength"]
    assert min(one["margin_logit"], other["margin_logit"]) == 0.0
    assert max(one["margin_logit"], other["margin_logit"]) == min(abs(one["strength"]), 4.0)
    assert abs(one["strength_signed_int"]) == abs(other["strength_signed_int"])
    same = (
        "strength_std",
        "agreement",
        "n_judges",
        "n_orders_consistent",
        "position_consistent",
        "ambiguous",
        "same_scc",
    )
    assert [one[name] for name in same] == [other[name] for name in same]
    assert [(s.judge, -s.log_odds, -s.raw, s.weight) for s in other["signals"]] == [
        (s.judge, s.log_odds, s.raw, s.weight) for s in one["signals"]
    ]
    votes = one["votes"]
    assert other["votes"] == msgspec.structs.replace(votes, chosen=votes.rejected, rejected=votes.chosen)


@given(opinions)
def test_the_ids_of_the_candidates_decide_nothing(said: Said) -> None:
    one, other = label(said, "a", "b"), label(said, "b", "a")  # their places, and so all arrays, stand the other way
    assume(abs(one["strength"]) > 1e-6)  # nearer to a tie the last bit decides whose side a judge is on
    for name in ("pref_prob", "strength", "strength_std", "margin_logit", "soft_label"):
        assert one[name] == pytest.approx(other[name], rel=1e-8, abs=1e-12)


def _row(mode: str, cand_ids: tuple[str, ...], value: float, **more: Any) -> Judgment:
    key = ids.content_hash(mode, cand_ids, str(more))
    fields = {"judge_id": "judge", "logprob_source": "raw", **more}
    return Judgment("p", key, mode=mode, cand_ids=cand_ids, status="ok", value=value, **fields)


# --- C0.1, C0.2, C7: what a judge fails to say is never a label ---


async def _labels(share: float, seed: int) -> tuple[dict[tuple[str, str], float | None], int, int]:
    """Arms -> P(label) of the pairs that a judge makes which fails at a share of its calls; calls, failed calls."""

    def answer(request: Request) -> Completion:
        draw = ids.stream("failing", seed, request.key)
        return draw.choice(GARBAGE) if draw.random() < share else honest(request)

    ctx, _ = context(answer, "compare")
    rows = await Compare(engine="judge", schedule="all", max_attempts=1).process(example(*TEXTS), ctx)
    shown = example(*TEXTS, judgments=rows)
    stage = Aggregate(strategy="all_pairs", max_pairs=99, exclude_same_family=False, ambiguous="flag")
    pairs = [p for p in await stage.process(shown, Context("aggregate", "run", 7, "f", {})) if isinstance(p, Pair)]
    return {arms(p): p.pref_prob for p in pairs}, len(rows), sum(row.value is None for row in rows)


@settings(max_examples=40)
@given(share=st.sampled_from([0.1, 0.3, 0.6, 1.0]), seed=st.integers(0, 10**6))
async def test_a_judge_that_fails_makes_fewer_labels_and_no_other_ones(share: float, seed: int) -> None:
    clean, _, _ = await _labels(0.0, seed)
    found, _, failed = await _labels(share, seed)
    assert {pair: clean.get(pair) for pair in found} == found
    assert share < 1 or (found, failed) == ({}, 12)


async def test_labels_are_lost_at_the_rate_at_which_one_of_two_orders_fails() -> None:
    share, lost, whole = 0.25, 0, 0
    for seed in range(60):
        ctx, _ = context(_failing(share, seed), "compare")
        rows = await Compare(engine="judge", schedule="all", max_attempts=1).process(example(*TEXTS), ctx)
        shown = example(*TEXTS, judgments=rows)
        found = prefer(shown.candidates, rows, Rules(), 0.05, own_too=True)
        whole += found.p.size - len(TEXTS)
        lost += int((found.p != found.p).sum())
    wanted = 1 - (1 - share) ** 2
    assert lost / whole == pytest.approx(wanted, abs=3.5 * math.sqrt(wanted * (1 - wanted) / (whole / 2)))


def _failing(share: float, seed: int) -> Any:
    def answer(request: Request) -> Completion:
        draw = ids.stream("failing", seed, request.key)
        return draw.choice(GARBAGE) if draw.random() < share else honest(request)

    return answer


async def test_scores_that_failed_decide_nothing_either() -> None:
    ctx, _ = context(_failing(1.0, 3), "rate")
    rows = await Rate(engine="judge", aspects=["correctness"], max_attempts=1).process(example(*TEXTS), ctx)
    pairs, _, counts = await aggregate(list(rows))
    assert (pairs, counts) == ([], {"no_pair:not_compared": 1})


# --- C0.5, C0.6: nothing depends on who works on what, and labels follow from stored rows ---


def _config(site: Site, judge: str, **changes: Any) -> dict[str, Any]:
    config = site.config(n=12, **changes)
    config["engines"]["judge"] = {"kind": "scripted", "function": f"tests.stages.judges.test_invariants:{judge}"}
    compare = {"stage": "compare", "engine": "judge", "schedule": "all"}
    config["jobs"] = [*config["jobs"][:2], compare, {"stage": "aggregate", "exclude_same_family": False}]
    return config


def _judgments(site: Site, run: str) -> list[Any]:
    query = f"select judgment_key, \"order\", value, cand_ids, status from '{site.folder}/runs/{run}/compare/*.parquet'"
    return sorted(duckdb.execute(query).fetchall())


def test_calls_and_their_orders_are_the_same_however_the_prompts_are_cut(site: Site) -> None:
    site.run(_config(site, "honest"))
    site.run(_config(site, "honest", name="whole", shard_size=12))
    site.run(_config(site, "honest", name="single", shard_size=1))
    found = _judgments(site, "t")
    assert {row[1] for row in found} == {0, 1}
    assert _judgments(site, "whole") == _judgments(site, "single") == found


def test_labels_are_made_again_of_stored_rows_without_asking_a_judge(
    site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    first = site.run(_config(site, "honest"))
    kept = first.totals["aggregate"].counts["kept"]
    assert kept
    again = _config(site, "honest")
    again["jobs"][-1] |= {"tie_delta": 0.2, "ambiguous": "flag"}
    before = site.files(kind="compare/*.parquet")
    driver = site.run(again, rebuild="aggregate")
    assert site.files(kind="compare/*.parquet") == before
    assert driver.totals["aggregate"].counts["kept"] < kept
    log = [json.loads(line) for line in (site.folder / "runs/t/log.jsonl").read_text(encoding="utf-8").splitlines()]
    starts = [at for at, event in enumerate(log) if event.get("event") == "start"]
    assert not [e for e in log[starts[-1] :] if e.get("job") in ("generate", "compare")]


# --- C0.7: who made a label does not turn it round ---


def judged_pair(makers: Sequence[str]) -> Pair:
    signals = tuple([Signal(f"{name}:judge", 1.0, 1.0, 1.0) for name in makers])
    return msgspec.structs.replace(given_pair("c0"), label_source="judge", signals=signals)


@pytest.mark.parametrize("makers", [("compare",), ("stronger",), ("compare", "stronger")])
async def test_a_judge_does_not_turn_its_own_label_round(makers: tuple[str, ...]) -> None:
    rows = [*compared("c0", "c1", 0.1), *compared("c0", "c1", 0.2, job="stronger")]
    _, (reject,), _ = await aggregate(rows, pairs=[judged_pair(makers)], relabel=True, second_opinion=["stronger"])
    assert reject.reason == "ambiguous"


async def test_two_that_had_no_part_in_a_label_may_turn_it_round() -> None:
    rows = [
        *compared("c0", "c1", 0.1),
        *compared("c0", "c1", 0.2, job="stronger"),
        *compared("c0", "c1", 0.3, job="old"),
    ]
    (pair,), _, _ = await aggregate(rows, pairs=[judged_pair(["old"])], relabel=True, second_opinion=["stronger"])
    assert (arms(pair), pair.label_flipped) == (("c1", "c0"), True)
    scored = msgspec.structs.replace(
        judged_pair([]), scores=(Score("chosen", "judge", None, 5.0, 1.0, 1.0, 5.0, 1, 0.0),)
    )  # of a pair by scores only the model is known: it is not heard in any job
    _, (reject,), _ = await aggregate(rows, pairs=[scored], relabel=True, second_opinion=["stronger"])
    assert reject.reason == "ambiguous"
