"""Pairs about what a prompt asks for: the golden example, the kinds and their invariants, faults that make nothing."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from pydantic import ValidationError

from pipeline import ids
from pipeline.errors import PlanError, Rejected
from pipeline.pair import Pair
from pipeline.records import Candidate, Judgment, Message, Prompt, Reject
from pipeline.stage import Context, Example
from stages.exports.arms import conditional_arms
from stages.exports.wanted import Wanted
from stages.pairs.build import response_pair
from stages.pairs.draw_instructions import strictly_better
from stages.pairs.pair_instructions import PairInstructions
from stages.pairs.recheck import incomplete, why_untrue
from tests.conftest import Site

ROSES = "The garden is small, but it is full of roses. Bees visit it daily."
TEXTS = (
    ROSES,
    "1. Roses grow in spring\n2. Bees come in summer\n3. The gardener rests in winter and reads about trees",
    (
        "THE GARDEN HAS A WALL! Nobody knows who built it, and nobody asks. It keeps the wind away from the roses. "
        "It is old, and ivy climbs on it. In autumn the ivy turns red! Visitors take photographs of it every day."
    ),
    "- roses\n- bees\n- a bench",
)
GOLDEN_PROMPT = "Describe my garden."  # draws follow from seed and prompt: with this one, the specification's come out
texts = st.lists(st.sampled_from(TEXTS) | st.text("ab ,.!\nABC1", max_size=80), max_size=4)


def prompt(text: str = "Describe the garden and its flowers.", **fields: Any) -> Prompt:
    messages = (Message("system", "You write well."), Message("user", text))
    return Prompt(ids.prompt_id(messages), "base", messages, **fields)


def answers(responses: Sequence[str], asked: Prompt, **fields: Any) -> list[Candidate]:
    return [Candidate(asked.prompt_id, f"c{i}", text, "generate", **fields) for i, text in enumerate(responses)]


def process(stage: PairInstructions, example: Example[Any], seed: int = 7) -> tuple[list[Any], dict[str, int]]:
    ctx = Context("instructions", "run", seed, "f" * 32, {})
    return asyncio.run(stage.process(example, ctx)), ctx.counts


def run(
    responses: Sequence[str], asked: Prompt | None = None, seed: int = 7, pairs: Sequence[Pair] = (), **fields: Any
) -> tuple[list[Pair], list[Reject], dict[str, int]]:
    asked = asked or prompt()
    stage = PairInstructions.model_validate(fields)
    rows, counts = process(stage, Example(asked, answers(responses, asked), pairs=pairs), seed)
    return [r for r in rows if isinstance(r, Pair)], [r for r in rows if isinstance(r, Reject)], counts


def groups(pairs: Sequence[Pair]) -> list[list[Pair]]:
    found: dict[str, list[Pair]] = {}
    for pair in pairs:
        found.setdefault(pair.group_id or pair.pair_id, []).append(pair)
    return list(found.values())


def test_the_golden_example_of_the_specification() -> None:
    three = ["length_constraints:number_sentences", "change_case:english_lowercase", "detectable_format:bullet_points"]
    fields: dict[str, Any] = {"families": three, "n_instructions": [3, 3], "mode_mix": 1, "separator": " ",
                              "mirrored": False}  # fmt: skip
    [pair], _, _ = run([ROSES], prompt(GOLDEN_PROMPT), seed=3, kinds=["mapl_intra"], **fields)
    assert pair.rejected_prompt_messages is not None
    assert pair.prompt_messages[-1].content == (
        f"{GOLDEN_PROMPT} Use at most 4 sentences. Do not write everything in lowercase. Do not use bullet points."
    )
    assert pair.rejected_prompt_messages[-1].content == (
        f"{GOLDEN_PROMPT} Use at least 4 sentences. Write everything in lowercase. Use at least one bullet point."
    )
    assert pair.chosen_messages == pair.rejected_messages == (Message("assistant", ROSES),)


def test_a_prompt_pair_has_its_two_prompts_the_ids_of_its_arms_and_the_source_prompt_to_be_joined_by() -> None:
    asked = prompt()
    pairs, _, counts = run(TEXTS, asked, kinds=["mapl_intra"])
    assert len(pairs) == counts["kept:mapl_intra"] == 4
    for pair in pairs:
        assert (pair.level, pair.kind, pair.label_source, pair.dominance) == (
            "prompt",
            "mapl_intra",
            "checker",
            "checker",
        )
        assert (pair.prompt_id, pair.base_prompt_id) == (asked.prompt_id, "base")
        assert pair.rejected_prompt_messages is not None
        assert pair.prompt_messages[0] == pair.rejected_prompt_messages[0] == asked.messages[0]
        text = pair.chosen_messages[0].content
        arms = [ids.arm(ids.prompt_id(m), None, text) for m in (pair.prompt_messages, pair.rejected_prompt_messages)]
        assert pair.pair_id == ids.pair_id("mapl_intra", None, *arms)
        assert pair.unordered_id == ids.unordered_id(None, *arms)
        constraints = pair.constraints or ()
        assert [c.family for c in constraints if c.in_chosen_prompt] != []
        assert {c.chosen_ok == c.rejected_ok for c in constraints} == {True}
        assert [f.name for f in pair.filters] == ["checkers", "text_of_kwargs"]
        assert pair.lineage is not None
        with pytest.raises(Rejected, match="prompt_differs"):
            conditional_arms(pair, Wanted())


@pytest.mark.parametrize("mirrored", [True, False])
@pytest.mark.parametrize(("mode_mix", "mode"), [(1, "a"), (0, "b")])
def test_the_modes_of_mapl_intra(mode_mix: float, mode: str, mirrored: bool) -> None:
    pairs, _, _ = run(TEXTS, kinds=["mapl_intra"], mode_mix=mode_mix, mirrored=mirrored)
    assert {json.loads(p.ext_json or "")["mode"] for p in pairs} == {mode}
    for pair in pairs:
        better = [c.chosen_ok for c in pair.constraints or () if c.in_chosen_prompt]
        worse = [c.chosen_ok for c in pair.constraints or () if c.in_rejected_prompt]
        assert (all(better) and not all(worse)) if mode == "a" else (any(better) and not any(worse))


@settings(max_examples=60, deadline=None)
@given(texts, st.integers(0, 9))
def test_the_invariants_of_every_kind(responses: list[str], seed: int) -> None:
    asked = prompt()
    pairs, refused, _ = run(responses, asked, seed, max_total=1000)
    assert [r.reason for r in refused if r.reason != "identical_text"] == []
    orientations: dict[str, set[str]] = {}
    for pair in pairs:
        assert why_untrue(pair) is None  # I12: all stored booleans again, from the row alone
        assert (pair.level == "prompt") == (pair.rejected_prompt_messages is not None)  # I5
        assert (pair.level == "prompt") == (pair.chosen_messages == pair.rejected_messages)
        assert pair.prompt_id == asked.prompt_id
        families = [c.family for c in pair.constraints or () if c.in_chosen_prompt]
        assert len(families) == len(set(families))
        if pair.level == "response":
            orientations.setdefault(pair.unordered_id, set()).add(pair.chosen_messages[0].content)
    assert len({p.pair_id for p in pairs}) == len(pairs)
    assert {len(chosen) for chosen in orientations.values()} <= {1}  # I4
    for group in groups(pairs):
        if group[0].group_id:
            assert incomplete(group) is None  # I11, I21
            assert [p.group_role for p in group] == ["A", "B"]


@settings(max_examples=20, deadline=None)
@given(st.permutations(list(range(4))))
def test_the_order_of_the_responses_changes_nothing(order: list[int]) -> None:
    asked = prompt()
    shuffled = [answers(TEXTS, asked)[i] for i in order]
    rows, _ = process(PairInstructions(), Example(asked, shuffled))
    assert rows == run(TEXTS, asked)[0]


def test_mirrored_prompts_win_and_lose_once_each() -> None:
    pairs, _, _ = run(TEXTS, kinds=["mapl_intra"], max_pairs=100, max_total=100)
    assert len(pairs) > 4
    for one, other in groups(pairs):
        assert (one.prompt_messages, one.rejected_prompt_messages) == (
            other.rejected_prompt_messages,
            other.prompt_messages,
        )
        assert one.chosen_messages != other.chosen_messages


def test_a_group_of_mapl_inter_is_what_strict_dominance_says_of_its_two_prompts() -> None:
    pairs, _, _ = run(TEXTS, kinds=["mapl_inter"])
    assert len(pairs) == 4
    for one, other in groups(pairs):  # I13
        for pair, contrary in ((one, other), (other, one)):
            vectors = [(c.chosen_ok, c.rejected_ok) for c in pair.constraints or ()]
            assert set(vectors) == {(True, False)}
            assert strictly_better([v[0] for v in vectors], [v[1] for v in vectors])
            assert not strictly_better([v[1] for v in vectors], [v[0] for v in vectors])
            assert pair.chosen_messages == contrary.rejected_messages
        assert [c.family for c in one.constraints or ()] == [c.family for c in other.constraints or ()]


def test_a_quad_alters_a_part_of_its_instructions() -> None:
    pairs, _, _ = run(TEXTS, kinds=["iopo_quad"], n_instructions=[3, 3])
    shared = 0
    for one, other in groups(pairs):
        names = [[c.constraint_id for c in pair.constraints or ()] for pair in (one, other)]
        same = [a for a, b in zip(*names, strict=True) if a == b]
        shared += len(same)
        assert len(same) < len(names[0])
        assert all(c.chosen_ok for pair in (one, other) for c in pair.constraints or ())
    assert shared > 0


def test_after_reversal_the_chosen_response_keeps_all_and_the_margin_counts_the_differences() -> None:
    pairs, _, _ = run(TEXTS, kinds=["rpo_reverse"], gamma=0.2)
    assert pairs != []
    for one, other in groups(pairs):  # I14
        for pair in (one, other):
            assert all(c.chosen_ok for c in pair.constraints or ())
            broken = sum(c.rejected_ok is False for c in pair.constraints or ())
            assert broken > 0
            assert json.loads(pair.ext_json or "") == {"differing": broken, "gamma": 0.2}
            assert pair.margin_logit == pytest.approx(0.2 * broken)
            assert {c.polarity for c in pair.constraints or ()} <= {"original", "reversed"}
        demanded = [[c.text for c in pair.constraints or ()] for pair in (one, other)]
        assert sum(a != b for a, b in zip(*demanded, strict=True)) == json.loads(one.ext_json or "")["differing"]


def test_conditionalised_rows_carry_the_prompts_of_mapl_intra_into_ordinary_pairs() -> None:
    caps: dict[str, Any] = {"max_pairs": 100, "max_total": 100}
    intra, _, _ = run(TEXTS, kinds=["mapl_intra"], mirrored=False, **caps)
    rows, _, _ = run(TEXTS, kinds=["conditionalised"], **caps)
    asked = {p.prompt_messages for p in intra} | {p.rejected_prompt_messages for p in intra}
    assert rows != []
    for row in rows:
        assert row.prompt_messages in asked
        assert (row.group_id, row.dominance, row.level) == (None, "strict_pareto", "response")
        assert conditional_arms(row, Wanted()).chosen == row.chosen_messages[0].content.strip()


def given_prompt(names: list[str], kwargs: list[Any]) -> Prompt:
    return prompt("Name a tree. No commas.", ext_json=json.dumps({"instruction_id_list": names, "kwargs": kwargs}))


def test_instructions_that_the_prompt_says_itself_are_checked_and_not_added() -> None:
    asked = given_prompt(["punctuation:no_comma", "detectable_format:title"], [{}, None])
    fields: dict[str, Any] = {"kinds": ["conditionalised"], "instruction_ids": "instruction_id_list", "max_pairs": 100}
    pairs, _, _ = run(["An oak, say", "An oak"], asked, written=True, **fields)
    own = [p for p in pairs if p.prompt_messages == asked.messages]
    assert [p.chosen_messages[0].content for p in own] == ["An oak"]
    assert {c.origin for c in own[0].constraints or ()} == {"given"}
    pairs, _, _ = run(["An oak, say", "An oak"], asked, **fields)
    assert any("Do not use any commas." in p.prompt_messages[-1].content for p in pairs)


def test_a_prompt_with_instructions_that_cannot_be_read_is_rejected_by_name() -> None:
    asked = given_prompt(["punctuation:no_comma"], [{"num_words": 3}])
    with pytest.raises(Rejected, match=r"bad_constraints.*has no argument 'num_words'"):
        run(TEXTS, asked, instruction_ids="instruction_id_list")


def test_only_the_arms_of_upstream_pairs_are_compared_whichever_was_chosen() -> None:
    asked, stage = prompt(), PairInstructions(responses="pairs", max_total=100)
    one, two, *_ = candidates = answers(TEXTS, asked)
    ready, swapped = (response_pair("given", asked, *arms, label_source="given") for arms in ((one, two), (two, one)))
    pairs, _ = process(stage, Example(asked, candidates, pairs=[ready]))
    assert {m.content for p in pairs for m in p.chosen_messages} == {one.text, two.text}
    assert process(stage, Example(asked, candidates, pairs=[swapped]))[0] == pairs
    assert stage.needs() == (Candidate, Pair)


def test_only_responses_that_were_found_right_are_compared_where_that_is_wanted() -> None:
    asked, stage = prompt(), PairInstructions(only_right=True, max_total=100)
    candidates = answers(TEXTS, asked)
    values: dict[str, list[float | None]] = {"c0": [1.0], "c1": [1.0], "c2": [0.0], "c3": [1.0, None]}
    judgments = [
        Judgment(asked.prompt_id, f"{who}{i}", "verify", "tool", "verify", (who,), "na" if v is None else "ok", v)
        for who, row in values.items() for i, v in enumerate(row)
    ]  # fmt: skip
    rows, _ = process(stage, Example(asked, candidates, judgments))
    assert {m.content for p in rows for m in (*p.chosen_messages, *p.rejected_messages)} == {*TEXTS[:2]}
    assert stage.needs() == (Candidate, Judgment)


def test_caps_hold_and_no_group_is_cut_in_two() -> None:
    pairs, _, counts = run(TEXTS, max_pairs=3, max_total=7)
    assert len(pairs) <= 7
    assert {len(group) for group in groups(pairs) if group[0].group_id} == {2}
    assert counts["capped:mapl_inter"] == 1


def test_code_gets_no_instruction_that_would_change_it() -> None:
    fence = "```python\nprint('{}')\n```"
    pairs, _, _ = run([fence.format("roses, bees"), fence.format("trees')\nprint('bees")], max_total=100)
    named = {c.family for p in pairs for c in p.constraints or ()}
    allowed = ("number_lines", "existence", "forbidden_words", "frequency")
    assert named != set()
    assert {name.split(":")[1] for name in named} <= {*allowed}


def total(responses: Sequence[str]) -> int:
    return len(run(responses, max_pairs=1000, max_total=1000)[0])


@pytest.mark.parametrize("fault", ["", " \n", TEXTS[0], TEXTS[0] + "  "])
def test_an_empty_or_repeated_response_makes_no_pair(fault: str) -> None:
    assert total([*TEXTS[:2], fault]) == total(TEXTS[:2])


@pytest.mark.parametrize("fields", [{"finish_reason": "length"}, {"policy_relation": "canary"}])
def test_cut_and_planted_responses_make_no_pair(fields: dict[str, Any]) -> None:
    asked = prompt()
    candidates = [*answers(TEXTS[:1], asked), *answers(TEXTS[1:2], asked, **fields)]
    stage = PairInstructions(kinds=("mapl_inter", "conditionalised"))
    assert process(stage, Example(asked, candidates))[0] == []


def test_a_row_that_was_tampered_with_is_found_untrue() -> None:
    pair = run(TEXTS, kinds=["mapl_inter"])[0][0]
    first, *rest = pair.constraints or ()
    exchanged = replace(pair, chosen_messages=pair.rejected_messages, rejected_messages=pair.chosen_messages)
    for changed, reason in (
        (exchanged, "stored_otherwise"),
        (replace(pair, chosen_messages=(Message("assistant", ""),)), "unknown"),
        (replace(pair, constraints=None), "no_constraints"),
        (replace(pair, constraints=(replace(first, text="Be nice."), *rest)), "text_of_kwargs"),
        (replace(pair, constraints=(replace(first, kwargs_json='{"x":1}'), *rest)), "bad_kwargs"),
        (replace(pair, constraints=(replace(first, kwargs_json="{"), *rest)), "bad_kwargs"),
        (replace(pair, constraints=(replace(first, kwargs_json="[]"), *rest)), "bad_kwargs"),
        (replace(pair, constraints=(first, first, *rest)), "conflict"),
        (replace(pair, prompt_messages=(Message("user", "Hi."),)), "not_in_prompt"),
        (replace(pair, constraints=(replace(first, checker_version="0"), *rest)), "stored_otherwise"),
    ):
        found = why_untrue(changed)
        assert found is not None
        assert found[0] == reason
    assert incomplete([pair]) is not None


def test_what_a_config_gets_wrong_is_said_in_one_line() -> None:
    with pytest.raises(ValidationError, match="no family keywords:x; families: change_case:capital_word_frequency"):
        PairInstructions(families=("keywords:x",))
    with pytest.raises(ValidationError, match="fewest, most"):
        PairInstructions(n_instructions=(3, 2))
    with pytest.raises(PlanError, match="written needs instruction_ids"):
        PairInstructions(written=True).check()


def test_augmented_prompts_go_through_a_run_to_the_trainers_formats(site: Site) -> None:
    columns = {"prompt": "prompt", "chosen": "chosen", "rejected": "rejected"}
    rows = [{"prompt": f"Garden {i}?", "chosen": TEXTS[i % 4], "rejected": TEXTS[(i + 1) % 4]} for i in range(8)]
    path = site.folder / "pairs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    jobs: list[dict[str, Any]] = [
        {"stage": "prompts", "path": str(path), "columns": columns},
        {"stage": "pair_instructions", "responses": "pairs"},
        {"stage": "export", "from": "pair_instructions", "format": "trl-dpo"},
        {"stage": "export", "name": "reward", "from": "pair_instructions", "format": "trl-reward"},
        {"stage": "export", "name": "quads", "from": "pair_instructions", "format": "iopo"},
    ]
    site.run(site.config(engines={}, jobs=jobs))
    runs = site.folder / "runs" / "t"
    made, intra, dpo, reward, quads = (
        duckdb.execute(f"select count(*) from '{runs}/{what}").fetchall()[0][0]
        for what in (
            "pair_instructions/*.parquet'", "pair_instructions/*.parquet' where level = 'prompt'", "export/*.parquet'",
            "reward/*.parquet'", "quads/*.parquet'",
        )
    )  # fmt: skip
    assert intra > 0
    assert quads > 0
    assert (dpo, reward) == (made - intra + 8, made + 8)  # with the 8 pairs that were given
