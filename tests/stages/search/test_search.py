"""The stage: prompts become trees, the same ones however they are run; what a bad model says ends a branch and is counted."""

from __future__ import annotations

import os
import signal
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from benchmarks import scripted_sums
from pipeline.engine import Completion, Engine, Request
from pipeline.engines.scripted import Scripted
from pipeline.errors import EngineError, PlanError, Rejected
from pipeline.journal import Journal
from pipeline.pair import Pair
from pipeline.records import Message, Prompt
from pipeline.stage import Context, Example
from pipeline.tree import Node, Tree
from stages.judges.outcomes import AnswerCheck, Judged
from stages.pairs.pair_steps import PairSteps
from stages.search.presets import PRESETS
from stages.search.search import Search
from tests.conftest import Site

SUM = Prompt("p", "p", (Message("user", "Add 7 3 9 4"),), "23")
FIELDS: dict[str, Any] = {"engine": "policy", "delimiters": ("\n",), "sims": 10}
CRITIC: dict[str, Any] = {"self_eval": {"engine": "critic"}}


async def scripted(name: str) -> Engine:
    return await Scripted(function=name if ":" in name else f"benchmarks.scripted_sums:{name}").open()


async def context(policy: str = "policy", critic: str = "critic", seed: int = 1) -> Context:
    engines = {"policy": await scripted(policy), "critic": await scripted(critic)}
    return Context("search", "run", seed, "f", engines, {"policy": "sums", "critic": "checker"})


async def grown(ctx: Context, prompt: Prompt = SUM, **fields: Any) -> tuple[Tree, list[Node]]:
    stage = Search(**{**FIELDS, **fields})
    stage.check()
    tree, *nodes = await stage.process(Example(prompt), ctx)
    assert isinstance(tree, Tree)
    return tree, [node for node in nodes if isinstance(node, Node)]


async def test_a_prompt_becomes_a_tree_whose_steps_are_the_policys_tokens() -> None:
    ctx = await context()
    tree, nodes = await grown(ctx, **CRITIC)
    assert tree.status in ("exhausted", "budget_sims")
    assert (tree.policy_model, tree.judge_model, tree.hinted) == ("sums", "checker", False)
    assert "".join(map(chr, tree.prompt_token_ids)) == "Add 7 3 9 4\n"
    for node in nodes[1:]:
        assert node.step_text == "".join(map(chr, node.step_token_ids))
        assert node.is_terminal == node.step_text.startswith("Answer")
    ends = [node for node in nodes if node.is_terminal]
    assert ends
    assert all(end.outcome == (1 if end.final_answer == "23" else -1) for end in ends)
    assert ctx.counts["end:answer"] == len(ends)
    assert ctx.counts[f"tree:{tree.status}"] == 1


asked: list[Request] = []


def watched(request: Request) -> list[Completion]:
    """The policy, observed."""
    asked.append(request)
    return scripted_sums.policy(request)


async def test_requests_are_the_prompts_token_ids_and_those_of_the_path() -> None:
    asked.clear()
    tree, nodes = await grown(await context("tests.stages.search.test_search:watched"))
    assert asked[0].messages == SUM.messages
    paths: dict[int | None, tuple[int, ...]] = {None: ()}
    for node in nodes:
        paths[node.node_id] = paths[node.parent_id] + node.step_token_ids
    expected = {tree.prompt_token_ids + ids for ids in paths.values()}
    assert all(request.token_ids in expected for request in asked[1:])
    assert len({request.key for request in asked}) == len({request.seed for request in asked}) == len(asked) > 3


async def test_a_self_evaluation_is_the_mean_of_both_orders() -> None:
    _, nodes = await grown(await context(), **CRITIC)
    lines = [n for n in nodes if "=" in n.step_text]
    assert lines
    for node in lines:
        a, b, c = map(int, node.step_text.replace("+", "=").split("="))
        assert node.self_eval == pytest.approx(0.9 if a + b == c else 0.1)
        assert node.value == pytest.approx(0.8 if a + b == c else -0.8)


async def test_rollouts_from_a_step_are_stored_and_give_its_value() -> None:
    _, nodes = await grown(await context(), rollouts=4)
    open_nodes = [n for n in nodes[1:] if not n.is_terminal]
    assert open_nodes
    for node in open_nodes:
        assert len(node.rollouts) == node.rollouts_n == 4
        assert node.value == pytest.approx(2 * node.rollouts_c / 4 - 1)
        assert {r.final_answer == "23" for r in node.rollouts if r.outcome == 1} <= {True}


async def test_a_grading_critic_gives_the_expected_grade() -> None:
    ctx = await context(critic="tests.stages.search.test_search:best_grade")
    _, nodes = await grown(ctx, judge={"engine": "critic"})
    scores = [n.judge_score for n in nodes if "=" in n.step_text]
    assert scores == pytest.approx([(0.8 * 1.0 + 0.1 * 0.5) / 0.9] * len(scores))
    assert scores


