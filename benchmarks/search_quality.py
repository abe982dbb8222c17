"""How right the pairs of a search are, on the embedded model, whose generator knows the truth of every step.

One run: held-out problems are searched once for each source of values, all within the same number of generated tokens a
tree; few trees need them all, so right pairs per token stand beside. Then every rule of `pair_steps` makes its pairs.
The defaults were picked on seeds 5 and 6. A step is right when its line is that of the plan, given that all lines before
it are; a pair is right when its chosen step is right and its rejected step is wrong.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple, get_args

from benchmarks.figures import Figure, synth
from models.abacus.problems import Problem, make_problems, write_problems
from models.abacus.solutions import right_solution
from pipeline.config import read_config
from pipeline.records import Prompt
from pipeline.store import Store
from pipeline.tree import Node, Tree
from stages.pairs.finished import FinishedTree, finished_trees, text_of
from stages.pairs.segments import SegmentRules, keep
from stages.pairs.step_labels import LabelRule, step_labels
from stages.pairs.step_rules import RuleName, StepRule, step_pairs
from stages.pairs.trajectories import leaves
from stages.search.steps import shown

SEED, PROBLEMS, TOKENS, SHARD = 7, 200, 700, 50
SELF_EVAL = {"template": "abacus", "sampling": {"temperature": 0, "max_tokens": 160}}
SOURCES: Mapping[str, dict[str, Any]] = {
    "outcome": {},
    "self_eval": {"self_eval": SELF_EVAL},
    "rollouts2": {"rollouts": 2},
    "rollouts4": {"rollouts": 4},
    "self_eval_rollouts2": {"self_eval": SELF_EVAL, "rollouts": 2},
    "omega": {"preset": "omega_prm", "omega": {"rollouts": 4, "max_rollouts": 80}},
}
RULES: Sequence[RuleName] = [rule for rule in get_args(RuleName) if rule != "bisect"]
SEGMENTS = SegmentRules(min_edit_chars=1, min_edit_share=0.01)  # as in configs/abacus_search.yaml
DELIMITERS = ("\n",)
_LINE = re.compile(r"\S.*")


class Known(NamedTuple):
    """A finished tree and the lines of the right solution."""

    tree: FinishedTree
    lines: list[str]

    def is_right(self, node: Node) -> bool | None:
        """Whether the step is right: its line, and what it begins of the next one. None where a line before it is
        already wrong, or it is no line at all."""
        before = text_of(self.tree.lineage(node)[:-1])
        prefix, step = shown(before, node.step_text, DELIMITERS)
        written = _LINE.findall(prefix)
        if written != self.lines[: len(written)] or not step:
            return None
        expected = [*self.lines[len(written) :], "", ""]
        begun = node.step_text.rpartition("\n")[2] if "\n" in node.step_text else ""
        stopped = node.is_terminal and len(expected) > 3  # an end before the answer
        return step == expected[0] and expected[1].startswith(begun.strip()) and not stopped


def run() -> list[Figure]:
    """Shares of right pairs, AUCs of the sources, and how often bisection finds the first wrong step."""
    problems = make_problems(SEED, PROBLEMS, "heldout")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_problems(folder / "problems.jsonl", problems)
        synth(_config(folder / "problems.jsonl"), folder)
        store = Store(str(folder / "runs" / "quality"))
        found = {source: list(_trees(store, f"search_{source}", problems)) for source in SOURCES}
    figures = [
        _pairs_right(found[source], StepRule(rule=rule), f"step_pairs_right_{rule}_{source}")
        for source in SOURCES if source != "omega" for rule in RULES
    ]  # fmt: skip
    figures.append(_pairs_right(found["omega"], StepRule(rule="bisect"), "step_pairs_right_bisect_omega"))
    default = next(f for f in figures if f.name == "step_pairs_right_topk_self_eval")
    first = Figure("step_pairs_right", default.value, "share", ">= 0.95", default.beside)
    return [first, *_aucs(found), _first_errors(found["omega"]), *figures]


def _config(file: Path) -> dict[str, Any]:
    config = read_config("abacus_search")
    source, search = config["jobs"][:2]
    plain = {key: value for key, value in search.items() if key not in ("self_eval", "sims")}
    jobs = [
        {"sims": 64, **plain, **fields, "name": f"search_{name}", "from": "prompts", "max_gen_tokens": TOKENS}
        for name, fields in SOURCES.items()
    ]
    return config | {
        "name": "quality", "shard_size": SHARD, "jobs": [{**source, "path": str(file), "limit": None}, *jobs]
    }  # fmt: skip


def _trees(store: Store, job: str, problems: Sequence[Problem]) -> Iterator[Known]:
    lines = {problem.text: right_solution(problem).split("\n") for problem in problems}
    for shard in range(-(-PROBLEMS // SHARD)):
        asked = {p.prompt_id: lines[p.text] for p in store.read("prompts", Prompt, shard, main=True)}
        trees, nodes = store.read(job, Tree, shard, main=True), store.read(job, Node, shard, main=False)
        yield from (Known(tree, asked[tree.tree.prompt_id]) for tree in finished_trees(trees, nodes))


def _pairs_right(found: Sequence[Known], rule: StepRule, name: str) -> Figure:
    verdicts, unknown = [], 0
    for known in found:
        for pair in keep(known.tree, step_pairs(known.tree, rule), SEGMENTS, {}).segments:
            chosen, rejected = (known.is_right(known.tree.nodes[i]) for i in (pair.pair.chosen, pair.pair.rejected))
            unknown += chosen is None
            verdicts.append(chosen is True and rejected is False)
    trees = [known.tree.tree for known in found]
    tokens = sum(t.gen_tokens + t.eval_tokens for t in trees)
    beside = {
        "pairs": len(verdicts),
        "after a wrong step": unknown,
        "tokens a tree": round(tokens / max(1, len(trees))),
        "right pairs per 10,000 tokens": round(1e4 * sum(verdicts) / max(1, tokens), 1),
    }
    return Figure(name, round(sum(verdicts) / max(1, len(verdicts)), 3), "share", "", beside)


def _aucs(found: Mapping[str, Sequence[Known]]) -> Iterator[Figure]:
    for source, name in (
        ("self_eval", "self_eval"), ("rollouts2", "rollouts2"), ("rollouts4", "rollouts4"),
        ("self_eval_rollouts2", "self_eval_rollouts2"),
    ):  # fmt: skip
        said: dict[bool, list[float]] = {True: [], False: []}
        for known in found[source]:
            for node in known.tree.nodes[1:]:
                right = None if node.is_terminal or node.value is None else known.is_right(node)
                if right is not None and node.value is not None:
                    said[right].append(node.value)
        beside = {"right steps": len(said[True]), "wrong steps": len(said[False])}
        yield Figure(f"auc_{name}", round(auc(said[True], said[False]), 3), "AUC", "", beside)


def auc(right: Sequence[float], wrong: Sequence[float]) -> float:
    """Probability that a right step has a higher value than a wrong one, ties half."""
    wins = sum((a > b) + 0.5 * (a == b) for a in right for b in wrong)
    return wins / max(1, len(right) * len(wrong))


def _first_errors(found: Sequence[Known]) -> Figure:
    """Of the wrong answers in which bisection found a first error: how often it is the true one."""
    hits = []
    for known, leaf in chain.from_iterable([(k, leaf) for leaf in leaves(k.tree)] for k in found):
        claimed = step_labels(leaf, LabelRule(min_samples=4)).first_error if leaf.node.outcome == -1 else None
        if claimed is not None:
            hits.append(known.is_right(leaf.path[claimed]) is False)
    return Figure("first_error_accuracy", round(sum(hits) / max(1, len(hits)), 3), "share", "", {"answers": len(hits)})
