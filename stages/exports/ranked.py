"""Whole answers of one search tree in order, best first, with their steps and margins: listwise trainers (TPO; spec mcts
R5). No common trainer reads lists; the columns are ours.

Carries rankings all of whose answers the policy ended itself.
"""

from __future__ import annotations

import itertools

from pipeline import ids
from pipeline.errors import Rejected
from pipeline.records import Record
from pipeline.tree import Node, RankedAnswer, Ranking, Tree
from stages.exports.arms import Conversation, asked, check_text
from stages.exports.formats import PROMPTED, Format
from stages.exports.step_texts import delimiters_of, whole_steps
from stages.exports.wanted import Given
from stages.pairs.finished import really_ended
from stages.sources import imports as back
from stages.sources.columns import Row


class RankedRow(Record, frozen=True, kw_only=True):
    """One list; all lists run over the same answers, `margins` is one shorter."""

    ranking_id: str
    prompt: Conversation
    responses: tuple[str, ...]
    scores: tuple[float, ...]
    margins: tuple[float, ...]
    correct: tuple[bool, ...]
    steps: tuple[tuple[str, ...], ...]
    shared_steps: tuple[int, ...]


def rows(ranking: Ranking, given: Given) -> list[Record]:
    """One row. Raises Rejected: not_terminal, no_tree, empty, control_tokens, and as `checked`."""
    prompt, answers = asked(given), ranking.answers
    ended = {node.node_id for node in given.nodes if node.tree_id == ranking.tree_id and really_ended(node)}
    if not ended.issuperset([answer.leaf_id for answer in answers]):
        raise Rejected("not_terminal", "an answer of the list was cut off; it would teach stopping")
    delimiters = delimiters_of(ranking.tree_id, given)
    texts = tuple(["".join(answer.steps).strip() for answer in answers])
    check_text([*texts, *[m.content for m in prompt]], given.wanted)
    return [
        RankedRow(
            prompt_id=ranking.prompt_id, ranking_id=ranking.ranking_id, prompt=prompt, responses=texts,
            scores=tuple([answer.score for answer in answers]),
            margins=tuple([answer.margin for answer in answers if answer.margin is not None]),
            correct=tuple([answer.outcome > 0 for answer in answers]),
            steps=tuple([tuple(whole_steps("", answer.steps, delimiters)[1]) for answer in answers]),
            shared_steps=tuple([answer.shared_steps for answer in answers]),
        )
    ]  # fmt: skip


def imports(row: Row, origin: back.Origin) -> list[Record]:
    """The list, its answers leaves of a tree. Raises Rejected: no_list, steps_differ, and as `turns` and `column`."""
    prompt = back.asked(back.turns(row.get("prompt")), origin)
    kinds = {"responses": str, "steps": list, "scores": float, "correct": bool, "shared_steps": int}
    columns = [back.column(row, name, kind) for name, kind in kinds.items()]
    margins = [*back.column(row, "margins", float), None]
    if not len(margins) == max(map(len, columns)) == min(map(len, columns)):
        raise Rejected("no_list", "the columns are of different lengths")
    tree_id = ids.content_hash("given/5", prompt.prompt_id, columns[0], columns[2])
    answers = tuple([
        RankedAnswer(leaf, _parted(text, steps), (), score, 1 if right else -1, margin, shared)
        for leaf, (text, steps, score, right, shared, margin) in enumerate(zip(*columns, margins, strict=True), 1)
    ])  # fmt: skip
    tree = Tree(prompt_id=prompt.prompt_id, tree_id=tree_id, job=origin.job, status="recorded")
    leaves = [
        Node(prompt_id=prompt.prompt_id, tree_id=tree_id, node_id=a.leaf_id, is_terminal=True, finish_reason="eos")
        for a in answers
    ]  # fmt: skip
    ranking = Ranking(
        prompt_id=prompt.prompt_id, ranking_id=ids.content_hash("ranking/1", tree_id), tree_id=tree_id,
        prompt_token_ids=(), answers=answers,
    )  # fmt: skip
    return [prompt, tree, *leaves, ranking]


def _parted(text: str, steps: list[str]) -> tuple[str, ...]:
    """The text in as many pieces as it has steps, each with what stands before it."""
    ends = [0]
    for step in steps:
        at = text.find(step, ends[-1])
        if at < 0 or text[ends[-1] : at].strip():
            raise Rejected("steps_differ", "the steps are not the text of their answer")
        ends.append(at + len(step))
    if text[ends[-1] :].strip():
        raise Rejected("steps_differ", "the answer goes on behind its steps")
    return tuple([text[a:b] for a, b in itertools.pairwise(ends)])


FORMAT = Format(
    rows=rows,
    row=RankedRow,
    reads=(Ranking,),
    beside=(Tree, Node),
    imports=imports,
    imported=(Tree, Node, Ranking),
    columns={
        "ranking_id": "identity of the list",
        "prompt": PROMPTED["prompt"],
        "responses": "whole answers, best first",
        "scores": "their scores on [-1, 1]",
        "margins": "score of each answer minus that of the next",
        "correct": "whether each was verified right",
        "steps": "the steps of each answer",
        "shared_steps": "how many steps each has in common with the best",
    },
    usage="""from datasets import load_dataset

# cut answers to {max_length} tokens, prompt included, where your trainer does not
data = load_dataset("path/to/this/folder", split="train")
""",
)