def best_grade(request: Request) -> Completion:
    """0.8 on the best of four grades, 0.1 on the next, 0.1 on none."""
    assert request.labels == ("A", "B", "C", "D")
    return Completion("D", "stop", 9, 1, labels={"A": -60.0, "B": -60.0, "C": -2.302585093, "D": -0.223143551})


async def test_short_steps_are_joined_until_they_are_long_enough() -> None:
    asked.clear()
    tree, nodes = await grown(await context("tests.stages.search.test_search:watched"), min_step_tokens=20, sims=4)
    lines = [n for n in nodes[1:] if not n.is_terminal]
    assert lines
    assert all(n.step_text.count("\n") == 2 and n.n_tokens >= 20 for n in lines)
    later = [request for request in asked if ":after:" in request.key]
    assert {request.sampling.n for request in later} == {1}
    assert len({request.key for request in asked}) == len({request.seed for request in asked}) == len(asked)
    assert tree.gen_tokens == sum(one.n_tokens for request in asked for one in scripted_sums.policy(request))
    with pytest.raises(ValidationError, match="min_step_tokens 300 is more than step_tokens 256"):
        Search(**FIELDS, min_step_tokens=300)


@pytest.mark.parametrize("mode", ["omega", "eptree"])
async def test_the_modes_of_whole_rollouts_cut_them_into_steps(mode: str) -> None:
    tree, nodes = await grown(await context(), mode=mode, omega={"rollouts": 4, "max_rollouts": 24})
    assert len(nodes) > 4
    assert all(n.step_text.count("\n") <= 1 for n in nodes)
    assert tree.n_correct + tree.n_wrong == tree.n_terminal


@pytest.mark.parametrize(
    "fields", [{}, {"in_flight": 4}, {"mode": "trajectory"}, {"mode": "omega"}, {"min_step_tokens": 20}]
)
async def test_the_order_of_completion_changes_no_row(fields: dict[str, Any]) -> None:
    steady = await grown(await context(), **CRITIC, **fields)
    for _ in range(3):
        assert await grown(await context("unsteady"), **CRITIC, **fields) == steady


async def test_a_share_of_the_prompts_gives_the_trees_it_would_have_had_anyway() -> None:
    ctx, prompts = await context(), [Prompt(f"p{i}", f"p{i}", SUM.messages, "23") for i in range(60)]
    some = [await Search(**FIELDS, share=0.3).process(Example(prompt), ctx) for prompt in prompts]
    assert 8 <= sum(map(bool, some)) <= 30
    assert ctx.counts["not_drawn"] == some.count([])
    drawn = next(i for i, rows in enumerate(some) if rows)
    assert some[drawn] == await Search(**FIELDS).process(Example(prompts[drawn]), ctx)


async def test_another_run_seed_is_another_tree() -> None:
    one, other = await grown(await context()), await grown(await context(seed=2))
    assert one[0].tree_id != other[0].tree_id
    assert {n.seed for n in one[1][1:]} & {n.seed for n in other[1][1:]} == set()


async def test_what_a_bad_model_says_ends_branches_and_is_counted() -> None:
    counts: Counter[str] = Counter()
    for seed in range(12):
        ctx = await context("unruly", seed=seed)
        tree, nodes = await grown(ctx, **CRITIC, retries=1, max_depth=6)
        assert tree.n_nodes == len(nodes)
        assert all(n.step_text.strip() for n in nodes[1:])
        counts.update(ctx.counts)
    for what in ("dropped:empty", "dropped:truncated", "dropped:abort", "end:repetition", "end:answer", "merged"):
        assert counts[what] > 0, what


async def test_a_node_without_any_step_is_a_dead_end() -> None:
    ctx = await context("tests.stages.search.test_search:silent")
    tree, nodes = await grown(ctx)
    assert (tree.status, len(nodes), nodes[0].terminal_reason) == ("failed", 1, "no_valid_child")
    assert ctx.counts["dropped:empty"] == 4 * 3


def silent(request: Request) -> str:
    """Nothing."""
    return "  "


async def test_a_critic_without_options_leaves_the_value_open() -> None:
    ctx = await context(critic="undecided")
    _, nodes = await grown(ctx, **CRITIC)
    open_nodes = [n for n in nodes[1:] if not n.is_terminal]
    assert {n.value for n in open_nodes} == {None}
    assert ctx.counts["self_eval:no_option"] == len(open_nodes)


