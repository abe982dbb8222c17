"""Answers with a label for each step, for process reward models: TRL's PRMTrainer up to 1.13 (gone since 1.14), Axolotl's
`stepwise_supervised` (spec pairs 16.1, 17.5).

Carries traces, up to their first step whose label is not known; with `table: pairs`, each arm whose steps are labelled
(the steps that both arms share belong to the prompt). Steps are parted at the delimiters and stripped: the trainer puts a
separator, and the label, behind each.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import NamedTuple

from pipeline import ids
from pipeline.errors import Rejected
from pipeline.pair import Pair
from pipeline.records import Record
from pipeline.tree import Trace, Tree
from stages.exports.arms import asked, check_same_prompt, check_text, checked
from stages.exports.flat import RENDERED, rendered
from stages.exports.formats import Format
from stages.exports.step_texts import delimiters_of, whole_steps
from stages.exports.wanted import Given
from stages.sources import imports as back
from stages.sources.columns import Row


class StepwiseRow(Record, frozen=True, kw_only=True):
    """One answer."""

    source_id: str
    prompt: str
    completions: tuple[str, ...]
    labels: tuple[bool, ...]


class Steps(NamedTuple):
    """A prefix without labels, and steps with."""

    prefix: str
    texts: Sequence[str]
    labels: Sequence[int | bool | None]
    tree_id: str


def rows(item: Trace | Pair, given: Given) -> list[Record]:
    """One row of a trace, up to two of a pair. Raises Rejected: unlabelled (not even the first step has a label), no_steps,
    no_tree, empty, several_turns, control_tokens, and as `checked`."""
    if isinstance(item, Trace):
        prompt = rendered(asked(given), given.wanted.tokenizer)
        made = [_row(item.trace_id, prompt, Steps("", item.steps, item.hard, item.tree_id), given)]
    else:
        check_same_prompt(item)
        shown = checked(item.prompt_messages, item.context_id, item.context)
        prompt = rendered(shown, given.wanted.tokenizer)
        made = [_row(item.pair_id, prompt, arm, given) for arm in _arms(item)]
    if not (kept := [row for row in made if row is not None]):
        raise Rejected("unlabelled", "the label of the first step is not known")
    return list(kept)


def _arms(pair: Pair) -> list[Steps]:
    if not pair.chosen_steps or not pair.rejected_steps or pair.tree is None:
        raise Rejected("no_steps", "the pair has no labelled steps")
    return [
        Steps(pair.assistant_prefix or "", [s.text for s in steps], [s.label for s in steps], pair.tree.tree_id)
        for steps in (pair.chosen_steps, pair.rejected_steps)
    ]  # fmt: skip


def _row(source_id: str, prompt: str, arm: Steps, given: Given) -> StepwiseRow | None:
    """None where not even the first step has a label."""
    labels = list(arm.labels)
    known = labels.index(None) if None in labels else len(labels)
    if not known:
        return None
    prefix, texts = whole_steps(arm.prefix, arm.texts, delimiters_of(arm.tree_id, given))
    check_text([prefix, *texts], given.wanted)
    return StepwiseRow(
        prompt_id=given.prompt.prompt_id, source_id=source_id,
        prompt="\n".join(part for part in (prompt, prefix) if part),
        completions=tuple(texts[:known]), labels=tuple([bool(label) for label in labels[:known]]),
    )  # fmt: skip


def imports(row: Row, origin: back.Origin) -> list[Record]:
    """The answer as a trace, its steps on lines of their own. Raises Rejected: unlabelled, and as `turns` and `column`."""
    prompt = back.asked(back.turns(row.get("prompt")), origin)
    steps, labels = back.column(row, "completions", str), back.column(row, "labels", int)
    if not steps or len(steps) != len(labels):
        raise Rejected("unlabelled", f"{len(steps)} steps with {len(labels)} labels")
    tree = Tree(
        prompt_id=prompt.prompt_id, tree_id=ids.content_hash("given/4", prompt.prompt_id, steps, labels), job=origin.job,
        config_json=json.dumps({"delimiters": ["\n"]}), status="recorded",
    )  # fmt: skip
    hard = tuple([int(label) for label in labels])
    trace = Trace(
        prompt_id=prompt.prompt_id, trace_id=ids.content_hash("trace/1", tree.tree_id), tree_id=tree.tree_id,
        leaf_id=len(steps), steps=(*[f"{step}\n" for step in steps[:-1]], steps[-1]), soft=(None,) * len(steps), hard=hard,
        outcome=1 if all(hard) else -1, first_error=hard.index(0) if 0 in hard else None,
    )  # fmt: skip
    return [prompt, tree, trace]


FORMAT = Format(
    rows=rows,
    row=StepwiseRow,
    reads=(Trace, Pair),
    beside=(Tree,),
    whole_groups=False,
    imports=imports,
    imported=(Tree, Trace),
    columns={
        "source_id": "the trace or pair that the labels come from",
        "prompt": RENDERED,
        "completions": "the steps of the answer",
        "labels": "whether each step is right",
    },
    usage="""# in an Axolotl training's YAML; TRL up to 1.13 has PRMTrainer for the same columns
# process_reward_model: true
# sequence_len: {max_length}
# datasets:
#   - {{path: path/to/this/folder, split: train, type: stepwise_supervised, step_separator: "\\n"}}
""",
)
