"""Each format: what it carries, what it refuses, and what its trainer makes of a row."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from pydantic import ValidationError

from benchmarks.scripted_search import EXAMPLE_A, drive, named
from pipeline.errors import PlanError
from pipeline.pair import Context as Condition
from pipeline.pair import Pair, Score, Step
from pipeline.plan import make_plan
from pipeline.records import Message, Rationale, Reject, Verification
from pipeline.stage import FIELD_OF, Context, Example, Stage, Summary
from pipeline.tables import arrow_schema, from_table, to_table
from pipeline.tokenizer import load_tokenizer
from pipeline.tree import Fork, Node, RankedAnswer, Ranking, Thumb, Trace, Tree
from stages.exports.export import Export
from stages.exports.formats import format_names, format_of
from stages.pairs.label_steps import LabelSteps
from stages.pairs.label_unpaired import LabelUnpaired
from stages.pairs.pair_steps import PairSteps
from stages.pairs.rank_lists import RankLists
from stages.search.machine import TreeSearch
from stages.search.rows import rows
from stages.search.rules import SearchRules
from tests.stages.exports import readers
from tests.stages.exports.example_rows import exported, pair_of, prompt_of, rationale, run, said

ROOT = Path(__file__).resolve().parents[3]
USER = (Message("user", "2+2?"),)
# Names that trainers read or misread beyond those of their own format (spec pairs 0.10, 16.2).
SPECIAL = {
    "messages", "completion", "label", "margin", "images", "image", "tools", "chat_template_kwargs", "ref_chosen_logps",
    "ref_rejected_logps", "input_ids", "text", "prompt_ids", "chosen_ids", "rejected_ids",
}  # fmt: skip
MEANT = {
    "axolotl": {"messages"}, "trl-kto": {"completion", "label"}, "margin-reward": {"margin"},
    "token-dpo": {"prompt_ids", "chosen_ids", "rejected_ids"},
}  # fmt: skip
FORK = Fork(
    "t", "0", "1", "2", 0, prompt_token_ids=(9, 8), chosen_token_ids=(1, 2, 3), rejected_token_ids=(1, 5), lcp_tokens=1
)
TREE = Tree(prompt_id="p", tree_id="t", job="search", config_json='{"delimiters": ["\\n"]}')


def plain(row: Any) -> dict[str, Any]:
    """The row as a data set gives it."""
    found: dict[str, Any] = to_table(type(row), [row]).to_pylist()[0]
    return found


def full(**changes: Any) -> Pair:
    """A pair that every format of pairs can carry."""
    columns: dict[str, Any] = {
        "prompt_messages": USER, "chosen_score": 0.9, "rejected_score": 0.2, "margin_logit": 1.5, "strength": 5.0,
        "strength_std": 0.5, "strength_signed_int": 2, "tree": FORK, "group_id": "g",
        "scores": (Score("chosen", "j", None, 9, 0.9, 0, 10, 1, 0.0), Score("rejected", "j", None, 2, 0.2, 0, 10, 1, 0)),
        "chosen_steps": (Step("It is four.", 1.0, True),), "rejected_steps": (Step("It is five.", -1.0, False),),
    }  # fmt: skip
    return pair_of("It is four.", "It is five.", **{**columns, **changes})


def test_every_format_says_what_its_columns_mean_and_uses_no_name_that_a_trainer_misreads() -> None:
    for name in format_names():
        shown, about = format_of(name)
        for row in (shown.row, *shown.options.values()):
            columns = set(row.__struct_fields__) - {"prompt_id", "pair_id"}
            optional = {"margin"} if row is shown.options.get("margin") else set()
            assert columns <= set(shown.columns), name
            assert not (columns & SPECIAL) - MEANT.get(name, set()) - optional, name
            if "margin" in columns:
                assert not arrow_schema(row).field("margin").nullable
        assert "Carries" in about
        assert "512" in shown.usage.format(max_length=512)


def test_the_documentation_has_a_line_for_every_format() -> None:
    text = (ROOT / "docs" / "exports.md").read_text(encoding="utf-8")
    table = text.partition("## What all refuse")[0]
    rows = [line.split("|")[1].strip().strip("`") for line in table.splitlines() if line.startswith("| `")]
    assert sorted(rows) == sorted(format_names())


def test_the_card_shows_how_to_load_and_yaml_examples_are_yaml() -> None:
    for name in format_names():
        usage = format_of(name)[0].usage.format(max_length=512)
        if "YAML" in usage:
            lines = [line.removeprefix("# ") for line in usage.splitlines()[1:]]
            assert "path/to/this/folder" in json.dumps(yaml.safe_load("\n".join(lines)))
        elif not usage.startswith("#"):
            compile(usage, name, "exec")


PAIR_FORMATS = [name for name in format_names() if Pair in format_of(name)[0].reads]


@pytest.mark.parametrize("name", PAIR_FORMATS)
@given(data=st.data())
def test_every_pair_is_exported_or_refused_and_rows_fit_their_columns(name: str, data: st.DataObject) -> None:
    features: dict[str, Any] = {
        "chosen_terminal": st.booleans(), "chosen_tail": st.sampled_from([None, " Done."]),
        "chosen_score": st.sampled_from([None, 0.9, 0.5]), "strength": st.sampled_from([None, 1.0]),
        "strength_signed_int": st.sampled_from([None, 0, 2]), "tree": st.sampled_from([None, FORK]),
        "context_id": st.sampled_from([None, "c"]), "margin_logit": st.sampled_from([None, 0.4]),
        "prompt_messages": st.sampled_from([USER, (Message("system", "Be brief."), *USER), (*USER, *said("Hm"), *USER)]),
        "rejected_prompt_messages": st.sampled_from([None, (Message("user", "3+3?"),)]),
        "chosen_messages": st.sampled_from([said("It is four."), said("5"), said("a", "b"), said(" ")]),
        "group_id": st.sampled_from([None, "g"]),
    }  # fmt: skip
    pairs = data.draw(st.lists(st.fixed_dictionaries(features).map(lambda drawn: full(**drawn)), max_size=4))
    pairs = [replace(pair, pair_id=str(place), unordered_id=str(place)) for place, pair in enumerate(pairs)]
    shown = format_of(name)[0]
    fields = dict.fromkeys(shown.options, True)
    found = exported(Example(prompt_of(), pairs=pairs, trees=[TREE]), format=name, table="pairs", **fields)
    assert found.counts.get("exported", 0) + len(found.rejects) == len(pairs) == sum(found.counts.values())
    refused = {name: n for name, n in found.counts.items() if name != "exported"}
    assert Counter(f"refused:{why}" for why in found.reasons) == refused
    [made] = Export(format=name, **fields).makes()
    assert from_table(made, to_table(made, found.rows)) == found.rows


@pytest.mark.parametrize("name", sorted({*PAIR_FORMATS} - {"iopo", "rdpo"}))
def test_a_pair_in_a_context_that_its_prompt_lacks_is_refused(name: str) -> None:
    fields = {"format": name, "table": "pairs"}
    hidden = full(context_id="c", context=Condition("given", "It rains.", "system"))
    shown = full(context_id="c", context=Condition("given", "2+2", "user"))
    assert exported(Example(prompt_of(), pairs=[hidden], trees=[TREE]), **fields).reasons == ["context_missing"]
    assert exported(Example(prompt_of(), pairs=[shown], trees=[TREE]), **fields).reasons == []


@pytest.mark.parametrize("name", readers.PAIRWISE)
def test_a_trainer_reads_prompt_and_answers_as_the_pair_has_them(name: str) -> None:
    turns = [{"role": "user", "content": "2+2?"}]
    [row], _, _ = run(full(), format=name, tokenizer="models/abacus")
    end = readers.EOS
    assert readers.PAIRWISE[name](plain(row)) == (
        readers.render(turns, answering=True), f"It is four.{end}", f"It is five.{end}",
    )  # fmt: skip


@pytest.mark.parametrize("name", readers.PAIRWISE)
@given(chosen=st.text(min_size=1), rejected=st.text(min_size=1), turns=st.integers(0, 3))
def test_no_text_that_passes_is_misread(name: str, chosen: str, rejected: str, turns: int) -> None:
    before = (Message("system", "Be brief."), *USER, *said("Four."), *USER)[-turns:] if turns else USER
    rows, _, _ = run(pair_of(chosen, rejected, prompt_messages=before), format=name, tokenizer="models/abacus")
    for row in rows:
        prompt, first, second = readers.PAIRWISE[name](plain(row))
        assert (first, second) == (f"{chosen.strip()}{readers.EOS}", f"{rejected.strip()}{readers.EOS}")
        assert prompt.endswith(f"2+2?{readers.EOS}<|assistant|>")


def test_a_string_without_a_tokenizer_holds_one_user_message_only() -> None:
    for name in ("verl", "nemo-aligner", "ultrafeedback-binarized", "helpsteer"):
        assert run(full(), format=name).reasons == []
        turns = (Message("system", "Be brief."), *USER)
        assert run(full(prompt_messages=turns), format=name).reasons == ["several_turns"]
    [row], _, _ = run(full(), format="nemo-aligner")
    assert (row.prompt, row.chosen_response) == ("2+2?", "It is four.")


@pytest.mark.parametrize(
    ("name", "changes", "reason"),
    [
        ("llama-factory", {"prompt_messages": (*USER, *USER)}, "not_alternating"),
        ("axolotl", {"chosen_messages": said("four")}, "too_short"),
        ("axolotl", {"chosen_messages": said("[dummy_message]")}, "in_template"),
        ("openrlhf", {"rejected_prompt_messages": (Message("user", "3+3?"),)}, "prompt_differs"),
        ("open-instruct", {"rejected_prompt_messages": (Message("user", "3+3?"),)}, "prompt_differs"),
        ("token-dpo", {"rejected_prompt_messages": (Message("user", "3+3?"),)}, "prompt_differs"),
        ("ultrafeedback-binarized", {"rejected_score": None}, "no_scores"),
        ("ultrafeedback-binarized", {"chosen_terminal": False, "chosen_tail": " Yes."}, "step_scores"),
        ("trl-kto", {"rejected_terminal": False, "rejected_tail": " Yes."}, "step_scores"),
        ("ultrafeedback-binarized", {"rejected_score": 0.9}, "scores_disagree"),
        ("helpsteer", {"strength_signed_int": 0}, "no_strength"),
        ("helpsteer", {"strength_signed_int": None}, "no_strength"),
        ("margin-reward", {"strength": None}, "no_strength"),
        ("rdpo", {}, "no_rationale"),
        ("iopo", {}, "no_quad"),
    ],
)
def test_what_a_format_cannot_hold_is_refused(name: str, changes: dict[str, Any], reason: str) -> None:
    assert run(full(**changes), format=name).reasons == [reason]


def test_a_margin_is_calibrated_or_absent() -> None:
    for name in ("trl-reward", "openrlhf"):
        [row], _, _ = run(full(), format=name)
        assert "margin" not in plain(row)
        [row], _, _ = run(full(), format=name, margin=True)
        assert row.margin == 1.5
        assert run(full(margin_logit=None), format=name, margin=True).reasons == ["no_margin"]


def test_nemo_rewards_are_numbers_or_absent() -> None:
    [row], _, _ = run(full(), format="nemo-aligner", scores=True)
    assert (row.chosen_reward, row.rejected_reward) == (0.9, 0.2)
    assert run(full(chosen_score=None), format="nemo-aligner", scores=True).reasons == ["no_scores"]


def test_an_option_that_a_format_has_no_column_for_is_an_error_that_names_those_that_have() -> None:
    with pytest.raises(ValidationError, match=r"no column for margin; formats that do: openrlhf, trl-reward"):
        Export.model_validate({"format": "trl-dpo", "margin": True})
    with pytest.raises(ValidationError, match=r"trl-kto carries no traces; it carries: pairs, thumbs"):
        Export.model_validate({"format": "trl-kto", "table": "traces"})


def test_what_an_export_needs_follows_from_its_format_and_table() -> None:
    assert Export(format="stepwise").needs() == (Trace, Tree)
    assert Export(format="stepwise", table="pairs").needs() == (Pair, Tree)
    assert Export(format="rdpo").needs() == (Pair, Rationale)
    assert Export(format="ranked").needs() == (Ranking, Tree, Node)


def test_reward_rows_may_have_two_prompts() -> None:
    other = (Message("user", "3+3?"),)
    for name in ("trl-reward", "margin-reward"):
        [row], _, _ = run(full(rejected_prompt_messages=other, rejected_messages=said("It is four.")), format=name)
        assert [m.content for m in row.chosen] == ["2+2?", "It is four."]
        assert [m.content for m in row.rejected] == ["3+3?", "It is four."]


def test_a_conversation_that_a_reward_trainer_would_drop_is_refused() -> None:
    pair = full()
    n = len(load_tokenizer("models/abacus").chat((*USER, *pair.chosen_messages)))
    for name in ("trl-reward", "margin-reward"):
        assert run(pair, format=name, tokenizer="models/abacus", max_length=n).reasons == []
        assert run(pair, format=name, tokenizer="models/abacus", max_length=n - 1).reasons == ["too_long"]


def test_opposite_labels_of_one_answer_to_two_prompts_contradict_each_other() -> None:
    other = (Message("user", "3+3?"),)
    one = full(rejected_prompt_messages=other, rejected_messages=said("It is four."))
    two = replace(one, pair_id="2", prompt_messages=other, rejected_prompt_messages=USER)
    assert run(one, two, format="trl-reward").reasons == ["contradiction", "contradiction"]


def test_a_margin_reward_row_holds_the_strength_clipped_and_as_it_is() -> None:
    [row], _, _ = run(full(), format="margin-reward")
    assert (row.margin, row.mean_preference_difference, row.std_preference_difference) == (4.0, 5.0, 0.5)
    assert (row.chosen_scores, row.rejected_scores) == ((0.9,), (0.2,))


def test_token_rows_keep_the_policys_tokens_and_mask_what_the_arms_share() -> None:
    [row], _, _ = run(full(chosen_terminal=False, rejected_terminal=False), format="token-dpo")
    assert (row.prompt_ids, row.chosen_ids, row.rejected_ids, row.lcp_tokens) == ((9, 8, 1), (2, 3), (5,), 1)


def test_token_rows_end_with_eos_where_the_policy_ended_and_only_there() -> None:
    [row], _, _ = run(full(rejected_terminal=False), format="token-dpo", tokenizer="models/abacus")
    assert (row.chosen_ids, row.rejected_ids) == ((2, 3), (5,))  # 3 is a control token of abacus: it ended so
    fork = msgspec.structs.replace(FORK, chosen_token_ids=(7, 8))
    [row], _, _ = run(full(tree=fork, rejected_terminal=False), format="token-dpo", tokenizer="models/abacus")
    assert (row.chosen_ids, row.rejected_ids) == ((7, 8, 1), (1, 5))


def test_token_rows_of_pairs_from_no_tree_take_a_tokenizer() -> None:
    assert run(full(tree=None), format="token-dpo").reasons == ["no_token_ids"]
    unfinished = full(tree=None, chosen_terminal=False, chosen_tail="x")
    assert run(unfinished, format="token-dpo", tokenizer="models/abacus").reasons == ["no_token_ids"]
    [row], _, _ = run(full(tree=None), format="token-dpo", tokenizer="models/abacus")
    assert row.chosen_ids[-1] == row.rejected_ids[-1] == 1
    assert row.chosen_ids[0] != row.rejected_ids[0]


def test_token_rows_that_have_nothing_to_learn_from_are_refused() -> None:
    fork = msgspec.structs.replace(FORK, rejected_token_ids=(1, 2))
    assert run(full(tree=fork), format="token-dpo").reasons == ["prefix_arm"]
    assert run(full(), format="token-dpo", max_length=3).reasons == ["too_long"]


def test_kto_labels_are_absolute() -> None:
    [up, down], _, _ = run(full(), format="trl-kto")
    assert [(row.completion[0].content, row.label) for row in (up, down)] == [
        ("It is four.", True), ("It is five.", False),
    ]  # fmt: skip
    [row], _, _ = run(full(rejected_score=0.5), format="trl-kto")
    assert row.label
    assert run(full(chosen_score=0.55, rejected_score=0.5), format="trl-kto").reasons == ["undecided"]
    assert run(full(chosen_score=None), format="trl-kto").reasons == ["no_scores"]


def test_kto_has_each_answer_once_and_none_with_two_labels() -> None:
    second = replace(full(), pair_id="2", unordered_id="2", rejected_messages=said("It is six."))
    rows, rejects, _ = run(full(), second, format="trl-kto")
    assert [row.completion[0].content for row in rows] == ["It is four.", "It is five.", "It is six."]
    assert rejects == []
    same = replace(full(), pair_id="2", unordered_id="2")
    assert run(full(), same, format="trl-kto").reasons == ["duplicate"]
    one = replace(same, chosen_messages=said("It is six."), rejected_messages=full().chosen_messages)
    rows, rejects, _ = run(full(), one, format="trl-kto")
    assert [(row.completion[0].content, row.label) for row in rows] == [("It is five.", False), ("It is six.", True)]
    reverse = replace(same, chosen_messages=full().rejected_messages, rejected_messages=full().chosen_messages)
    assert run(full(), reverse, format="trl-kto").reasons == ["contradiction", "contradiction"]


def thumb(**changes: Any) -> Thumb:
    columns: dict[str, Any] = {
        "prompt_id": "p", "thumb_id": "h", "tree_id": "t", "node_id": 3, "prefix": "2 + 2 = 4\n", "text": "Answer: 4",
        "prompt_token_ids": (1,), "token_ids": (2,), "up": True, "weight": 1.0, "ended": True,
    }  # fmt: skip
    return Thumb(**{**columns, **changes})


def test_kto_takes_steps_that_end_an_answer() -> None:
    thumbs = [thumb(), thumb(thumb_id="u", ended=False), thumb(thumb_id="e", prefix=" ", text="\n")]
    [row], rejects, counts = exported(Example(prompt_of(), thumbs=thumbs), format="trl-kto", table="thumbs")
    assert (row.completion[0].content, row.label, row.source_id) == ("2 + 2 = 4\nAnswer: 4", True, "h")
    assert [(r.subject, r.subject_id, r.reason) for r in rejects] == [
        ("thumb", "u", "not_terminal"), ("thumb", "e", "empty"),
    ]  # fmt: skip
    assert counts == {"exported": 1, "refused:not_terminal": 1, "refused:empty": 1}


def trace(**changes: Any) -> Trace:
    columns: dict[str, Any] = {
        "prompt_id": "p", "trace_id": "r", "tree_id": "t", "leaf_id": 3,
        "steps": ("Step 1: 2 + 2 = 4\nStep ", "2: 4 + 1 = 6\n", "Answer: 6"), "soft": (1.0, 0.0), "hard": (1, 0),
        "outcome": -1, "first_error": 1,
    }  # fmt: skip
    return Trace(**{**columns, **changes})


def user_prompt() -> Any:
    return replace(prompt_of(), messages=USER)


def test_steps_with_labels_are_parted_at_their_delimiters() -> None:
    [row], _, _ = exported(Example(user_prompt(), traces=[trace()], trees=[TREE]), format="stepwise")
    assert readers.stepwise(plain(row)) == ("2+2?\nStep 1: 2 + 2 = 4\nStep 2: 4 + 1 = 6", [True, False])


def test_steps_end_before_the_first_whose_label_is_not_known() -> None:
    traces = [trace(hard=(1, None, 1)), trace(hard=(None, 1, 1)), trace(steps=("a\n", "\n", "b"), hard=(1, 1, 1))]
    rows, rejects, _ = exported(Example(user_prompt(), traces=traces, trees=[TREE]), format="stepwise")
    assert [row.labels for row in rows] == [(True,)]
    assert [reject.reason for reject in rejects] == ["unlabelled", "empty"]
    assert exported(Example(user_prompt(), traces=[trace()]), format="stepwise").reasons == ["no_tree"]


def test_the_steps_of_a_pair_follow_what_both_arms_share() -> None:
    pair = full(
        assistant_prefix="Step 1: 2 + 2 = 4\nStep ",
        chosen_steps=(Step("2: 4 + 1 = 5\n", 1.0, True),), rejected_steps=(Step("2: 4 + 1 = 6\n", -1.0, None),),
    )  # fmt: skip
    [row], _, _ = exported(Example(user_prompt(), pairs=[pair], trees=[TREE]), format="stepwise", table="pairs")
    assert readers.stepwise(plain(row)) == ("2+2?\nStep 1: 2 + 2 = 4\nStep 2: 4 + 1 = 5", [True])


def test_rows_from_trees_whose_prompt_lacks_its_context_are_refused() -> None:
    hidden = replace(user_prompt(), context_id="c")
    shown = replace(hidden, ext_json='{"context": "2+2"}')
    for prompt, reasons in ((hidden, ["context_missing"]), (shown, [])):
        example: Example[Any] = Example(prompt, traces=[trace()], thumbs=[thumb()], trees=[TREE])
        assert exported(example, format="stepwise").reasons == reasons
        assert exported(example, format="trl-kto", table="thumbs").reasons == reasons


def test_a_ranked_list_keeps_order_margins_and_steps() -> None:
    answers = (
        RankedAnswer(1, ("a\n", "b"), (1,), 1.0, 1, 1.5, 2),
        RankedAnswer(2, ("a\n", "c"), (2,), -0.5, -1, None, 1),
    )
    ranking = Ranking(prompt_id="p", ranking_id="k", tree_id="t", prompt_token_ids=(), answers=answers)
    nodes = [
        Node(prompt_id="p", tree_id="t", node_id=n, is_terminal=True, finish_reason=how)
        for n, how in ((1, "eos"), (2, "eos"))
    ]
    [row], _, _ = exported(Example(prompt_of(), rankings=[ranking], trees=[TREE], nodes=nodes), format="ranked")
    assert (row.responses, row.scores, row.margins) == (("a\nb", "a\nc"), (1.0, -0.5), (1.5,))
    assert (row.correct, row.steps, row.shared_steps) == ((True, False), (("a", "b"), ("a", "c")), (2, 1))
    cut = [nodes[0], replace(nodes[1], finish_reason="length")]
    example: Example[Any] = Example(prompt_of(), rankings=[ranking], trees=[TREE], nodes=cut)
    assert exported(example, format="ranked").reasons == ["not_terminal"]


def test_a_quad_has_two_prompts_and_the_right_answer_of_each() -> None:
    one = full()
    two = full(
        prompt_messages=(Message("user", "2+3?"),), chosen_messages=one.rejected_messages,
        rejected_messages=one.chosen_messages, pair_id="2", unordered_id="2",
    )  # fmt: skip
    [row], rejects, counts = run(one, two, format="iopo")
    assert (rejects, counts) == ([], {"exported": 2})
    assert readers.iopo(plain(row)) == {
        ("2+2?", "It is four."): True, ("2+2?", "It is five."): False,
        ("2+3?", "It is five."): True, ("2+3?", "It is four."): False,
    }  # fmt: skip
    assert run(one, replace(two, chosen_messages=said("It is six.")), format="iopo").reasons == ["no_quad"] * 2
    system = (Message("system", "Be brief."), *two.prompt_messages)
    assert run(one, replace(two, prompt_messages=system), format="iopo").reasons == ["no_quad"] * 2


def test_a_rationale_speaks_of_the_answers_in_the_order_of_the_row() -> None:
    pair = full()
    text, sentence = "Response A is wrong, Response B is right.", "Response B is better than Response A."
    why = rationale(pair, text, shown_order=1, statement=sentence)
    orders: set[bool] = set()
    for n in range(8):
        right = f"It is four. ({n})"
        [row], _, _ = run(replace(pair, chosen_messages=said(right)), format="rdpo", reasons=[why])
        better, worse = ("A", "B") if row.rationale_response_a == "chosen" else ("B", "A")
        assert row.rationale == (
            f"Response {worse} is wrong, Response {better} is right.\nResponse {better} is better than Response {worse}."
        )
        assert f"Response {better}:\n{right}" in row.rationale_prompt
        assert f"Response {worse}:\nIt is five." in row.rationale_prompt
        assert row.rationale_n_tokens is None
        orders.add(better == "A")
    assert orders == {True, False}
    orders = set()
    for n in range(8):
        named = replace(pair, chosen_messages=said(f"It is four. ({n})"))
        [row], _, _ = run(named, format="helpsteer", reasons=[why], rationales=True)
        first = row.response_1.startswith("It is four.")
        orders.add(first)
        assert row.preference_strength == (-2 if first else 2)
        better, worse = ("A", "B") if first else ("B", "A")
        assert row.preference_elaboration == f"Response {worse} is wrong, Response {better} is right."
        numbers = ("1", "2") if first else ("2", "1")
        assert row.preference_statement == f"@Response {numbers[0]} is better than @Response {numbers[1]}."
    assert orders == {True, False}


def test_a_rationale_whose_names_cannot_change_places_decides_the_order() -> None:
    pair = full()
    text, verify = "Response A says five while B says four.", Verification(rewritable=False)
    for n in range(8):
        named = replace(pair, pair_id=str(n))
        why = rationale(named, text, shown_order=1, verify=verify)
        [row], _, _ = run(named, format="rdpo", reasons=[why])
        assert (row.rationale, row.rationale_response_a) == (text, "rejected")
        [row], _, _ = run(named, format="helpsteer", reasons=[why], rationales=True)
        assert (row.preference_elaboration, row.response_1) == (text, "It is five.")


def test_a_rationale_is_counted_in_tokens_and_never_cut() -> None:
    pair = full()
    why = rationale(pair, "Response A is right, Response B is wrong.")
    fields: dict[str, Any] = {"format": "rdpo", "reasons": [why], "tokenizer": "models/abacus"}
    [row], _, _ = run(pair, max_length=512, **fields)
    tokenizer = load_tokenizer("models/abacus")
    assert 0 <= row.rationale_n_tokens - len(tokenizer.encode(row.rationale)) <= 2  # its end of turn
    assert row.rationale_prompt.endswith(tokenizer.render([Message("user", "?")]).partition("?")[2])
    assert run(pair, max_length=60, **fields).reasons == ["rationale_too_long"]


def test_helpsteer_strength_follows_the_probability() -> None:
    pair = full(strength_signed_int=None, pref_prob=0.9)
    [row], _, _ = run(pair, format="helpsteer")
    assert abs(row.preference_strength) == 2  # judges C1: p = 0.9


def test_ratings_are_on_the_scale_of_ultrafeedback() -> None:
    [row], _, _ = run(full(), format="ultrafeedback-binarized")
    assert (row.chosen_avg_rating, row.rejected_avg_rating) == (pytest.approx(4.6), pytest.approx(1.8))


def test_llama_factory_finds_an_entry_for_each_shard() -> None:
    shards = {"00000.parquet": 2, "00003.parquet": 1}
    recipes = {"export": {"stage": "export", "fields": {}}}
    summary = Summary("r", "export", shards, {}, recipes, ())
    entries = json.loads(Export(format="llama-factory").finish(summary)["dataset_info.json"])
    assert [entry["file_name"] for entry in entries.values()] == list(shards)
    entry = entries["pairs-00000"]
    [row], _, _ = run(full(), format="llama-factory")
    assert set(entry["columns"].values()) <= set(plain(row))
    assert (entry["formatting"], entry["ranking"]) == ("sharegpt", True)
    quads = json.loads(Export(format="iopo").finish(summary)["dataset_info.json"])
    assert quads["pairs-00000"]["columns"]["system"] == "system"


@pytest.mark.parametrize(
    ("stage", "made"),
    [
        (PairSteps(min_edit_chars=0, length_ratio=None), ["trl-dpo", "token-dpo", "stepwise", "trl-reward", "trl-kto"]),
        (LabelSteps(), ["stepwise"]),
        (RankLists(), ["ranked"]),
        (LabelUnpaired(), ["trl-kto"]),
    ],
)
async def test_what_a_search_gives_is_exported_or_refused(stage: Stage, made: list[str]) -> None:
    search = TreeSearch(SearchRules(prior="uniform"), "t", 1)
    drive(search, named(EXAMPLE_A))
    tree, nodes = rows(search, Tree(prompt_id="p", tree_id="t", job="search", prompt_token_ids=(5, 6)))
    found: Example[Any] = Example(replace(user_prompt(), prompt_id="p"), trees=[tree], nodes=nodes)
    table = FIELD_OF[stage.makes()[0]]
    setattr(found, table, await stage.process(found, Context("job", "run", 7, "f", {})))
    n = len(getattr(found, table))
    assert n
    for name in made:
        export, ctx = Export(format=name, table=table), Context("export", "run", 7, "f", {})
        kinds = Counter(type(row) for row in await export.process(found, ctx))
        assert sum(ctx.counts.values()) == n
        assert kinds[export.makes()[0]] or kinds[Reject] == n


def test_every_table_that_a_format_carries_has_a_place_in_an_example() -> None:
    assert all(cls in FIELD_OF for name in format_names() for cls in format_of(name)[0].reads)


COMPARING = [name for name in PAIR_FORMATS if format_of(name)[0].whole_groups and name != "rdpo"]


@pytest.mark.parametrize("name", COMPARING)
def test_a_group_is_written_whole_or_not_at_all(name: str) -> None:
    other = (Message("user", "Say 2+2."),)
    one = full(group_size=2, pair_id="1", unordered_id="1")
    two = full(
        group_size=2, pair_id="2", unordered_id="2", prompt_messages=other,
        chosen_messages=one.rejected_messages, rejected_messages=one.chosen_messages,
    )  # fmt: skip
    alone = full(group_id=None, pair_id="3", unordered_id="3")
    written = run(one, two, alone, format=name).counts.get("exported")
    assert written == (2 if name == "iopo" else 3)
    halves = [run(one, alone, format=name), run(one, replace(two, context_id="hidden"), alone, format=name)]
    for found in halves:
        assert [getattr(row, "pair_id", None) for row in found.rows] == ([] if name == "iopo" else ["3"])
        assert found.counts.get("refused:incomplete_group", 0) == (0 if name == "iopo" else 1)


@pytest.mark.parametrize("name", ["trl-kto", "stepwise"])
def test_rows_that_are_no_comparisons_stand_for_themselves(name: str) -> None:
    fields = {"format": name, "table": "pairs"}
    assert exported(Example(prompt_of(), pairs=[full(group_size=2)], trees=[TREE]), **fields).rows


@pytest.mark.parametrize(
    ("named", "made", "table"),
    [
        ({Thumb}, {Pair, Thumb}, "thumbs"),
        ({Pair}, {Pair, Thumb}, None),
        (set(), {Thumb, Node}, "thumbs"),
        (set(), {Pair, Thumb}, None),
        (set(), {Node}, None),
    ],
)
def test_the_table_is_the_one_that_is_there(named: set[Any], made: set[Any], table: str | None) -> None:
    assert Export(format="trl-kto").placed(named, made).table == table
    assert Export(format="trl-kto", table="pairs").placed(named, made).table == "pairs"


def test_two_tables_that_a_format_carries_are_an_error_that_says_what_to_write() -> None:
    jobs = [
        {"stage": "prompts", "path": "models/abacus/problems.jsonl", "columns": {"prompt": "prompt"}},
        {"stage": "search", "engine": "e"}, {"stage": "pair_steps"}, {"stage": "label_unpaired"},
    ]  # fmt: skip
    config = {"name": "x", "engines": {"e": {"kind": "vllm", "model": "models/abacus"}}}
    last = {"stage": "export", "format": "trl-kto", "from": ["label_unpaired"]}
    stage = make_plan({**config, "jobs": [*jobs, last]}).jobs["export"].stage
    assert stage.needs() == (Thumb,)
    with pytest.raises(
        PlanError, match=r"job export: its inputs make pairs and thumbs, .*say table: pairs or table: thumbs"
    ):
        make_plan({**config, "jobs": [*jobs, {**last, "from": ["pair_steps", "label_unpaired"]}]})


def test_a_shard_of_a_run_has_no_column_that_a_trainer_reads() -> None:
    """Spec pairs I16; the trainers themselves are tried in test_trainers.py."""
    own = {*arrow_schema(Pair).names}
    assert not own & {*SPECIAL, "prompt", "chosen", "rejected", "conversations", "instruction", "labels", "completions"}
    assert {"prompt_messages", "chosen_messages", "rejected_messages"} <= own


@given(st.lists(st.floats(-500, 0), min_size=8, max_size=8))
def test_iopos_loss_on_a_quad_is_the_difference_of_differences(logps: list[float]) -> None:
    """Spec pairs 1.3, I23: what IOPO computes of the file's row is what the two pairs of the group say."""
    questions = ((Message("user", "Say A."),), (Message("user", "Say B."),))
    pairs = [
        full(pair_id=str(i), unordered_id=str(i), group_size=2, prompt_messages=question, chosen_messages=said(better),
             rejected_messages=said(worse))
        for i, (question, better, worse) in enumerate(zip(questions, ("A", "B"), ("B", "A"), strict=True))
    ]  # fmt: skip
    [row], _, _ = run(*pairs, format="iopo")
    keys = [(q[0].content, a) for q in questions for a in "AB"]
    policy, reference = (dict(zip(keys, part, strict=True)) for part in (logps[:4], logps[4:]))
    x1, x2 = (m.content for m in row.conversations)
    y1, y2 = row.chosen.content, row.rejected.content

    def gain(prompt: str, answer: str) -> float:
        return policy[prompt, answer] - reference[prompt, answer]

    first = 2 * gain(x1, y1) - gain(x1, y2) - gain(x2, y1)
    second = 2 * gain(x2, y2) - gain(x2, y1) - gain(x1, y2)
    told = [
        gain(p.prompt_messages[0].content, p.chosen_messages[0].content)
        - gain(p.prompt_messages[0].content, p.rejected_messages[0].content)
        for p in pairs
    ]  # fmt: skip
    assert (first + second) / 2 == pytest.approx(sum(told), abs=1e-9)