async def test_a_path_that_outgrows_the_context_ends_there() -> None:
    ctx = await context("tests.stages.search.test_search:cramped")
    _, nodes = await grown(ctx, **CRITIC)
    assert {n.terminal_reason for n in nodes if n.depth == 2} == {"max_tokens"}
    assert ctx.counts["end:max_tokens"] == ctx.counts["refused:context_overflow"] > 0


def cramped(request: Request) -> list[Completion]:
    """A context of 32 characters."""
    if len(request.token_ids or ()) > 32:
        raise Rejected("context_overflow", "prompt has too many tokens")
    return scripted_sums.policy(request)


async def test_a_prompt_that_cannot_be_asked_at_all_is_a_reject() -> None:
    ctx = await context("tests.stages.search.test_search:overfull")
    with pytest.raises(Rejected, match="context_overflow"):
        await grown(ctx)


def overfull(request: Request) -> str:
    """No context at all."""
    raise Rejected("context_overflow", "prompt has too many tokens")


async def test_without_a_reference_only_critics_give_values() -> None:
    tree, nodes = await grown(await context(), Prompt("q", "q", SUM.messages), **CRITIC)
    assert (tree.n_correct, tree.n_wrong) == (0, 0)
    assert all(n.value is not None for n in nodes[1:])


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"mode": "ultra", "verify": None, **CRITIC}, "mode ultra goes on from attempts that are known to be wrong"),
        ({"sampling": {"n": 3, "stop": ["x"]}}, "sampling sets n, stop"),
        ({"verify": None}, "nothing gives values"),
        ({"verify": {"method": "regex"}}, "method regex and pattern go together"),
    ],
)
def test_fields_that_contradict_each_other_are_plan_errors(fields: dict[str, Any], told: str) -> None:
    with pytest.raises(PlanError, match=told):
        Search(**{**FIELDS, **fields}).check()


def test_a_preset_is_a_set_of_fields_that_can_be_overridden() -> None:
    stage = Search(**{**FIELDS, "preset": "mcts_dpo", "sims": 3})
    assert (stage.mode, stage.backup, stage.sims, stage.values.form) == ("trajectory", "advantage", 3, "additive")
    with pytest.raises(ValidationError, match="unknown preset 'best'; presets: default"):
        Search(**{**FIELDS, "preset": "best"})


PUBLISHED: dict[str, dict[str, Any]] = {  # the pairs of each preset as docs/search.md gives them
    "default": {},
    "mcts_dpo": {"rule": "path_extremes", "alpha": "visits"},
    "rstar_math": {"rule": "topk", "check_continuations": True},
    "alphamath": {"rule": "all_margin"},
    "omega_prm": {"rule": "bisect"},
    "ultrainteract": {"rule": "topk", "max_per_parent": 1},
}


@pytest.mark.parametrize("preset", PRESETS)
async def test_every_preset_grows_trees_that_give_its_pairs(preset: str) -> None:
    turns = preset == "ultrainteract"
    asked = {"observe": {"critique": {"engine": "critic"}}} if turns else CRITIC
    stage = Search(engine="policy", preset=preset, delimiters=("\n",), **asked)
    stage.check()
    pairs = PairSteps(min_edit_chars=0, length_ratio=None, **PUBLISHED[preset])
    kept = 0
    for seed in range(3):
        ctx = await context(critic="reviewer" if turns else "critic", seed=seed)
        rows = await stage.process(Example(SUM), ctx)
        trees, nodes = [row for row in rows if isinstance(row, Tree)], [row for row in rows if isinstance(row, Node)]
        assert trees[0].hinted == (preset in ("mcts_dpo", "ultrainteract"))
        made = await pairs.process(Example(SUM, trees=trees, nodes=nodes), ctx)
        kept += sum(isinstance(row, Pair) for row in made)
    assert kept >= 2


def test_policy_and_critic_need_different_abilities() -> None:
    stage = Search(**FIELDS, **CRITIC)
    assert stage.engines() == ("policy", "critic")
    assert stage.capabilities("policy") == {"generate", "token_texts"}
    assert stage.capabilities("critic") == {"generate", "labels"}


REVIEWED = {
    "preset": "ultrainteract", "width_root": 3, "width": 3, "sims": 5, "self_eval": None,
    "observe": {"critique": {"engine": "critic"}},
}  # fmt: skip


