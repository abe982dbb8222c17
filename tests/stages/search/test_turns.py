"""Turn trees: a wrong attempt hears what is wrong with it, and every turn gives pairs under its own history."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipeline.engine import Completion, Request
from pipeline.engines.scripted import Scripted
from pipeline.errors import PlanError, Rejected
from pipeline.pair import Pair
from pipeline.records import Message, Prompt
from pipeline.stage import Context, Example
from pipeline.tree import Node, Tree
from stages.pairs.label_steps import LabelSteps
from stages.pairs.label_unpaired import LabelUnpaired
from stages.pairs.pair_steps import PairSteps
from stages.pairs.pair_trajectories import PairTrajectories
from stages.pairs.rank_lists import RankLists
from stages.sandbox.sandbox import Outcome
from stages.search.search import Search
from stages.search.tickets import Turn
from stages.search.tool_results import printed
from stages.search.turns import conversation, ids_between, states

HERE = "tests.stages.search.test_turns"
SUM = Prompt("p", "p", (Message("system", "Add up."), Message("user", "Add 3 3 9 4")), "19")
FIELDS: dict[str, Any] = {"preset": "ultrainteract", "engine": "policy", "width_root": 4, "width": 4}
asked: list[Request] = []


def hard(request: Request) -> list[Completion]:
    """Slips in every attempt of the first two turns but now and then; what it is asked is kept."""
    asked.append(request)
    turn = sum(message.role == "assistant" for message in request.messages or ())
    total = 20 + turn
    answers = [f"3 + 3 = 6\nAnswer: {19 if i == 2 and turn else total + i}" for i in range(request.sampling.n)]
    return [Completion(text, "stop", 9, 5) for text in answers]


def telling(request: Request) -> str:
    """A reviewer that states the answer it was shown."""
    asked.append(request)
    return "The sum is 19, not what you wrote." if "<reference>" in request.messages[-1].content else "Recompute."  # type: ignore[index]


def tight(request: Request) -> list[Completion]:
    """No room for a second turn."""
    if len(request.messages or ()) > 2:
        raise Rejected("context_overflow", "prompt has too many tokens")
    return hard(request)


def vague(request: Request) -> str:
    """An attempt without an answer."""
    asked.append(request)
    return f"Who knows, says {request.seed % 97 * 'a'}."


def solving(request: Request) -> str:
    """An attempt that is right."""
    asked.append(request)
    return f"Of course{request.seed % 97 * '!'}\nAnswer: 19"


def rewriting(request: Request) -> list[Completion]:
    """An engine whose tokens of an attempt are not those its chat template makes of it."""
    return [
        Completion(c.text, "stop", 9, 2, token_ids=(1, 900 + i), token_texts=(c.text, ""))
        for i, c in enumerate(hard(request))
    ]


async def context(policy: str = "hard", critic: str = "benchmarks.scripted_sums:reviewer") -> Context:
    engines = {"policy": policy if ":" in policy else f"{HERE}:{policy}", "critic": critic}
    opened = {alias: await Scripted(function=function).open() for alias, function in engines.items()}
    return Context("search", "run", 1, "f", opened, {"policy": "sums"})


async def grown(ctx: Context, prompt: Prompt = SUM, **fields: Any) -> tuple[Tree, list[Node]]:
    asked.clear()
    stage = Search(**{**FIELDS, "observe": {"critique": None}, **fields})
    stage.check()
    tree, *nodes = await stage.process(Example(prompt), ctx)
    assert isinstance(tree, Tree)
    return tree, [node for node in nodes if isinstance(node, Node)]


async def test_the_first_wrong_attempt_is_answered_and_tried_again_in_the_same_conversation() -> None:
    tree, nodes = await grown(await context(), max_depth=3)
    assert (tree.status, tree.n_sims, tree.n_correct, tree.n_wrong) == ("exhausted", 3, 2, 10)
    answered = [node for node in nodes if node.observation is not None]
    assert [(n.path, n.outcome, n.final_answer, n.is_terminal) for n in answered] == [
        ("0.0", -1, "20", False),
        ("0.0.0", -1, "21", False),
    ]
    first, second, third = asked
    assert first.messages == SUM.messages
    assert third.messages is not None
    assert third.messages[: len(second.messages or ())] == second.messages
    assert [(m.role, m.content.split("\n")[0]) for m in third.messages[2:]] == [
        ("assistant", "3 + 3 = 6"),
        ("user", "Your answer 20 is wrong."),
        ("assistant", "3 + 3 = 6"),
        ("user", "Your answer 21 is wrong."),
    ]
    assert "19" not in "".join(message.content for message in third.messages)
    assert len({request.seed for request in asked}) == len({request.key for request in asked}) == 3


async def test_the_token_ids_of_a_path_are_the_prompt_of_the_next_attempt() -> None:
    ctx = await context()
    tree, nodes = await grown(ctx, max_depth=3)
    ids = list(tree.prompt_token_ids)
    for node in (n for n in nodes if n.observation is not None):
        ids += [*node.step_token_ids, *node.observation_token_ids]
    assert "".join(map(chr, ids)) == "".join(f"{m.content}\n" for m in asked[-1].messages or ())
    assert "turn:other_tokens" not in ctx.counts


@pytest.mark.parametrize(
    ("policy", "reference", "outcomes"),
    [("hard", None, {None}), ("vague", "19", {None}), ("solving", "19", {1})],
)
async def test_right_or_undecided_attempts_are_not_answered(
    policy: str, reference: str | None, outcomes: set[int | None]
) -> None:
    tree, nodes = await grown(await context(policy), Prompt("q", "q", SUM.messages, reference))
    assert (tree.n_sims, tree.status) == (1, "exhausted")
    assert {node.outcome for node in nodes[1:]} == outcomes
    assert all(node.is_terminal for node in nodes[1:])


@pytest.mark.parametrize("seed", range(4))
async def test_the_order_of_completion_changes_no_row(seed: int) -> None:
    fields = {"observe": {"critique": {"engine": "critic"}}, "delimiters": ("\n",)}
    prompt = Prompt("p", "p", (Message("user", f"Add 7 3 9 4 {seed}"),), str(23 + seed))
    sums = "benchmarks.scripted_sums"
    steady = await grown(await context(f"{sums}:policy"), prompt, **fields)
    assert await grown(await context(f"{sums}:unsteady"), prompt, **fields) == steady
    assert steady[0].n_sims > 1


async def test_a_reviewer_is_shown_the_attempt_and_what_it_says_is_passed_on() -> None:
    ctx = await context()
    tree, _ = await grown(ctx, observe={"critique": {"engine": "critic", "hint": False}})
    assert not tree.hinted
    assert ctx.counts["critique:ok"] == 4
    assert "A reviewer says of your solution:\nAll lines add up.\n" in (asked[1].messages or ())[-1].content
    assert tree.eval_tokens > 0


async def test_a_reviewer_that_states_the_reference_it_was_shown_is_left_out() -> None:
    ctx = await context(critic=f"{HERE}:telling")
    tree, nodes = await grown(ctx, observe={"critique": {"engine": "critic"}})  # the preset gives the hint
    assert tree.hinted
    assert ctx.counts["critique:leak"] == 4
    assert all("19" not in node.observation for node in nodes if node.observation)
    ctx = await context(critic=f"{HERE}:telling")
    _, nodes = await grown(ctx, observe={"reveal": True, "critique": {"engine": "critic"}})
    assert ctx.counts["critique:ok"] == 4
    assert "The right answer is 19." in (nodes[1].observation or "")


async def test_a_second_turn_that_does_not_fit_ends_the_tree() -> None:
    ctx = await context("tight")
    tree, nodes = await grown(ctx)
    assert (tree.status, len(nodes), nodes[1].terminal_reason) == ("exhausted", 5, "max_tokens")
    assert (nodes[1].outcome, nodes[1].observation is not None) == (-1, True)


@pytest.mark.parametrize(("policy", "known"), [("hard", True), ("rewriting", False)])
async def test_pairs_stand_under_the_history_of_their_turn(policy: str, known: bool) -> None:
    ctx = await context(policy)
    tree, nodes = await grown(ctx, max_depth=3)
    assert ("turn:other_tokens" in ctx.counts) != known
    given: Example[Any] = Example(SUM, trees=[tree], nodes=nodes)
    filters = {"min_edit_chars": 0, "length_ratio": None, "max_per_parent": 1}
    by_step = await PairSteps(**filters).process(given, ctx)
    by_leaf = await PairTrajectories(order="best_worst").process(given, ctx)
    for made in (by_step, by_leaf):
        pairs = [pair for pair in made if isinstance(pair, Pair)]
        assert [len(pair.prompt_messages) for pair in pairs] == [4, 6]
        for pair, request in zip(pairs, asked[1:], strict=True):
            assert pair.prompt_messages == request.messages
            assert pair.chosen_messages[0].content.endswith("Answer: 19")
            assert not pair.rejected_messages[0].content.endswith("Answer: 19")
            assert (pair.level, pair.assistant_prefix, pair.chosen_tail, pair.rejected_tail) == (
                "response",
                None,
                None,
                None,
            )
            assert pair.chosen_terminal
            assert pair.rejected_terminal
            assert pair.tree is not None
            assert (pair.tree.chosen_value, pair.tree.rejected_value) == (1.0, -1.0)
            assert bool(pair.tree.prompt_token_ids) == known
    assert by_step[0].tree.rejected_node_id == by_leaf[0].tree.rejected_node_id == "5"  # type: ignore[union-attr]


async def test_labels_and_lists_speak_of_the_first_turn_alone() -> None:
    ctx = await context()
    tree, nodes = await grown(ctx, max_depth=3, width_root=3)
    given: Example[Any] = Example(SUM, trees=[tree], nodes=nodes)
    first = {node.node_id for node in nodes if node.depth == 1}
    assert {trace.leaf_id for trace in await LabelSteps().process(given, ctx)} == first
    assert {thumb.node_id for thumb in await LabelUnpaired().process(given, ctx)} == first
    assert await RankLists().process(given, ctx) == []  # all are wrong


def test_what_is_said_to_an_attempt_is_one_user_block(tmp_path: Path) -> None:
    template = tmp_path / "two.j2"
    template.write_text("{% block system %}x{% endblock %}{% block user %}Wrong.{% endblock %}", encoding="utf-8")
    with pytest.raises(PlanError, match="what is said to an attempt is one user block"):
        Search(**FIELDS, observe={"template": str(template)}).check()


def test_engines_and_templates_of_turns_are_known_before_the_run() -> None:
    stage = Search(**FIELDS, observe={"critique": {"engine": "critic"}})
    assert stage.engines() == ("policy", "critic")
    assert stage.capabilities("critic") == {"generate"}
    assert [template.name for template in stage.templates()] == ["observe/default", "critique/default"]
    assert Search(engine="policy", observe={"critique": {"engine": "critic"}}).engines() == ("policy",)


@pytest.mark.parametrize(
    ("text", "answer", "found"),
    [
        ("it should be 19.", "19", True),
        ("it should be 1,900", "1900", True),
        ("190 or 19.5 or 119", "19", False),
        ("The answer is PARIS", "Paris", True),
        ("\\frac{1}{2} of it", "\\frac{1}{2}", True),
        ("nothing", "", False),
    ],
)
def test_an_answer_is_found_as_a_word_of_its_own(text: str, answer: str, found: bool) -> None:
    assert states(text, answer) == found


def test_a_conversation_alternates_and_ids_between_turns_need_the_policys_own_tokens() -> None:
    turns = (Turn("a", None, "wrong"), Turn("b"))
    assert [m.role for m in conversation(SUM, turns)] == ["system", "user", "assistant", "user", "assistant"]
    assert ids_between((1, 2, 3, 4), (1, 2)) == (3, 4)
    assert ids_between((1, 9, 3, 4), (1, 2)) is None
    assert ids_between(None, (1,)) is None


def slipping(request: Request) -> str:
    """An attempt with a false equation and a program."""
    asked.append(request)
    return "7 + 3 = 11\n```python\nprint(sum([7, 3]) * 2)\n```\nAnswer: 11"


async def test_tools_say_which_equations_are_false_but_not_what_is_right() -> None:
    only = {"critique": None, "tools": ("equations",)}
    _, nodes = await grown(await context("slipping"), max_depth=2, observe=only)
    [told] = {node.observation for node in nodes if node.observation}
    assert "Tools say of your solution:\n7 + 3 = 11 does not hold.\n" in told
    assert "10" not in told
    assert "prints" not in told


async def test_an_attempts_own_program_runs_in_the_sandbox_and_is_counted() -> None:
    ctx = await context("slipping")
    _, nodes = await grown(ctx, max_depth=2, observe={"critique": None, "tools": ("python",)})
    [told] = {node.observation for node in nodes if node.observation}
    assert "Your program prints:\n20\n" in told
    assert "does not hold" not in told
    assert ctx.counts["program:ok"] == 1


@pytest.mark.parametrize(
    ("outcome", "said"),
    [
        (Outcome("ok", ""), "Your program prints nothing."),
        (
            Outcome("error", "1\n", detail="ZeroDivisionError"),
            "Your program prints:\n1\nIt ended with ZeroDivisionError.",
        ),
        (Outcome("timeout"), "Your program prints nothing.\nIt ended with timeout."),
    ],
)
def test_a_program_that_fails_is_told_so(outcome: Outcome, said: str) -> None:
    assert printed(outcome) == said