def config(site: Site, executor: str = "local", policy: str = "policy", **search: Any) -> dict[str, Any]:
    """Twelve sums in shards of four → search → both kinds of pairs."""
    path = site.folder / "sums.jsonl"
    numbers = [[i + 2, 3, 2 * i + 1, 9] for i in range(12)]
    lines = [f'{{"prompt": "Add {" ".join(map(str, n))}", "answer": "{sum(n)}"}}\n' for n in numbers]
    path.write_text("".join(lines), encoding="utf-8")
    sums = "benchmarks.scripted_sums"
    return site.config(
        executor=executor,
        engines={
            "policy": {"kind": "scripted", "function": policy if ":" in policy else f"{sums}:{policy}"},
            "critic": {"kind": "scripted", "function": f"{sums}:{'reviewer' if 'observe' in search else 'critic'}"},
        },
        jobs=[
            {"stage": "prompts", "path": str(path), "columns": {"prompt": "prompt", "reference": "answer"}},
            {"stage": "search", **FIELDS, "delimiters": ["\n"], **CRITIC, **search},
            {"stage": "pair_steps", "min_edit_chars": 1, "min_edit_share": 0.0},
            {"stage": "pair_trajectories"},
        ],
    )


def shards(site: Site, runs: str = "runs") -> dict[str, bytes]:
    folder = site.folder / runs / "t"
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*.parquet"))}


def calm(site: Site, config: dict[str, Any]) -> dict[str, bytes]:
    """Shards of the same run, undisturbed and in this process."""
    site.run({**config, "runs_dir": str(site.folder / "calm"), "executor": "local"})
    return shards(site, "calm")


@pytest.mark.parametrize(
    ("max_trees", "batch", "at_once"), [(None, None, None), (None, 32, 32), (3, 32, 3), (3, None, 3)]
)
def test_a_shard_grows_as_many_trees_as_fill_the_engine(
    max_trees: int | None, batch: int | None, at_once: int | None
) -> None:
    assert Search(engine="policy", max_trees=max_trees).at_once(batch) == at_once


def test_rows_do_not_depend_on_how_many_trees_grow_at_once(site: Site) -> None:
    undisturbed = calm(site, config(site, policy="unsteady"))
    assert {name.split("/")[0] for name in undisturbed} == {
        "prompts",
        "search",
        "search.nodes",
        "pair_steps",
        "pair_trajectories",
    }
    scripted_sums.traffic.most = 0
    site.run({**config(site, policy="unsteady", max_trees=2), "window": 1})
    assert scripted_sums.traffic.most == 2
    assert shards(site) == undisturbed


@pytest.mark.parametrize("search", [{}, {"journal": False}, REVIEWED])
def test_a_killed_search_goes_on_and_ends_as_if_nothing_had_been(site: Site, search: dict[str, Any]) -> None:
    wanted = config(site, policy="faults:slow_sums", **search)
    undisturbed = calm(site, wanted)
    with site.start("run", site.save(wanted)) as process:
        while not list((site.folder / "runs/t/search").glob("*.parquet")):
            assert process.poll() is None
        os.killpg(process.pid, signal.SIGKILL)
    assert shards(site) != undisturbed
    site.run(wanted)
    assert shards(site) == undisturbed


def fails_midway(request: Request) -> list[Completion]:
    """The policy, that breaks at its tenth request until the test repairs it."""
    if len(asked) == 10:
        raise EngineError("out of memory")
    return watched(request)


@pytest.mark.parametrize("search", [{}, REVIEWED])
def test_nothing_is_asked_twice(site: Site, monkeypatch: pytest.MonkeyPatch, search: dict[str, Any]) -> None:
    here = "tests.stages.search.test_search"
    wanted = config(site, policy=f"{here}:fails_midway", **search) | {"max_attempts": 1}
    asked.clear()
    with pytest.raises(EngineError, match="out of memory"):
        site.run(wanted)
    assert list((site.folder / "runs/t/search").glob("*.journal"))
    monkeypatch.setattr(sys.modules[here], "fails_midway", watched)
    site.run(wanted)
    assert len({request.key for request in asked}) == len(asked)
    assert not list((site.folder / "runs/t/search").glob("*.journal"))
    assert shards(site) == calm(site, wanted)


async def test_verdicts_of_slow_checks_outlive_a_kill(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    verify = {"method": "regex", "pattern": r"Answer: (\d+)"}
    ctx, again = await context(), await context()
    ctx.journal = Journal(str(tmp_path / "0.journal"))
    before = await grown(ctx, verify=verify, **CRITIC)
    assert ctx.counts["verify:ok"] > 0
    again.journal = Journal(str(tmp_path / "0.journal"))

    async def late(check: AnswerCheck, *asked: Any) -> Judged:
        return None, (None, "timeout")

    monkeypatch.setattr(AnswerCheck, "ask", late)
    assert await grown(again, verify=verify, **CRITIC) == before
    assert again.counts == ctx.counts


@pytest.mark.timeout(300)
def test_a_cluster_grows_the_same_trees(site: Site) -> None:
    wanted = config(site, executor="ray", policy="unsteady", in_flight=2)
    undisturbed = calm(site, wanted)
    code, _, told = site.command("run", site.save(wanted))
    assert code == 0, told
    assert shards(site) == undisturbed
